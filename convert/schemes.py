"""Schemes of storing weights: float32, float16, or integers of 8 or 4 bits."""

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
"""Number of weights from which a model is stored as int8 by default."""

FLOAT = re.compile(
    r"feature_extractor\.layers\.0\.conv|compressor\.out_proj|search\.told|decompressor\.in_proj"
    r"|head\.proj"
)
"""Weights that stay float16 in int8 and int4, 0.2 % of all: the layers next to samples, latents and
codes, and the code search's prediction."""

EIGHT = re.compile(r"feature_extractor|upscale\.upscale")
"""Weights that are int8 in int4 too, 3 % of all: layers without a residual connection, which would
reduce their errors."""

_LARGEST_HALF = 65504


def default(config: CodecConfig) -> str | None:
    """Return the default scheme of a model; None stores each tensor as it is.

    Large models are too slow for real time as floats, and int8 changes few of their tokens' bits
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
        The tensors for `fcs_edge.modelfile.model_file.write`.

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
            f"tensor {name} has weights too large for float16; convert with --weights f32"
        )
    return tensor.astype(np.float16)


def _quantized(name: str, tensor: Array, scheme: str) -> dict[str, Array]:
    weight = as_matrix(name, tensor.astype(np.float32, copy=False))
    if scheme == "int8" or EIGHT.search(name):
        eight = quantized_weights.quantize_int8(weight)
        return {name: eight.values, name + SCALE: eight.scale}
    four = quantized_weights.quantize_int4(weight)
    return {name: four.values, name + SCALE: four.scale}
