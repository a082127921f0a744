"""Entropies of tokens, and of pairs of them, in memory that the number of pairs does not change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_MOST_PAIRS = 1 << 21
"""Different pairs that are counted at once."""
_PENDING = 1 << 20
"""Pairs that wait to be counted."""
_FREQUENT = 1024
"""A pair that is more than one of so many is counted from then on, whatever its hash."""


def entropy(counts: I64) -> float:
    """Return the entropy of counts in bits, that of a distribution in proportion to them."""
    total = int(counts.sum())
    if not total:
        return 0.0
    share = counts[counts > 0] / total
    return float(-(share * np.log2(share)).sum())


class PairCounts:
    """Counts pairs of tokens that follow each other.

    Up to 2 million different pairs are counted exactly. Of more, the pairs are counted whose hash
    ends in `level` zero bits, and stand for the others. Frequent pairs, as those of silence, stay
    whatever their hash: such a pair stands for as many as it did when it became frequent.

    Parameters
    ----------
    most : int
        Different pairs that are counted at once.

    Attributes
    ----------
    n : int
        Pairs that were added.
    level : int
        One pair of ``2 ** level`` is counted.
    """

    def __init__(self, most: int = _MOST_PAIRS) -> None:
        self._most = most
        self.n = self.level = 0
        self._keys = np.zeros(0, np.uint64)
        self._counts = np.zeros(0, np.int64)
        self._frequent: dict[int, int] = {}
        """Pairs that stay, and the level at which each became frequent."""
        self._pending: list[U64] = []
        self._n_pending = 0

    def add(self, first: NDArray[np.uint16], second: NDArray[np.uint16]) -> None:
        """Add pairs, (n,) uint16 each."""
        keys = (first.astype(np.uint64) << np.uint64(16)) | second
        self.n += keys.size
        if self.level:
            keys = keys[self._is_counted(keys)]
        self._pending.append(keys)
        self._n_pending += keys.size
        if self._n_pending > max(_PENDING, self._keys.size):
            self._merge()

    def entropy(self) -> float:
        """Return the entropy of pairs in bits; an estimate where `level` is above 0."""
        self._merge()
        if not self.n:
            return 0.0
        parts = self._counts * np.log2(self._counts)
        return float(np.log2(self.n) - (parts * self._weights()).sum() / self.n)

    def coverage(self) -> float:
        """Return the probability that a pair of new speech is one that was counted, about.

        It is Good's estimate, 1 - the share of pairs that occur once.
        """
        self._merge()
        once = float(self._weights()[self._counts == 1].sum())
        return 1 - min(1.0, once / self.n) if self.n else 0.0

    def _weights(self) -> NDArray[np.float64]:
        """Return how many pairs each counted pair stands for."""
        weights = np.full(self._keys.size, 2.0**self.level)
        if self._frequent:
            own = np.fromiter(self._frequent, np.uint64)
            at = np.searchsorted(self._keys, own)
            weights[at] = np.exp2(np.fromiter(self._frequent.values(), np.float64))
        return weights

    def _merge(self) -> None:
        """Count the pairs that wait."""
        if self._n_pending:
            new, counts = np.unique(np.concatenate(self._pending), return_counts=True)
            keys = np.concatenate([self._keys, new])
            self._keys, places = np.unique(keys, return_inverse=True)
            weights = np.concatenate([self._counts, counts])
            # Sums of counts below 2 ** 53 are exact in float64.
            self._counts = np.bincount(places, weights, self._keys.size).astype(np.int64)
            self._pending, self._n_pending = [], 0
        while self._keys.size > self._most:
            often = self._keys[self._counts * _FREQUENT > self.n]
            for key in often.tolist():
                self._frequent.setdefault(key, self.level)
            self.level += 1
            stays = self._is_counted(self._keys)
            self._keys, self._counts = self._keys[stays], self._counts[stays]

    def _is_counted(self, keys: U64) -> NDArray[np.bool_]:
        mask = np.uint64((1 << self.level) - 1)
        counted: NDArray[np.bool_] = (_hashes(keys) & mask) == 0
        if self._frequent:
            counted |= np.isin(keys, np.fromiter(self._frequent, np.uint64))
        return counted


def _hashes(keys: U64) -> U64:
    """Return well-mixed 64 bits of each key: the finish of SplitMix64."""
    mixed: U64 = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
