"""What a corpus takes, from about a minute of its own sound: hours, time, bytes on disk."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import soundfile

import fcs_edge
from fcs_edge.audio.library import quiet_libraries
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Row
from fcs_edge.corpus.schema import shard_bytes
from fcs_edge.corpus.sharding import Plan, estimated_seconds
from fcs_edge.modelfile.config import SAMPLE_RATE_IN

SECONDS = 60.0
"""Sound to encode."""
_MOST_SECONDS = 20.0
"""Of one item: a long one is encoded in part."""
_MOST_SHARDS, _MOST_ITEMS = 50, 1000
_MOST_WAIT = 60.0
_MOST_HEADERS, _MOST_HEADER_WAIT = 500, 3.0
_MOST_FACTOR = 40.0
"""Times that a sound may be longer than its bytes say; beyond, its header is not believed."""


@dataclass(frozen=True)
class Estimate:
    """What a corpus takes."""

    files: int
    shards: int
    sound_bytes: int
    hours: float
    """Of sound."""
    tried: int
    """Items that were encoded, at least in part."""
    failed: int
    """Of these, items without tokens."""
    seconds_tried: float
    """Of their sound."""
    speed: float
    """Hours of sound in an hour of one core."""
    workers: int
    seconds: float
    """Wall clock of all of it, on so many workers."""
    dataset_bytes: int


def estimate(
    plan: Plan,
    *,
    workers: int,
    seconds: float = SECONDS,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Estimate:
    """Encode some of a corpus's own sound, and return what all of it takes; nothing is written.

    Parameters
    ----------
    plan : Plan
        The corpus.
    workers : int
        Cores that are to encode. Memory that they share may make them slower than one alone.
    seconds : float
        Sound to encode.
    on_progress : callable
        Takes the seconds of sound that are done.
    """
    codec = fcs_edge.load(plan.recipe.model, activations=plan.recipe.activations)
    encoder = ItemEncoder(codec, plan.recipe)
    tried, drawn = _Tried(), list(_drawn(plan))
    tried.look_at(drawn[:_MOST_HEADERS])
    for item in drawn:
        tried.encode(encoder, item)
        on_progress(tried.sound)
        if tried.sound >= seconds or tried.took >= _MOST_WAIT:
            break
    encoder.close()
    total, sound = _seconds(plan, tried.factors()), tried.sound
    speed = sound / tried.took if tried.took else 0.0
    empty = len(shard_bytes([], plan.recipe))
    a_second = (len(shard_bytes(tried.rows, plan.recipe)) - empty) / sound if sound else 0.0
    return Estimate(
        files=plan.n_items,
        shards=len(plan.shards),
        sound_bytes=plan.size,
        hours=total / 3600,
        tried=len(tried.rows),
        failed=sum(row["tokens"] is None for row in tried.rows),
        seconds_tried=sound,
        speed=speed,
        workers=workers,
        seconds=total / speed / max(min(workers, len(plan.shards)), 1) if speed else 0.0,
        dataset_bytes=round(empty * len(plan.shards) + a_second * total),
    )


class _Tried:
    """Items that are encoded to see what they take.

    Attributes
    ----------
    rows : list of dict
        Their rows.
    sound, took : float
        Seconds of sound that has tokens, and of work.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sound = self.took = 0.0
        self._known: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        """Seconds of sound of a kind, and what their bytes say."""
        self._seen: set[str] = set()
        """Kinds whose headers were read."""

    def look_at(self, items: Sequence[Item]) -> None:
        """Read the lengths that the files' headers state: of more files than are encoded."""
        start = time.perf_counter()
        for item in items:
            if time.perf_counter() - start > _MOST_HEADER_WAIT:
                break
            if _kind(item) and (whole := _stated(item)):
                self._take(item, whole)
        self._seen = set(self._known)

    def _take(self, item: Item, whole: float) -> None:
        guess = estimated_seconds(item)
        if whole < _MOST_FACTOR * guess:
            known = self._known[_kind(item)]
            known[0] += whole
            known[1] += guess

    def encode(self, encoder: ItemEncoder, item: Item) -> None:
        """Encode an item, or the start of a long one."""
        part = _part(item)
        if not self.rows:
            # The first call reads the weights.
            encoder.row(part)
        start = time.perf_counter()
        row = encoder.row(part)
        self.took += time.perf_counter() - start
        self.rows.append(row)
        length = (row["n_samples"] or 0) / SAMPLE_RATE_IN
        self.sound += length
        whole = length if part is item else _stated(item)
        if length and whole and _kind(item) not in self._seen:
            self._take(item, whole)

    def factors(self) -> dict[str, float]:
        """Return how much longer the sounds of a kind are than their bytes say."""
        return {kind: real / guess for kind, (real, guess) in self._known.items() if guess}


def _drawn(plan: Plan) -> Iterator[Item]:
    """Yield items from all over the corpus, the same ones each time."""
    draw = random.Random(0)
    shards = plan.shards
    if len(shards) > _MOST_SHARDS:
        shards = draw.sample(shards, _MOST_SHARDS)
    found = []
    for shard in shards:
        items = [item for item in shard.items() if item.error is None]
        found += draw.sample(items, min(len(items), _MOST_ITEMS // len(shards)))
    draw.shuffle(found)
    yield from found


def _part(item: Item) -> Item:
    """Return the item, or its start where it is long."""
    if estimated_seconds(item) <= _MOST_SECONDS:
        return item
    return replace(item, duration=_MOST_SECONDS)


def _stated(item: Item) -> float | None:
    """Return the seconds of an item that its file's header states; None where it does not."""
    if item.duration is not None or item.member is not None or not os.path.isfile(item.path):
        return None
    try:
        with open(item.path, "rb") as file, quiet_libraries():
            return float(soundfile.info(file).duration) - (item.offset or 0.0)
    except (OSError, RuntimeError):
        return None


def _kind(item: Item) -> str:
    """Return what items have in common whose bytes make as many seconds."""
    if item.duration is not None or item.seconds is not None:
        return ""
    return PurePath(item.member or item.path).suffix.lower()


def _seconds(plan: Plan, factors: dict[str, float]) -> float:
    """Return the sound of a corpus: what its bytes say, corrected by what was encoded."""
    if not factors:
        return plan.seconds
    return sum(
        estimated_seconds(item) * factors.get(_kind(item), 1.0)
        for shard in plan.shards
        for item in shard.items()
    )
