"""Schemes of storing weights: float32, float16, or integers of 8 or 4 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fcs_edge.convert.layer_errors import LayerErrors
from fcs_edge.errors import CheckpointError
from fcs_edge.kernels.gemm import quantized_weights
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.parts import part_shapes
from fcs_edge.modelfile.tensor_file import TensorSpec
from fcs_edge.modelfile.tensor_layout import Shape, as_matrix, matrix_shape, tensor_shapes
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
_BLOCK_WEIGHTS = 1 << 20
"""Weights that are quantised at a time: what it takes besides is 30 MB, not 10 times a tensor."""


def default(config: CodecConfig) -> str | None:
    """Return the default scheme of a model; None stores each tensor as it is.

    Large models are too slow for real time as floats, and int8 changes few of their tokens' bits
    (docs/explanation/quantisation.md).
    """
    size = sum(int(np.prod(shape)) for shape in tensor_shapes(config).values())
    return "int8" if size >= LARGE else None


def layout(
    config: CodecConfig,
    dtypes: Mapping[str, np.dtype[Any]],
    scheme: str | None,
    part: str | None = None,
) -> dict[str, TensorSpec]:
    """Return the dtype and shape of each tensor that `store` yields.

    Parameters
    ----------
    config : CodecConfig
        The configuration.
    dtypes : mapping of str to numpy.dtype
        float32 or float16, by published name.
    scheme, part : str, optional
        As in `store`.
    """
    specs = {}
    for name, shape in part_shapes(config, part).items():
        kind = _kind(name, shape, dtypes[name], scheme)
        if kind not in ("int8", "int4"):
            specs[name] = TensorSpec(np.dtype(kind), shape)
            continue
        outputs, depth = matrix_shape(name, shape) or (0, 0)
        if kind == "int8":
            specs[name] = TensorSpec(np.dtype(np.int8), (outputs, depth))
            specs[name + SCALE] = TensorSpec(np.dtype(np.float32), (outputs,))
        else:
            specs[name] = TensorSpec(np.dtype(np.uint8), (outputs, -(-depth // 2)))
            groups = -(-depth // quantized_weights.GROUP)
            specs[name + SCALE] = TensorSpec(np.dtype(np.float16), (outputs, groups))
    return specs


def _kind(name: str, shape: Shape, dtype: np.dtype[Any], scheme: str | None) -> str:
    """Return "int8" or "int4", or the name of the float dtype that a tensor gets."""
    matrix = matrix_shape(name, shape)
    depthwise = matrix is None and len(shape) == 3
    if scheme == "f32":
        return "float32"
    if scheme is None or (matrix is None and not depthwise):
        return str(dtype)
    if depthwise or scheme == "f16" or FLOAT.search(name):
        return "float16"
    return "int8" if scheme == "int8" or EIGHT.search(name) else "int4"


def store(
    config: CodecConfig,
    tensors: Mapping[str, Array],
    scheme: str | None,
    errors: LayerErrors | None = None,
    part: str | None = None,
) -> Iterator[tuple[str, Array]]:
    """Yield a model's tensors in a scheme, one at a time.

    Parameters
    ----------
    config : CodecConfig
        The configuration.
    tensors : mapping of str to numpy.ndarray
        float32 or float16, by published name.
    scheme : str, optional
        One of `fcs_edge.modelfile.model_file.SCHEMES`; None leaves every tensor as it is.
    errors : LayerErrors, optional
        Collects how far the stored weights are from the given ones.
    part : str, optional
        The half whose tensors are yielded; absent: all.

    Yields
    ------
    str, numpy.ndarray
        The tensors for `fcs_edge.modelfile.model_file.write_tensors`.

    Raises
    ------
    CheckpointError
        A weight is too large for float16.
    """
    for name, shape in part_shapes(config, part).items():
        tensor = tensors[name]
        kind = _kind(name, shape, tensor.dtype, scheme)
        if kind in ("int8", "int4"):
            yield from _quantized(name, tensor, kind, errors)
            continue
        if tensor.dtype == kind:
            yield name, tensor
            continue
        if kind == "float16":
            _check_half(name, tensor)
        stored = tensor.astype(kind)
        if errors is not None and kind == "float16":
            errors.add(name, "f16", tensor.reshape(-1), stored.reshape(-1))
        yield name, stored


def _check_half(name: str, tensor: Array) -> None:
    if max(-tensor.min(), tensor.max()) > _LARGEST_HALF:
        raise CheckpointError(
            f"tensor {name} has weights too large for float16; convert with --weights f32"
        )


def _quantized(
    name: str, tensor: Array, kind: str, errors: LayerErrors | None
) -> Iterator[tuple[str, Array]]:
    """Yield a weight's integers and scales; some rows are worked on at a time."""
    weight = as_matrix(name, tensor)
    quantize = (
        quantized_weights.quantize_int8 if kind == "int8" else quantized_weights.quantize_int4
    )
    values, scales = [], []
    rows = max(1, _BLOCK_WEIGHTS // max(weight.shape[1], 1))
    for start in range(0, weight.shape[0], rows):
        exact = weight[start : start + rows].astype(np.float32, copy=False)
        part = quantize(exact)
        values.append(part.values)
        scales.append(part.scale)
        if errors is not None:
            errors.add(name, kind, exact, part.float32())
    yield name, np.concatenate(values)
    yield name + SCALE, np.concatenate(scales)
