"""Some rows of a dataset, encoded anew and compared."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER, RESAMPLERS
from fcs_edge.codec import Codec
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Recipe
from fcs_edge.corpus.sources import source_path
from fcs_edge.corpus.tars import tar_items
from fcs_edge.corpus.unique_texts import text_hash
from fcs_edge.corpus.versions import versions
from fcs_edge.errors import FcsError, shown
from fcs_edge.model.layers import U16
from fcs_edge.modelfile import catalogue
from fcs_edge.tokens.settings import differences, token_settings

if TYPE_CHECKING:
    from fcs_edge.corpus.schema import ShardFacts


_MOST_CHANNELS = 8
"""Channels that are tried for a row whose tokens differ."""


class DrawnRow(NamedTuple):
    """A row that is encoded anew."""

    where: str
    row: dict[str, Any]
    tokens: U16


class Sample:
    """Draws rows: those with the lowest hashes of seed and id, whatever their order.

    Parameters
    ----------
    n : int
        Rows to draw.
    seed : int
        Chooses them.
    """

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._seed = n, seed
        self._heap: list[tuple[int, str, DrawnRow]] = []

    def __len__(self) -> int:
        """Return the number of rows that are drawn."""
        return len(self._heap)

    def add(self, where: str, row: dict[str, Any], tokens: U16) -> None:
        """Take a row, which is drawn if its hash is among the lowest."""
        if not self._n:
            return
        rank = -text_hash(f"{self._seed}\n{row['id']}")
        if len(self._heap) < self._n:
            heapq.heappush(self._heap, (rank, where, DrawnRow(where, row, tokens.copy())))
        elif rank > self._heap[0][0]:
            heapq.heapreplace(self._heap, (rank, where, DrawnRow(where, row, tokens.copy())))

    def rows(self) -> list[DrawnRow]:
        """Return the rows, those of one file together."""
        drawn = [row for _, _, row in self._heap]
        return sorted(drawn, key=lambda r: (r.row["path"], r.row["offset"] or 0.0, r.where))


class Compared(NamedTuple):
    """What became of a row that was to be encoded anew."""

    where: str
    problem: str | None
    """What differs, or why it is not encoded, in one line; None if the tokens are equal."""
    is_encoded: bool


class RowEncoder:
    """Encodes rows anew and compares their tokens.

    Parameters
    ----------
    codec : Codec or None
        The dataset's model.
    facts : ShardFacts
        What a shard of the dataset states.

    Raises
    ------
    FcsError
        There is no model of the dataset's fingerprint, or it would give other tokens.
    """

    def __init__(self, codec: Codec | None, facts: ShardFacts) -> None:
        self._codec = _fitting(codec, facts)
        self._recipe = _recipe(self._codec, facts)
        self._members = _Members()
        self._versions = _other_versions(facts)

    def compared(self, sample: Sample) -> Iterator[Compared]:
        """Yield what became of each row that is drawn."""
        encoder = ItemEncoder(self._codec, self._recipe)
        try:
            for drawn in sample.rows():
                yield self._compared(encoder, drawn)
        finally:
            encoder.close()

    def _compared(self, encoder: ItemEncoder, drawn: DrawnRow) -> Compared:
        where, row, old = drawn
        source = f"its source {row['path']}"
        try:
            item = self._members.item(row)
        except LookupError as error:
            return Compared(where, f"{source} is not encoded anew: {error}", False)
        problem = None
        for channel in _channels(row):
            new = encoder.row(replace(item, channel=channel))
            if new["error"] is not None:
                return Compared(where, f"{source} is not encoded anew: {new['error']}", False)
            if new["sha256"] != row["sha256"]:
                line = f"{source} has other bytes than it had: another SHA-256"
                return Compared(where, line, False)
            other = _difference(new["tokens"], old)
            if other is None:
                return Compared(where, None, True)
            problem = problem or other
        return Compared(where, f"encoded anew, {problem}{self._versions}", True)


def _channels(row: dict[str, Any]) -> list[int | None]:
    """Return the channels that a row may be of: a manifest may have named one for it."""
    n = row["channels"] or 1
    return [None, *range(1, min(n, _MOST_CHANNELS) + 1)] if n > 1 else [None]


def _difference(new: U16, old: U16) -> str | None:
    if new.size != old.size:
        return f"it has {new.size} tokens, and had {old.size}"
    n_differing = int(np.count_nonzero(new != old))
    return f"{n_differing} of its {old.size} tokens differ" if n_differing else None


def _other_versions(facts: ShardFacts) -> str:
    """Return which libraries are others than those that took part, or nothing."""
    here = versions()
    names = ("libsndfile", "soxr", "fcs-edge")
    found = [
        f"{name} {shown(facts.versions.get(name), 40)} (here {here[name]})"
        for name in names
        if facts.versions.get(name) != here[name]
    ]
    return f"; it was encoded with {', '.join(found)}" if found else ""


class _Members:
    """Finds members of archives: rows do not state where they begin."""

    def __init__(self) -> None:
        self._path = ""
        self._starts: dict[tuple[str, int], int] = {}

    def item(self, row: dict[str, Any]) -> Item:
        """Return the item of a row."""
        path = source_path(row["path"])
        start = 0
        if row["member"] is not None:
            if path != self._path:
                self._read(path)
            key = row["member"], row["size"]
            if key not in self._starts:
                raise LookupError(f"no member {row['member']} of {row['size']:,} bytes")
            start = self._starts[key]
        return Item(
            row["id"],
            path,
            row["member"],
            start,
            row["size"],
            row["mtime_ns"],
            row["offset"],
            row["duration"],
        )

    def _read(self, path: str) -> None:
        self._path, self._starts = path, {}
        for item in tar_items(path, ""):
            if item.member is not None:
                self._starts.setdefault((item.member, item.size), item.start)


def _fitting(codec: Codec | None, facts: ShardFacts) -> Codec:
    """Return the model as the tokens' settings have it; refuse another one."""
    if codec is None:
        raise FcsError(
            f"no model here has the fingerprint {facts.fingerprint} of the dataset "
            f"({facts.model}); name its file with --model"
        )
    codec.model.require("encoder")
    bits = facts.settings.get("activation_bits")
    if isinstance(bits, int) and bits != codec.activation_bits:
        codec = Codec(codec.model, activations=bits)
    if other := differences(dict(facts.settings), token_settings(codec.model)):
        raise FcsError(f"{codec.name}: gives other tokens than the dataset's: {other}")
    return codec


def _recipe(codec: Codec, facts: ShardFacts) -> Recipe:
    settings = dict(facts.settings)
    names = {value: name for name, value in RESAMPLERS.items()}
    windowed = "window" in settings
    return Recipe(
        model=catalogue.reference(codec.model),
        model_sha256=codec.model.sha256,
        fingerprint=facts.fingerprint,
        settings=settings,
        out="",
        activations=codec.activation_bits,
        channel=facts.channel,
        resampler=names.get(settings.get("resampler", ""), DEFAULT_RESAMPLER),
        exact=not codec.encodes_streams and not windowed,
        window=settings.get("window"),
        overlap=settings.get("overlap"),
    )
