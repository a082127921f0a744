"""Items to shards: where the list is cut, and what the shards are called."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from fcs_edge.corpus.items import Item, item_of, values_of
from fcs_edge.corpus.job import Job, Recipe
from fcs_edge.corpus.schema import SCHEMA_VERSION
from fcs_edge.corpus.unique_texts import UniqueTexts, text_hash
from fcs_edge.errors import CorpusError
from fcs_edge.text import printable

DEFAULT_ROWS = 1000
DEFAULT_HOURS = 2.0

LEAST, MOST = 0.5, 1.5
"""Between which parts of `rows` and `hours` a shard ends."""

_MOST_COLUMNS = 1000
_PROGRESS_ITEMS = 1000
_PLAIN_BYTES = 32_000
_BYTES_A_SECOND = {
    **dict.fromkeys((".flac", ".ape", ".wv", ".tta"), 18_000),
    **dict.fromkeys((".mp3", ".mp2", ".m4a", ".aac", ".wma", ".mpc", ".ogg", ".oga"), 8_000),
    **dict.fromkeys((".opus", ".spx", ".amr", ".awb"), 4_000),
}
"""What a second of speech takes, by suffix; other files are taken for 16 kHz, 16 bits, mono."""


def estimated_seconds(item: Item) -> float:
    """Return about how many seconds of sound an item has, without opening its file.

    A manifest's duration counts. Else the bytes do: 32,000 make a second, 18,000 of FLAC, 8,000 of
    MP3 and Ogg, 4,000 of Opus.
    """
    if item.error is not None:
        return 0.0
    if item.duration is not None:
        return item.duration
    seconds = item.seconds
    if seconds is None:
        suffix = os.path.splitext(item.member or item.path)[1].lower()
        seconds = item.size / _BYTES_A_SECOND.get(suffix, _PLAIN_BYTES)
    return max(seconds - item.offset, 0.0) if item.offset else seconds


@dataclass(frozen=True)
class PlannedShard:
    """A shard to encode, without its items in memory."""

    name: str
    """16 hexadecimal digits: a hash of what the shard will hold."""
    n_items: int
    seconds: float
    """Estimated sound."""
    size: int
    """Bytes of the sound files."""
    packed: bytes
    """The items, as compressed JSON."""

    def items(self) -> list[Item]:
        """Return the items."""
        return [item_of(values) for values in json.loads(zlib.decompress(self.packed))]

    def job(self) -> Job:
        """Return the work."""
        return Job(self.name, tuple(self.items()))


@dataclass(frozen=True)
class Plan:
    """All shards of a corpus, in the order of the input."""

    shards: list[PlannedShard]
    recipe: Recipe
    """The recipe with the text columns that the manifests have."""
    n_items: int
    seconds: float
    size: int


def plan(
    items: Iterable[Item],
    recipe: Recipe,
    *,
    rows: int = DEFAULT_ROWS,
    hours: float = DEFAULT_HOURS,
    on_progress: Callable[[int], None] | None = None,
) -> Plan:
    """Return the shards of items.

    The items are held compressed: a million of them take less than 500 MB.

    Parameters
    ----------
    items : iterable of Item
        As `scan` yields them.
    recipe : Recipe
        What all shards share.
    rows, hours : int, float
        What a shard holds in the mean: it ends at 0.5 to 1.5 times either. See `cut_shards`.
    on_progress : callable
        Takes the number of items that are found, now and then.

    Raises
    ------
    CorpusError
        Two items have the same id, or manifests have over 1000 columns.
    """
    parts, ids, columns = [], UniqueTexts(), set[str]()
    n_items, seconds, size = 0, 0.0, 0
    for shard in cut_shards(_counted(items, on_progress), rows=rows, hours=hours):
        part = _pack(shard)
        parts.append(part)
        for item in shard:
            ids.add(item.id)
            columns.update(item.columns)
        if len(columns) > _MOST_COLUMNS:
            raise CorpusError(
                f"the manifests have over {_MOST_COLUMNS} columns; leave out --keep-text"
            )
        n_items, seconds, size = n_items + len(shard), seconds + part.seconds, size + part.size
    _check_ids(parts, ids.repeated())
    recipe = replace(recipe, text_columns=tuple(sorted(columns)))
    head = _head(recipe)
    named = [replace(part, name=_digest([head, part.name])[:16]) for part in parts]
    return Plan(named, recipe, n_items, seconds, size)


def cut_shards(items: Iterable[Item], *, rows: int, hours: float) -> Iterator[list[Item]]:
    """Yield items in shards, so that a file more or less changes only the shards beside it.

    A shard ends where it has 0.5 to 1.5 times `rows`, or of `hours`: at the item in that range
    whose id has the lowest hash. So the ids alone say where shards end, and after an inserted item
    they soon end where they did without it. An item of at least `hours` is a shard of its own.

    Parameters
    ----------
    items : iterable of Item
        In the order of the input.
    rows, hours : int, float
        What a shard holds in the mean.
    """
    if rows < 1 or not hours > 0:
        raise ValueError("rows and hours must be above 0")
    long = hours * 3600
    waiting: list[Item] = []
    lengths: list[float] = []
    total = 0.0
    for item in items:
        length = estimated_seconds(item)
        if length >= long:
            yield [item]
            continue
        waiting.append(item)
        lengths.append(length)
        total += length
        while max(len(waiting) / rows, total / long) > MOST:
            n = _end(waiting, lengths, rows, long)
            yield waiting[:n]
            waiting, lengths = waiting[n:], lengths[n:]
            total = sum(lengths)
    if waiting:
        yield waiting


def _end(items: Sequence[Item], lengths: Sequence[float], rows: int, long: float) -> int:
    """Return how many items the first shard of a list has."""
    fills = (max(n / rows, s / long) for n, s in enumerate(accumulate(lengths), 1))
    ends = [n for n, fill in enumerate(fills, 1) if LEAST <= fill <= MOST]
    return min(ends, key=lambda n: text_hash(items[n - 1].id), default=1)


def _counted(items: Iterable[Item], on_progress: Callable[[int], None] | None) -> Iterator[Item]:
    n = 0
    for item in items:
        yield item
        n += 1
        if on_progress is not None and n % _PROGRESS_ITEMS == 0:
            on_progress(n)
    if on_progress is not None:
        on_progress(n)


def _pack(items: Sequence[Item]) -> PlannedShard:
    """Return a shard whose name is the hash of its items alone."""
    values = [values_of(item) for item in items]
    packed = zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 1)
    # What a manifest states of the length changes no row.
    name = _digest([value[:-1] for value in values])
    seconds = sum(map(estimated_seconds, items))
    return PlannedShard(name, len(items), seconds, sum(item.size for item in items), packed)


def _head(recipe: Recipe) -> list[Any]:
    """Return what changes rows beside the items: the place and the number of workers do not."""
    how = [recipe.channel, recipe.strict, recipe.exact, recipe.window, recipe.overlap]
    return [
        *(SCHEMA_VERSION, recipe.model_sha256, recipe.settings, recipe.activations),
        *(how, recipe.text_columns),
    ]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_ids(shards: Sequence[PlannedShard], repeated: Collection[int]) -> None:
    """Refuse items of equal ids; `repeated` are the hashes of ids that were found twice."""
    if not repeated:
        return
    seen: dict[str, Item] = {}
    for shard in shards:
        for item in shard.items():
            if text_hash(item.id) not in repeated:
                continue
            if (other := seen.setdefault(item.id, item)) is not item:
                raise CorpusError(_same_id(other, item))


def _same_id(first: Item, second: Item) -> str:
    if first.path == second.path and first.member is not None:
        return f"{first.path_text}: holds two members called {printable(first.member)}"
    if first.path == second.path:
        return f"{first.path_text}: is given twice, with the id {first.id}"
    return (
        f"two inputs have the id {first.id}: {first.path_text} and {second.path_text}; "
        "give --root, a folder that holds both"
    )
