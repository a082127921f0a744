"""Columns of a shard as arrays of Arrow, put together from their parts.

`pyarrow.array` does the same, but imports pandas where that is installed: 35 MB and half a second
for each worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.corpus.arrow import pyarrow

_NUMBERS = {"int32": np.int32, "int64": np.int64, "double": np.float64}


def numbers(values: Sequence[Any], kind: str) -> Any:
    """Return numbers, or None for null, as an array of a type that `schema.COLUMNS` names."""
    pa, dtype = pyarrow(), _NUMBERS[kind]
    data = np.array([0 if value is None else value for value in values], dtype)
    return _array(pa.type_for_alias(kind), values, pa.py_buffer(data))


def strings(values: Sequence[str | None]) -> Any:
    """Return strings, or None for null; what is no text of Unicode is escaped."""
    pa = pyarrow()
    parts = [_bytes(value) for value in values]
    offsets = _offsets([len(part) for part in parts])
    return _array(pa.string(), values, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts)))


def lists(values: Sequence[Any]) -> Any:
    """Return arrays, (n,) uint16 or None each, as one array of lists."""
    pa = pyarrow()
    arrays = [np.zeros(0, np.uint16) if value is None else value for value in values]
    flat = np.concatenate([np.zeros(0, np.uint16), *arrays]).astype(np.uint16, copy=False)
    items = pa.Array.from_buffers(pa.uint16(), flat.size, [None, pa.py_buffer(flat)])
    offsets = pa.py_buffer(_offsets([len(array) for array in arrays]))
    return _array(pa.list_(pa.uint16()), values, offsets, children=[items])


def _array(kind: Any, values: Sequence[Any], *buffers: Any, children: Any = None) -> Any:
    """Return an array of these buffers, null where a value is None."""
    pa = pyarrow()
    present = np.array([value is not None for value in values], np.bool_)
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    n_null = len(values) - int(np.count_nonzero(present))
    everything = [valid, *buffers]
    return pa.Array.from_buffers(kind, len(values), everything, n_null, children=children)


def _bytes(value: str | None) -> bytes:
    # JSON allows halves of surrogate pairs.
    return b"" if value is None else str(value).encode("utf-8", "backslashreplace")


def _offsets(lengths: list[int]) -> NDArray[np.int32]:
    return np.cumsum([0, *lengths], dtype=np.int64).astype(np.int32)
