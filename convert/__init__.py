"""Checkpoints of FocalCodec-Stream to model files; the only place that may import torch."""

from __future__ import annotations

import os
from pathlib import Path

from fcs_edge import model_file
from fcs_edge.convert.checkpoint import read_config, read_tensors
from fcs_edge.convert.source import Source, locate
from fcs_edge.model_file import ModelFile

__all__ = ["Source", "convert", "convert_files", "locate"]


def convert(
    source: str | os.PathLike[str], out: str | os.PathLike[str], name: str | None = None
) -> ModelFile:
    """Convert a checkpoint to a model file.

    Every tensor is checked by name, shape, dtype and value before anything is written;
    float16 stays float16, bfloat16 becomes float32, both without loss.

    Parameters
    ----------
    source : str or path
        A folder with config.json and model.safetensors or model.pt; the path of a
        config.json; or a hub repository, such as lucadellalib/focalcodec_50hz_4k_causal.
    out : str or path
        The model file to write; it appears whole or not at all.
    name : str, optional
        What to call the model; the folder's or repository's name where it is absent.

    Returns
    -------
    ModelFile
        The file written, checked and mapped.

    Raises
    ------
    fcs_edge.FcsError
        The source cannot be found, read or converted; one line says why.
    """
    return convert_files(locate(str(source)), Path(out), name)


def convert_files(source: Source, out: Path, name: str | None = None) -> ModelFile:
    """Convert a checkpoint whose files `locate` found; see `convert`."""
    config = read_config(source.config)
    tensors = read_tensors(source.weights, config)
    model_file.write(out, config, tensors, name or source.name, source.origin)
    return model_file.read(out)
