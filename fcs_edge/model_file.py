"""The model file: one safetensors container, checked and memory-mapped (docs/model-file.md)."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fcs_edge.config import CodecConfig
from fcs_edge.errors import ConfigError, ModelFileError
from fcs_edge.files import replacing
from fcs_edge.layout import tensor_shapes

FORMAT = "fcs-edge model"
FORMAT_VERSION = 1

Array: TypeAlias = NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a safetensors file holds it."""

    dtype: str
    """Its safetensors name: F32, F16, BF16, ..."""
    shape: tuple[int, ...]
    data: Array | None
    """The mapped elements, read-only (bfloat16 as uint16); None for any other dtype."""


@dataclass(frozen=True)
class ModelFile:
    """A checked, mapped model."""

    path: Path
    name: str
    """A short name, such as ``focalcodec_50hz_4k_causal``."""
    source: str
    """What it was converted from."""
    config: CodecConfig
    tensors: Mapping[str, Array]
    """Mapped float32 or float16 arrays by published name, read-only."""
    sha256: str
    """Of the configuration and every tensor as stored, hexadecimal, as the file states it."""
    fingerprint: bytes
    """Eight bytes that tell models apart in bitstreams."""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(t.size for t in self.tensors.values())

    def float32(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the tensors as float32: mapped where the file holds that, else made when asked."""
        return _Float32(self.tensors)

    def verify(self) -> None:
        """Read the whole file and check it against the SHA-256 it states.

        Raises
        ------
        ModelFileError
            The contents are not those that were written.
        """
        _, metadata, _ = _header(self.path)
        if _digest(metadata["config"], self.tensors).hex() != self.sha256:
            raise ModelFileError(
                f"{self.path}: damaged: its SHA-256 does not match; convert or copy it again"
            )


class _Float32(Mapping[str, NDArray[np.float32]]):
    """Tensors widened one by one, so that none is kept that nobody uses."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        array = self._tensors[name].astype(np.float32, copy=False)
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def map_tensors(path: Path) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    """Map a safetensors file.

    The safetensors library checks the header first: sizes, offsets, no gap, no overlap, and
    that the file is as long as they say.

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
        The file is missing, unreadable, or not a sound safetensors file.
    """
    entries, metadata, start = _header(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size > start else b""
    tensors = {name: _stored(mapped, start, entry) for name, entry in entries.items()}
    return metadata, tensors


def _header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{path}: not a sound safetensors file ({error})") from None
    metadata = entries.pop("__metadata__", None) or {}
    return entries, metadata, 8 + length


def _stored(mapped: mmap.mmap | bytes, start: int, entry: dict[str, Any]) -> StoredTensor:
    shape = tuple(entry["shape"])
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        return StoredTensor(entry["dtype"], shape, None)
    begin, end = entry["data_offsets"]
    flat = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, start + begin)
    if not flat.flags.aligned:
        flat = flat.copy()
    return StoredTensor(entry["dtype"], shape, flat.reshape(shape))


def read(path: Path) -> ModelFile:
    """Check a model file and map it. Nothing is unpacked: that costs milliseconds at any size.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, not a model file, or of a newer format.
    """
    metadata, stored = map_tensors(path)
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: not a model file of fcs-edge; make one from a checkpoint with "
            "'fcs-edge convert CHECKPOINT OUT'"
        )
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise ModelFileError(
            f"{path}: model file format {version} is not known to this release; update fcs-edge"
        )
    try:
        config = CodecConfig.from_dict(json.loads(metadata["config"]))
        fingerprint = bytes.fromhex(metadata["fingerprint"])
        name, source, sha256 = metadata["name"], metadata["source"], metadata["sha256"]
    except (KeyError, ValueError, ConfigError) as error:
        raise ModelFileError(f"{path}: damaged metadata ({error})") from None
    if len(fingerprint) != 8:
        raise ModelFileError(f"{path}: damaged metadata (the fingerprint is not 8 bytes)")
    return ModelFile(
        path, name, source, config, _checked(path, config, stored), sha256, fingerprint
    )


def expected(
    path: Path, config: CodecConfig, stored: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, tuple[int, ...], StoredTensor]]:
    """Yield name, shape asked for, and tensor of each tensor that a configuration asks for.

    Raises
    ------
    ModelFileError
        `stored` lacks one, or holds another.
    """
    shapes = tensor_shapes(config)
    for name in stored:
        if name not in shapes:
            raise ModelFileError(f"{path}: unexpected tensor {name}")
    for name, shape in shapes.items():
        tensor = stored.get(name)
        if tensor is None:
            raise ModelFileError(f"{path}: tensor {name} is missing")
        yield name, shape, tensor


def _checked(path: Path, config: CodecConfig, stored: dict[str, StoredTensor]) -> dict[str, Array]:
    tensors: dict[str, Array] = {}
    for name, shape, tensor in expected(path, config, stored):
        if tensor.shape != shape:
            raise ModelFileError(f"{path}: tensor {name} is {tensor.shape}, not {shape}")
        if tensor.data is None or tensor.dtype not in ("F32", "F16"):
            raise ModelFileError(f"{path}: tensor {name} is {tensor.dtype}, not F32 or F16")
        tensors[name] = tensor.data
    return tensors


def write(
    path: Path, config: CodecConfig, tensors: Mapping[str, Array], name: str, source: str
) -> None:
    """Write a model file: to a temporary name beside `path`, then renamed.

    Parameters
    ----------
    path : Path
        Where to.
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        float32 or float16, by published name.
    name, source : str
        What to call it, and what it came from.
    """
    stated = _stated(config)
    arrays = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "name": name,
        "source": source,
        "config": stated,
        "sha256": _digest(stated, arrays).hex(),
        "fingerprint": fingerprint(config, arrays).hex(),
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata)


def fingerprint(config: CodecConfig, tensors: Mapping[str, Array]) -> bytes:
    """Return the eight bytes that name a model, whatever its weights are stored as.

    They are the first of the SHA-256 of the configuration (JSON, keys sorted, every key
    written out) and, by rising name, each tensor's name, shape and float32 values.
    """
    return _digest(_stated(config), tensors, "<f4")[:8]


def _stated(config: CodecConfig) -> str:
    return json.dumps(config.to_dict(), sort_keys=True)


def _digest(stated: str, tensors: Mapping[str, Array], dtype: str | None = None) -> bytes:
    """SHA-256 of a configuration and, by rising name, of each tensor's name, shape and bytes."""
    digest = hashlib.sha256(stated.encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name], dtype)
        digest.update(f"{name}{list(values.shape)}".encode())
        digest.update(values.data)
    return digest.digest()
