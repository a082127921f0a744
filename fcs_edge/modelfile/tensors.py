"""The tensors of a safetensors file: mapped, and read by layers one at a time."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors
from numpy.typing import NDArray

from fcs_edge.errors import ModelFileError, parsing, shown
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8, Weight
from fcs_edge.modelfile import strict_json
from fcs_edge.modelfile.tensor_layout import Shape, as_matrix, matrix_shape
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

Array: TypeAlias = NDArray[Any]

HEADER_LIMIT = 1 << 20
"""Bytes of a header. Parsing takes 25 times as much memory; the largest model needs 100 KB."""

_AXES = 8
"""Axes of a tensor, more than any model has; NumPy has no arrays of more than 32."""
_BLOCK = 1 << 16

_LARGEST = np.float32(2.0**100)
"""The largest magnitude of a weight: sums of a few of them are finite."""
_EXPONENTS = {"F16": (0x7C00, 0x7C00), "BF16": (0x7F80, 0x7180)}
"""Of half floats, the bits of the exponent, and the least exponent that is beyond `_LARGEST`."""
UNUSABLE = "NaN or infinity, or a number beyond 2 ** 100"
_PROBLEM = "not an intact safetensors file"

SCALE = ".scale"
"""Suffix of the name of a quantised weight's scales."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}


class ForeignFileError(ModelFileError):
    """A file is no safetensors file at all, such as a sound in place of a model."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a safetensors file holds it."""

    dtype: str
    """Its safetensors name: F64, F32, F16, BF16, I16, I8, U8, ..."""
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

    Each method raises ModelFileError where `check_values` does: the values are read here for the
    first time, so the check costs no reading of its own.
    """

    def __init__(
        self,
        path: Path,
        stored: Mapping[str, StoredTensor],
        shapes: Mapping[str, Shape],
        group: int,
        activation_bits: int,
    ) -> None:
        self._path, self._stored = path, stored
        self._shapes, self._group, self._activation_bits = shapes, group, activation_bits
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
            return Int8(values, self._data(name + SCALE), self._activation_bits)
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
        check_values(self._path, name, self._stored[name])
        data = self._stored[name].data
        assert data is not None
        return data


def check_values(path: Path, name: str, tensor: StoredTensor) -> None:
    """Check the values of a model's tensor; the elements are read once.

    Raises
    ------
    ModelFileError
        A float is NaN, infinite or beyond 2 ** 100, or an 8-bit integer is -128.
    """
    values = tensor.data
    if values is None or values.size == 0:
        return
    if tensor.dtype == "I8" and values.min() < -127:
        raise ModelFileError(f"{path}: tensor {name} has -128; its integers are -127 to 127")
    if tensor.dtype not in ("F32", "F16", "BF16"):
        return
    if not usable(tensor):
        raise ModelFileError(f"{path}: tensor {name} has {UNUSABLE}")


def usable(tensor: StoredTensor) -> bool:
    """Return whether each float is finite and at most 2 ** 100; block by block, in little memory.

    Half floats are compared as integers, by their exponents.
    """
    assert tensor.data is not None
    values = tensor.data.reshape(-1)
    mask, limit = _EXPONENTS.get(tensor.dtype, (0, 0))
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        # A comparison with NaN is false.
        good = block.view(np.uint16) & mask < limit if mask else np.abs(block) <= _LARGEST
        if not good.all():
            return False
    return True


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
        The file is missing, unreadable, or not an intact safetensors file; a `ForeignFileError`
        if it does not begin as one.
    """
    entries, metadata, start = header(path)
    with parsing(path, ModelFileError, _PROBLEM):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size > start else b""
        tensors = {name: _stored(mapped, start, name, entry) for name, entry in entries.items()}
    return metadata, tensors


def header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return the tensor entries and metadata of a safetensors file, and the offset of its data.

    Raises
    ------
    ModelFileError
        As for `map_tensors`.
    """
    with parsing(path, ModelFileError, _PROBLEM):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if what := stand_in(head, "weights"):
                raise ModelFileError(f"{path}: {what}")
            if head[8:9] not in (b"", b"{"):
                raise ForeignFileError(f"{path}: {_PROBLEM} (it does not begin as one)")
            length = int.from_bytes(head[:8], "little")
            if length > HEADER_LIMIT:
                raise ValueError(f"its header is larger than {HEADER_LIMIT:,} bytes")
            file.seek(8)
            text = file.read(length)
        with safetensors.safe_open(path, framework="numpy"):
            pass
        entries = strict_json.loads(text)
        metadata = entries.pop("__metadata__", None) or {}
    return entries, metadata, 8 + length


def _stored(
    mapped: mmap.mmap | bytes, start: int, name: str, entry: dict[str, Any]
) -> StoredTensor:
    shape = tuple(entry["shape"])
    if len(shape) > _AXES:
        raise ValueError(f"tensor {shown(name, 60)} has {len(shape)} axes")
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        return StoredTensor(entry["dtype"], shape, None)
    if math.prod(shape) == 0:
        return StoredTensor(entry["dtype"], shape, np.zeros(shape, dtype))
    begin, end = entry["data_offsets"]
    flat = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, start + begin)
    if not flat.flags.aligned or not isinstance(mapped, mmap.mmap):
        return StoredTensor(entry["dtype"], shape, flat.copy().reshape(shape))
    return StoredTensor(entry["dtype"], shape, flat.reshape(shape), mapped, start + begin)
