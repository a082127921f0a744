"""Reads a checkpoint's configuration and tensors, and checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcs_edge.convert import absent_keys, first_layout, weights_file
from fcs_edge.convert.first_layout import Pieces, shape_of
from fcs_edge.convert.source import Source, listed
from fcs_edge.convert.weights_file import Report, Silent
from fcs_edge.errors import CheckpointError, ConfigError, parsing, shown
from fcs_edge.modelfile import config_json, strict_json
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.stream_memory import check_memory
from fcs_edge.modelfile.tensor_layout import tensor_shapes
from fcs_edge.modelfile.tensors import UNUSABLE, Array, StoredTensor, usable
from fcs_edge.stand_ins import HEAD_BYTES, stand_in

_CONFIG_BYTES = 1 << 20
_FLOATS = ("F64", "F32", "F16", "BF16")
_KEYS = {
    f"{part}_{item}"
    for part in ("encoder", "compressor", "quantizer", "decompressor", "decoder")
    for item in ("name", "config")
} | {"search_config"}


def read(source: Source, report: Report) -> tuple[CodecConfig, SourceTensors]:
    """Read a checkpoint of any layout, and check it.

    Parameters
    ----------
    source : Source
        Its files.
    report : Report
        Takes what is ignored, dropped or changed.

    Raises
    ------
    CheckpointError, ConfigError
        As for `read_config` and `read_tensors`.
    """
    raw = _read_json(source.config)
    tensors: dict[str, StoredTensor] = {}
    for part, path in source.parts or ((None, source.weights),):
        tensors |= weights_file.read(path, report, part)
    is_first, pieces = _by_name(source.weights, tensors, report)
    if isinstance(raw, dict):
        shapes = {name: shape_of(tensor) for name, tensor in pieces.items()}
        raw = absent_keys.complete(raw, shapes, is_first)
    config = _checked(source.config, raw, report)
    return config, _matched(source.weights, config, pieces, report)


def read_config(path: Path, report: Report | None = None) -> CodecConfig:
    """Read and check a config.json, whose absent keys have the defaults of version 0.0.2.

    Raises
    ------
    CheckpointError
        The file is not readable or not JSON.
    ConfigError
        The configuration is invalid or not supported.
    """
    return _checked(path, _read_json(path), report or Silent())


def _read_json(path: Path) -> Any:
    with parsing(path, CheckpointError, "not a readable JSON file"):
        with path.open("rb") as file:
            text = file.read(_CONFIG_BYTES + 1)
        if what := stand_in(text[:HEAD_BYTES], "a configuration"):
            raise CheckpointError(f"{path}: {what}")
        if len(text) > _CONFIG_BYTES:
            raise CheckpointError(f"{path}: too large for a config.json")
        return strict_json.loads(text)


def _checked(path: Path, raw: Any, report: Report) -> CodecConfig:
    if isinstance(raw, dict):
        unknown = [key for key in raw if key not in _KEYS]
        if unknown:
            report.warn(f"{path}: unknown keys are ignored: {listed(unknown)}")
        raw = {key: value for key, value in raw.items() if key in _KEYS}
    try:
        config = config_json.from_dict(raw)
        check_memory(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


class SourceTensors(Mapping[str, Array]):
    """A checkpoint's float tensors by published name, read one at a time.

    Reading one releases the mapped memory of the one before.

    Parameters
    ----------
    pieces : mapping of str to tuple of StoredTensor
        F64, F32, F16 or BF16. Pieces of a tensor follow one another along its first axis.
        float64 and bfloat16 become float32 when they are read.
    """

    def __init__(self, pieces: Mapping[str, Pieces]) -> None:
        self._pieces = pieces
        self.dtypes: dict[str, np.dtype[Any]] = {
            name: np.dtype(np.float16 if all(p.dtype == "F16" for p in tensor) else np.float32)
            for name, tensor in pieces.items()
        }
        self._last: Pieces = ()

    def __getitem__(self, name: str) -> Array:
        """Return a tensor, float32 or float16."""
        pieces = self._pieces[name]
        if self._last is not pieces:
            for piece in self._last:
                piece.release()
        self._last = pieces
        dtype = self.dtypes[name]
        arrays = [_as_float(piece).astype(dtype, copy=False) for piece in pieces]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._pieces)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._pieces)

    def stored(self, name: str) -> StoredTensor:
        """Return a tensor as a model file of floats holds it: as it is stored where it can be."""
        pieces = self._pieces[name]
        if len(pieces) == 1 and pieces[0].dtype in ("F32", "F16"):
            return pieces[0]
        array = self[name]
        return StoredTensor("F16" if array.dtype == np.float16 else "F32", array.shape, array)


def _as_float(piece: StoredTensor) -> Array:
    assert piece.data is not None
    if piece.dtype == "BF16":
        return widen_bfloat16(piece.data)
    return piece.data.astype(np.float32) if piece.dtype == "F64" else piece.data


def read_tensors(path: Path, config: CodecConfig, report: Report | None = None) -> SourceTensors:
    """Read a checkpoint's tensors and check each against the configuration.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, which is mapped without torch, or a pickle, which torch's
        weights-only loading reads: a state dict, or one under ``model`` or ``state_dict``.
    config : CodecConfig
        The checkpoint's configuration.
    report : Report, optional
        Takes what is ignored, dropped or changed.

    Returns
    -------
    SourceTensors
        float32 or float16, by published name.

    Raises
    ------
    CheckpointError
        A tensor is missing, unexpected, of a wrong shape or dtype, or not finite.
    """
    report = report or Silent()
    _, pieces = _by_name(path, weights_file.read(path, report), report)
    return _matched(path, config, pieces, report)


def _by_name(
    path: Path, tensors: Mapping[str, StoredTensor], report: Report
) -> tuple[bool, dict[str, Pieces]]:
    """Return whether tensors have the layout of version 0.0.1, and all by the newer names."""
    is_first = first_layout.applies(tensors)
    if is_first:
        report.note(f"{path}: the layout of FocalCodec 0.0.1")
    pieces, dropped = first_layout.renamed(path, tensors)
    if dropped:
        report.note(f"{path}: dropped, as no value depends on them: {listed(dropped)}")
    return is_first, pieces


def _matched(
    path: Path, config: CodecConfig, pieces: Mapping[str, Pieces], report: Report
) -> SourceTensors:
    """Return the tensors of a configuration, each of which is checked."""
    shapes = tensor_shapes(config)
    for name in pieces:
        if name not in shapes:
            raise CheckpointError(f"{path}: unexpected tensor {shown(name, 80)}")
    for name, shape in shapes.items():
        if name not in pieces:
            raise CheckpointError(f"{path}: tensor {name} is missing")
        _check(path, name, shape, pieces[name])
    wide = [name for name in shapes if any(piece.dtype == "F64" for piece in pieces[name])]
    if wide:
        report.note(f"{path}: float64 becomes float32: {listed(wide)}")
    return SourceTensors({name: pieces[name] for name in shapes})


def _check(path: Path, name: str, shape: tuple[int, ...], pieces: Pieces) -> None:
    found = shape_of(pieces)
    if found != shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {shown(list(found), 80)}, but the "
            f"configuration requires {list(shape)}"
        )
    for piece in pieces:
        if piece.data is None or piece.dtype not in _FLOATS:
            raise CheckpointError(
                f"{path}: tensor {name} is {shown(piece.dtype, 40)}; F64, F32, F16 and BF16 are "
                "supported"
            )
        if not usable(piece):
            raise CheckpointError(f"{path}: tensor {name} has {UNUSABLE}")
        piece.release()


def widen_bfloat16(bits: Array) -> Array:
    """Return the float32 values of bfloat16 bits in uint16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
