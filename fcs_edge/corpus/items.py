"""What a corpus consists of: sounds in files, archives and manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fcs_edge.text import printable


@dataclass(frozen=True)
class Item:
    """A sound to encode: a file, a member of a tar, or a part of either."""

    id: str
    """The item's name in the corpus: unique, printable UTF-8."""
    path: str
    """The file's path, as `os.fsdecode` returns it: names that are not UTF-8 have surrogates."""
    member: str | None = None
    """The name of a tar's member; None for a file."""
    start: int = 0
    """The first byte of the sound in the file: not 0 for a tar's member."""
    size: int = 0
    """Bytes of the file, or of the member."""
    mtime_ns: int = 0
    """The file's time of modification, in nanoseconds."""
    offset: float | None = None
    """Seconds of the sound before the item's first sample; None for the whole sound."""
    duration: float | None = None
    """Seconds of the item; None up to the end of the sound."""
    error: str | None = None
    """Why the item is not read; None if it is."""
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Further columns of a manifest, as text."""
    channel: int | None = None
    """The channel to read, from 1, where a manifest names one; None: the recipe's."""
    seconds: float | None = None
    """The length of the sound that a manifest states, or None: for estimates, never to cut."""

    @property
    def path_text(self) -> str:
        """The path as text that any table holds: bytes that are not UTF-8 are escaped."""
        return printable(self.path)


def values_of(item: Item) -> list[Any]:
    """Return an item as values of JSON. Only ASCII JSON holds paths that are not UTF-8."""
    place = [item.id, item.path, item.member, item.start, item.size, item.mtime_ns]
    part = [item.offset, item.duration, item.error, dict(item.columns), item.channel, item.seconds]
    return place + part


def item_of(values: list[Any]) -> Item:
    """Return the item of `values_of`."""
    return Item(*values)
