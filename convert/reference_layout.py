"""Writes a model as a checkpoint that the reference reads: a JSON file and a safetensors file."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcs_edge.convert.weights_file import Report
from fcs_edge.errors import CheckpointError
from fcs_edge.files import creating
from fcs_edge.kernels.gemm.quantized_weights import float32
from fcs_edge.modelfile import config_json, model_file
from fcs_edge.modelfile.config import CodecConfig, DecoderConfig
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensor_file import TensorFileWriter, TensorSpec
from fcs_edge.modelfile.tensor_layout import from_matrix, tensor_shapes
from fcs_edge.modelfile.tensors import Array

_METADATA = {"format": "pt"}
"""What the library's own writers for PyTorch state."""


class Target(NamedTuple):
    """The two files of a checkpoint."""

    config: Path
    weights: Path

    @classmethod
    def of(cls, out: Path) -> Target:
        """Return the files that an output means.

        The reference reads x.json with x.safetensors, and of a hub repository config.json with
        model.safetensors: those of a folder.
        """
        if out.suffix == ".json":
            return cls(out, out.with_suffix(".safetensors"))
        return cls(out / "config.json", out / "model.safetensors")

    @property
    def folder(self) -> Path:
        """The folder of both."""
        return self.config.parent


class PublishedTensors(Mapping[str, Array]):
    """A model file's tensors in their published shapes, one at a time: floats as they are stored.

    Integers become float32: each times its scale.
    """

    def __init__(self, model: ModelFile) -> None:
        self._reader, self._shapes = model.reader(), model.shapes
        self.dtypes = {
            name: np.dtype(np.float16 if model.stored[name].dtype == "F16" else np.float32)
            for name in self._shapes
        }
        self._integers = {name for name in self._shapes if model.stored[name].dtype in ("I8", "U8")}

    def __getitem__(self, name: str) -> Array:
        """Return a tensor, float32 or float16."""
        if name not in self._integers:
            return self._reader.floats(name)
        shape = self._shapes[name]
        return from_matrix(name, float32(self._reader.matrix(name)), shape)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._shapes)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._shapes)


def write_model_file(target: Target, model: ModelFile, report: Report, *, overwrite: bool) -> None:
    """Write a model file as a checkpoint; see `write_checkpoint`.

    Parameters
    ----------
    target : Target
        The files to write.
    model : ModelFile
        A whole model.
    report : Report
        Takes what the checkpoint lacks.
    overwrite : bool
        Whether files that exist are replaced.

    Raises
    ------
    FcsError, OSError
        As for `write_checkpoint`; or the file is half a model.
    """
    model.require("encoder", "decoder")
    tensors = PublishedTensors(model)
    if model.scheme in ("int8", "int4"):
        report.warn(
            f"{model.path}: {model.scheme} weights become float32, each with the value that it "
            "has: not those of the original checkpoint"
        )
    if model.priors:
        report.note(f"{model.path}: the checkpoint has no place for priors; keep the model file")
    identity = write_checkpoint(
        target, model.config, tensors, tensors.dtypes, report, overwrite=overwrite
    )
    if identity != model.fingerprint:
        report.warn(
            f"{target.weights}: converts to another fingerprint, {identity.hex()}, not "
            f"{model.fingerprint.hex()}: its weights or its parts are not the original ones"
        )


def write_checkpoint(
    target: Target,
    config: CodecConfig,
    tensors: Mapping[str, Array],
    dtypes: Mapping[str, np.dtype[np.generic]],
    report: Report,
    *,
    overwrite: bool,
) -> bytes:
    """Write a configuration and its weights; both appear complete, or neither does.

    Parameters
    ----------
    target : Target
        The files to write, whose folder need not exist.
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        float32 or float16, by published name.
    dtypes : mapping of str to numpy.dtype
        Their dtypes.
    report : Report
        Takes what the reference does not have.
    overwrite : bool
        Whether files that exist are replaced.

    Returns
    -------
    bytes
        The fingerprint of the checkpoint.

    Raises
    ------
    CheckpointError
        A file exists, or the reference has no such decoder.
    OSError
        The files cannot be written.
    """
    _check_decoder(target, config)
    if config.search is not None:
        report.warn(
            f"{target.config}: the reference has no code search: search_config and its tensors "
            "are left out, and tokens become the signs of the latents"
        )
        config = dataclasses.replace(config, search=None)
    shapes = tensor_shapes(config)
    chosen = _Chosen(tensors, shapes)
    # Reading all of it first finds what cannot be used before anything is written.
    identity = model_file.fingerprint(config, chosen)
    check_target(target, overwrite)
    is_new = not target.folder.is_dir()
    target.folder.mkdir(exist_ok=True)
    try:
        specs = {name: TensorSpec(dtypes[name], shape) for name, shape in shapes.items()}
        _write(target, config, specs, chosen, overwrite)
    except BaseException:
        if is_new:
            shutil.rmtree(target.folder)
        raise
    return identity


def _check_decoder(target: Target, config: CodecConfig) -> None:
    decoder = config.decoder
    if isinstance(decoder, DecoderConfig) and decoder.is_extended:
        raise CheckpointError(
            f"{target.config}: the reference cannot decode with this model: it has no "
            "noise_channels and no win_length"
        )


def _write(
    target: Target,
    config: CodecConfig,
    specs: Mapping[str, TensorSpec],
    tensors: Mapping[str, Array],
    overwrite: bool,
) -> None:
    text = json.dumps(config_json.to_dict(config), indent=2) + "\n"
    # The weights, which may not fit the disk, get their name first.
    with (
        creating(target.config, overwrite=overwrite) as config_file,
        creating(target.weights, overwrite=overwrite) as file,
    ):
        config_file.write(text.encode())
        writer = TensorFileWriter(file, specs, _METADATA)
        for name, tensor in tensors.items():
            writer.write(name, tensor)
        writer.finish(_METADATA)


def check_target(target: Target, overwrite: bool) -> None:
    """Refuse files whose folder cannot be written, or that would be replaced.

    Raises
    ------
    CheckpointError
        The folder is a file, or is in no folder, or one of the files exists.
    """
    folder = target.folder
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(
            f"{folder}: is a file; give the folder that the checkpoint goes to, or a .json"
        )
    if not folder.is_dir() and not folder.absolute().parent.is_dir():
        raise CheckpointError(f"{folder.parent}: no such folder")
    for path in target:
        if path.exists() and not overwrite:
            raise CheckpointError(f"{path}: exists already; --force overwrites it")


class _Chosen(Mapping[str, Array]):
    """Some of the tensors of a mapping, which are read one at a time."""

    def __init__(self, tensors: Mapping[str, Array], names: Iterable[str]) -> None:
        self._tensors, self._names = tensors, tuple(names)

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
