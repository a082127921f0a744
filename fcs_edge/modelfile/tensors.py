"""The tensors of a safetensors file: mapped, and read by layers one at a time."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors
from numpy.typing import NDArray

from fcs_edge.errors import ModelFileError
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8, Weight
from fcs_edge.modelfile.tensor_layout import Shape, as_matrix, matrix_shape

Array: TypeAlias = NDArray[Any]

SCALE = ".scale"
"""Suffix of the name of a quantised weight's scales."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a safetensors file holds it."""

    dtype: str
    """Its safetensors name: F32, F16, BF16, I8, U8, ..."""
    shape: tuple[int, ...]
    data: Array | None
    """The mapped elements, read-only (bfloat16 as uint16); None for any other dtype."""
    mapped: mmap.mmap | None = None
    """The file's mapping, if the elements lie in it."""
    begin: int = 0
    """Offset of the elements in the mapping, in bytes."""

    def release(self) -> None:
        """Release the memory of mapped elements; a later access reads the file again."""
        if self.mapped is None or self.data is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = -(-self.begin // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self.begin + self.data.nbytes - first
        if size >= mmap.PAGESIZE:
            self.mapped.madvise(mmap.MADV_DONTNEED, first, size // mmap.PAGESIZE * mmap.PAGESIZE)


class TensorReader:
    """A model's tensors as layers read them; see `fcs_edge.model.layers.Tensors`.

    Reading one large weight releases the mapped memory of the one before. Layers pack weights into
    copies of their own, so the file never takes memory beside all of its copies.
    """

    def __init__(
        self, stored: Mapping[str, StoredTensor], shapes: Mapping[str, Shape], group: int
    ) -> None:
        self._stored, self._shapes, self._group = stored, shapes, group
        self._last: StoredTensor | None = None

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32: mapped if the file stores float32, converted otherwise."""
        array = self._data(name).astype(np.float32, copy=False)
        array.flags.writeable = False
        return array

    def floats(self, name: str) -> Array:
        """Return a tensor as it is stored, float32 or float16."""
        return self._large(name)

    def matrix(self, name: str) -> Weight:
        """Return a weight of matrix products as it is stored, (outputs, depth)."""
        values = self._large(name)
        if values.dtype == np.int8:
            return Int8(values, self._data(name + SCALE))
        if values.dtype == np.uint8:
            shape = matrix_shape(name, self._shapes[name])
            assert shape is not None
            return Int4(values, self._data(name + SCALE), shape[1], self._group)
        return as_matrix(name, values)

    def _large(self, name: str) -> Array:
        if self._last is not None:
            self._last.release()
        self._last = self._stored[name]
        return self._data(name)

    def _data(self, name: str) -> Array:
        data = self._stored[name].data
        assert data is not None
        return data


def map_tensors(path: Path) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Map a safetensors file.

    The safetensors library checks the header first: sizes, offsets, gaps, overlaps and the length
    of the file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    metadata : dict of str to str
        The file's free-form metadata.
    tensors : dict of str to StoredTensor
        By name, in the file's order.

    Raises
    ------
    ModelFileError
        The file is missing, unreadable, or not an intact safetensors file.
    """
    entries, metadata, start = header(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size > start else b""
    tensors = {name: _stored(mapped, start, entry) for name, entry in entries.items()}
    return metadata, tensors


def header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return the tensor entries and metadata of a safetensors file, and the offset of its data."""
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{path}: not an intact safetensors file ({error})") from None
    metadata = entries.pop("__metadata__", None) or {}
    return entries, metadata, 8 + length


def _stored(mapped: mmap.mmap | bytes, start: int, entry: dict[str, Any]) -> StoredTensor:
    shape = tuple(entry["shape"])
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        return StoredTensor(entry["dtype"], shape, None)
    begin, end = entry["data_offsets"]
    flat = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, start + begin)
    if not flat.flags.aligned or not isinstance(mapped, mmap.mmap):
        return StoredTensor(entry["dtype"], shape, flat.copy().reshape(shape))
    return StoredTensor(entry["dtype"], shape, flat.reshape(shape), mapped, start + begin)
