"""What a model's weights are stored as: float32, float16, or integers of 8 or 4 bits."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from fcs_edge.errors import CheckpointError
from fcs_edge.kernels.gemm import quantized_weights
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.tensor_layout import as_matrix, matrix_shape, tensor_shapes
from fcs_edge.modelfile.tensors import SCALE, Array

LARGE = 50_000_000
"""Weights from which on a model is stored as int8 where nothing else is asked for."""

FLOAT = re.compile(
    r"feature_extractor\.layers\.0\.conv|compressor\.out_proj|search\.told|decompressor\.in_proj"
    r"|head\.proj"
)
"""Weights that stay float16 in int8 and int4: what takes samples in, makes latents of features and
features of codes, tells codes apart, and gives samples out. They are one weight in five hundred."""

EIGHT = re.compile(r"feature_extractor|upscale\.upscale")
"""Weights that are int8 in int4, too: no sum with what came before dampens their errors. They are
three weights in a hundred."""

_LARGEST_HALF = 65504


def default(config: CodecConfig) -> str | None:
    """Return what a model is stored as where nothing is asked for; None is as it comes.

    Large models do not run in real time as floats, and int8 changes few of their bits
    (docs/explanation/quantisation.md).
    """
    size = sum(int(np.prod(shape)) for shape in tensor_shapes(config).values())
    return "int8" if size >= LARGE else None


def store(
    config: CodecConfig, tensors: Mapping[str, Array], scheme: str | None
) -> dict[str, Array]:
    """Return a model's tensors in a scheme.

    Parameters
    ----------
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        float32 or float16, by published name.
    scheme : str, optional
        One of `fcs_edge.modelfile.model_file.SCHEMES`; None leaves every tensor as it is.

    Returns
    -------
    dict of str to numpy.ndarray
        What `fcs_edge.modelfile.model_file.write` takes.

    Raises
    ------
    CheckpointError
        A weight is too large for float16.
    """
    if scheme is None:
        return dict(tensors)
    if scheme == "f32":
        return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    stored: dict[str, Array] = {}
    for name, shape in tensor_shapes(config).items():
        tensor = tensors[name]
        matrix = matrix_shape(name, shape)
        depthwise = matrix is None and len(shape) == 3
        if matrix is None and not depthwise:
            stored[name] = tensor
        elif depthwise or scheme == "f16" or FLOAT.search(name):
            stored[name] = _half(name, tensor)
        else:
            stored |= _quantized(name, tensor, scheme)
    return stored


def _half(name: str, tensor: Array) -> Array:
    if np.abs(tensor).max() > _LARGEST_HALF:
        raise CheckpointError(
            f"tensor {name} holds weights too large for float16; convert with --weights f32"
        )
    return tensor.astype(np.float16)


def _quantized(name: str, tensor: Array, scheme: str) -> dict[str, Array]:
    weight = as_matrix(name, tensor.astype(np.float32, copy=False))
    if scheme == "int8" or EIGHT.search(name):
        eight = quantized_weights.quantize_int8(weight)
        return {name: eight.values, name + SCALE: eight.scale}
    four = quantized_weights.quantize_int4(weight)
    return {name: four.values, name + SCALE: four.scale}
