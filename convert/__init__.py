"""Converts checkpoints of FocalCodec-Stream to model files; only this package imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fcs_edge.convert.checkpoint import read_config, read_tensors
from fcs_edge.convert.schemes import default, store
from fcs_edge.convert.source import Source, locate
from fcs_edge.errors import CheckpointError
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.model_file import ModelFile

__all__ = ["Source", "convert", "convert_files", "locate", "write_model"]


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    name: str | None = None,
    weights: str | None = None,
) -> ModelFile:
    """Convert a checkpoint to a model file.

    It checks the name, shape, dtype and values of every tensor before it writes anything.

    Parameters
    ----------
    source : str or path
        A folder with config.json and model.safetensors or model.pt; the path of a
        config.json; a hub repository, such as lucadellalib/focalcodec_50hz_4k_causal; or a
        model file of float weights.
    out : str or path
        The model file to write; it appears complete or not at all.
    name : str, optional
        The model's name. Absent: the name of the folder or repository.
    weights : str, optional
        "f32", "f16", "int8" or "int4" (docs/explanation/quantisation.md). Absent: large models
        become int8; small ones retain float32 and float16, and bfloat16 becomes float32.

    Returns
    -------
    ModelFile
        The file, checked and mapped.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found, read or converted; one line says why.
    """
    return convert_files(locate(str(source)), Path(out), name, weights)


def convert_files(
    source: Source | ModelFile, out: Path, name: str | None = None, weights: str | None = None
) -> ModelFile:
    """Convert the result of `locate`, a checkpoint or a model file; see `convert`."""
    if isinstance(source, ModelFile):
        if source.scheme in ("int8", "int4"):
            raise CheckpointError(
                f"{source.path}: has {source.scheme} weights; convert from the checkpoint, or "
                "from a model file of f32 or f16"
            )
        config, tensors, origin = source.config, source.tensors, source.source
    else:
        config = read_config(source.config)
        tensors, origin = read_tensors(source.weights, config), source.origin
    return write_model(out, config, tensors, name or source.name, origin, weights)


def write_model(
    out: Path,
    config: CodecConfig,
    tensors: Mapping[str, NDArray[Any]],
    name: str,
    origin: str,
    weights: str | None = None,
) -> ModelFile:
    """Write a model file of float tensors in their published shapes; see `convert`."""
    scheme = weights or default(config)
    model_file.write(
        out,
        config,
        store(config, tensors, scheme),
        name,
        origin,
        scheme=scheme,
        group=GROUP,
        identity=model_file.fingerprint(config, tensors),
    )
    return model_file.read(out)
