"""Checkpoints of FocalCodec-Stream to model files; the only place that may import torch."""

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

    Every tensor is checked by name, shape, dtype and value before anything is written.

    Parameters
    ----------
    source : str or path
        A folder with config.json and model.safetensors or model.pt; the path of a
        config.json; a hub repository, such as lucadellalib/focalcodec_50hz_4k_causal; or a
        model file of float weights.
    out : str or path
        The model file to write; it appears whole or not at all.
    name : str, optional
        What to call the model; the folder's or repository's name where it is absent.
    weights : str, optional
        "f32", "f16", "int8" or "int4" (docs/explanation/quantisation.md). Where it is absent,
        large models become int8, and small ones keep float32 and float16 as they are; bfloat16
        becomes float32.

    Returns
    -------
    ModelFile
        The file written, checked and mapped.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found, read or converted; one line says why.
    """
    return convert_files(locate(str(source)), Path(out), name, weights)


def convert_files(
    source: Source | ModelFile, out: Path, name: str | None = None, weights: str | None = None
) -> ModelFile:
    """Convert a checkpoint, or a model file, that `locate` found; see `convert`."""
    if isinstance(source, ModelFile):
        if source.scheme in ("int8", "int4"):
            raise CheckpointError(
                f"{source.path}: holds {source.scheme} weights; convert from the checkpoint, or "
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
