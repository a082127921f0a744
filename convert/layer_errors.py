"""How far stored weights are from the weights they were converted from."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from fcs_edge.modelfile.tensors import Array

_KINDS = {
    "attention": r"\.attention\.",
    "feed-forward": r"feed_forward|pwconv",
    "refiner": r"refiner",
    "code search": r"^search\.",
    "convolutions": r"\.conv\.|dwconv|modulation\.layers|scale\.\w+scale\.|embedding",
    "modulation": r"\.modulation\.",
    "projections": r"",
}
"""Kinds of layers by what their names match, the first one counts."""

_BLOCK = 1 << 20


class LayerError(NamedTuple):
    """The error of one kind of layer."""

    kind: str
    stored_as: str
    """f16, int8 or int4."""
    n_weights: int
    relative: float
    """Root of the squared errors' sum over the squared weights' sum."""


class LayerErrors:
    """Sums of squared errors, by kind of layer and type of its weights."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], tuple[int, float, float]] = {}

    def add(self, name: str, stored_as: str, exact: Array, restored: Array) -> None:
        """Add the weights of a tensor, or some rows of them, before and after."""
        kind = next(kind for kind, pattern in _KINDS.items() if re.search(pattern, name))
        n, squares, errors = self._sums.get((kind, stored_as), (0, 0.0, 0.0))
        rows = max(1, _BLOCK * len(exact) // max(exact.size, 1))
        for start in range(0, len(exact), rows):
            part = slice(start, start + rows)
            weights = exact[part].astype(np.float64)
            squares += float(np.square(weights).sum())
            errors += float(np.square(weights - restored[part]).sum())
        self._sums[kind, stored_as] = n + exact.size, squares, errors

    def rows(self) -> list[LayerError]:
        """Return the errors of all kinds, the most weights first."""
        found = [
            LayerError(kind, stored_as, n, math.sqrt(errors / squares) if squares else 0.0)
            for (kind, stored_as), (n, squares, errors) in self._sums.items()
        ]
        return sorted(found, key=lambda row: -row.n_weights)
