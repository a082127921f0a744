"""Writes a safetensors file tensor by tensor, so that no more than one is in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from fcs_edge.modelfile.tensor_layout import Shape
from fcs_edge.modelfile.tensors import Array

_NAMES = {"<f4": "F32", "<f2": "F16", "<i2": "I16", "|i1": "I8", "|u1": "U8"}
_ORDER = ("F32", "F16", "I16", "I8", "U8")
"""Tensors of larger elements come first, as in the files of the safetensors library."""


class TensorSpec(NamedTuple):
    """What is known of a tensor before its values are."""

    dtype: np.dtype[np.generic]
    shape: Shape


class TensorFileWriter:
    """Writes tensors to their places in a file, in any order.

    The file is what the safetensors library writes, but for the metadata, whose keys are sorted.

    Parameters
    ----------
    file : binary file
        An empty file that can seek.
    specs : mapping of str to TensorSpec
        All tensors, float32, float16, int16, int8 or uint8.
    metadata : mapping of str to str
        The file's metadata. `finish` may replace values by others of the same length.
    """

    def __init__(
        self, file: BinaryIO, specs: Mapping[str, TensorSpec], metadata: Mapping[str, str]
    ) -> None:
        self._file, self._specs = file, specs
        self._entries: dict[str, tuple[str, int, int]] = {}
        self._missing = set(specs)
        end = 0
        for name in sorted(specs, key=lambda name: (_ORDER.index(_dtype(specs[name])), name)):
            begin, end = end, end + math.prod(specs[name].shape) * specs[name].dtype.itemsize
            self._entries[name] = _dtype(specs[name]), begin, end
        self._start = self._write_header(metadata)
        file.truncate(self._start + end)

    def write(self, name: str, tensor: Array) -> None:
        """Write a tensor of the dtype and shape that were stated."""
        spec = self._specs[name]
        if (tensor.dtype, tensor.shape) != spec:
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}, not {spec}")
        self._file.seek(self._start + self._entries[name][1])
        self._file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
        self._missing.discard(name)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header again, after the last tensor."""
        if self._missing:
            raise ValueError(f"{min(self._missing)} was not written")
        if self._write_header(metadata) != self._start:
            raise ValueError("the metadata has another length than at first")

    def _write_header(self, metadata: Mapping[str, str]) -> int:
        """Write the header, and return where the tensors begin."""
        # Names of folders that are no UTF-8 become question marks.
        entries: dict[str, object] = {
            "__metadata__": {
                key: metadata[key].encode("utf-8", "replace").decode() for key in sorted(metadata)
            }
        }
        for name, (dtype, begin, end) in self._entries.items():
            shape = list(self._specs[name].shape)
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._file.seek(0)
        self._file.write(len(text).to_bytes(8, "little") + text)
        return 8 + len(text)


def _dtype(spec: TensorSpec) -> str:
    return _NAMES[spec.dtype.newbyteorder("<").str]
