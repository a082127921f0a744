"""Whether texts are unlike each other, in 8 bytes for each."""

from __future__ import annotations

import hashlib

import numpy as np

_PENDING = 1 << 16


def text_hash(text: str) -> int:
    """Return 64 bits of a hash of a text, the same on every machine."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class UniqueTexts:
    """Finds texts that were added more than once, by the `text_hash` of each.

    Two texts of one hash are possible. Who finds a hash repeated compares the texts themselves.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self._pending: list[int] = []

    def add(self, text: str) -> None:
        """Add a text."""
        self._pending.append(text_hash(text))
        if len(self._pending) >= _PENDING:
            self._store()

    def repeated(self) -> frozenset[int]:
        """Return the hashes that were added more than once."""
        self._store()
        keys = np.sort(np.concatenate(self._parts))
        return frozenset(keys[1:][keys[1:] == keys[:-1]].tolist())

    def _store(self) -> None:
        self._parts.append(np.array(self._pending, np.uint64))
        self._pending.clear()
