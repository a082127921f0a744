"""The names and shapes of the tensors that a configuration requires."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.modelfile.config import SPECTRA_A_TOKEN, CodecConfig, FocalConfig

Shape = tuple[int, ...]

_NOT_PRODUCTS = re.compile(
    r"relative_embedding|gru_rel_pos|modulation\.layers|dwconv|activation\.alpha"
)
"""Tables, the gate of eight rows, depthwise convolutions, and per-channel parameters."""
_TRANSPOSED = re.compile(r"upscale\.upscale\.weight$")


def tensor_shapes(config: CodecConfig) -> dict[str, Shape]:
    """Return the shape of every tensor by its published name.

    Parameters
    ----------
    config : CodecConfig
        A checked configuration.

    Returns
    -------
    dict of str to tuple of int
        In the order of the stages.
    """
    return dict(
        [
            *_encoder(config),
            *_compressor(config),
            *_search(config),
            *_decompressor(config),
            *_decoder(config),
        ]
    )


def matrix_shape(name: str, shape: Shape) -> tuple[int, int] | None:
    """Return (outputs, depth) if a tensor is a weight of matrix products, else None.

    Parameters
    ----------
    name : str
        Published name.
    shape : tuple of int
        Published shape: (outputs, inputs), (outputs, inputs / groups, kernel), or, for a
        transposed convolution, (inputs, outputs, kernel).
    """
    if len(shape) < 2 or _NOT_PRODUCTS.search(name):
        return None
    if _TRANSPOSED.search(name):
        return shape[1] * shape[2], shape[0]
    return shape[0], math.prod(shape[1:])


def as_matrix(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """Return a weight of matrix products as a contiguous (outputs, depth) matrix.

    The depth of a convolution is kernel x channels, as in a window of rows. The outputs of a
    transposed convolution are kernel x channels.
    """
    if tensor.ndim == 3:
        order = (2, 1, 0) if _TRANSPOSED.search(name) else (0, 2, 1)
        tensor = tensor.transpose(order)
        split = 2 if _TRANSPOSED.search(name) else 1
        tensor = tensor.reshape(math.prod(tensor.shape[:split]), -1)
    return np.ascontiguousarray(tensor)


def from_matrix(name: str, matrix: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Return a weight of matrix products in its published shape: the inverse of `as_matrix`."""
    if len(shape) < 3:
        return np.ascontiguousarray(matrix).reshape(shape)
    if _TRANSPOSED.search(name):
        order, split = (2, 1, 0), (shape[2], shape[1], shape[0])
    else:
        order, split = (0, 2, 1), (shape[0], shape[2], shape[1])
    return np.ascontiguousarray(matrix.reshape(split).transpose(order))


def _affine(name: str, *shape: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _feed_forward(name: str, dim: int, inner: int) -> Iterator[tuple[str, Shape]]:
    yield from _affine(f"{name}.in_proj", inner, dim)
    yield from _affine(f"{name}.out_proj", dim, inner)


def _encoder(config: CodecConfig) -> Iterator[tuple[str, Shape]]:
    enc = config.encoder
    width = 1
    for i, (dim, kernel) in enumerate(zip(enc.hidden_dims, enc.kernel_sizes, strict=True)):
        name = f"encoder.feature_extractor.layers.{i}"
        yield f"{name}.conv.weight", (dim, width, kernel)
        yield from _affine(f"{name}.norm", dim)
        width = dim
    yield from _affine("encoder.norm", width)
    yield from _affine("encoder.feature_proj", enc.dim, width)
    conv = "encoder.encoder.positional_embedding.conv"
    yield from _affine(conv, enc.dim, enc.dim // enc.conv_pos_groups, enc.conv_pos)
    yield "encoder.encoder.relative_embedding.weight", (enc.num_buckets, enc.num_heads)
    for i in range(enc.num_layers):
        name = f"encoder.encoder.layers.{i}"
        yield from _affine(f"{name}.attention_norm", enc.dim)
        yield f"{name}.attention.gru_rel_pos_const", (1, enc.num_heads, 1, 1)
        yield from _affine(f"{name}.attention.qkv_proj", 3 * enc.dim, enc.dim)
        yield from _affine(f"{name}.attention.out_proj", enc.dim, enc.dim)
        yield from _affine(f"{name}.attention.gru_rel_pos_linear", 8, enc.head_dim)
        yield from _affine(f"{name}.feed_forward_norm", enc.dim)
        yield from _feed_forward(f"{name}.feed_forward", enc.dim, enc.ffn_dim)


def _norm(name: str, config: FocalConfig, dim: int) -> Iterator[tuple[str, Shape]]:
    """Dynamic tanh of one scalar in a causal layer, LayerNorm in any other."""
    if config.causal:
        yield f"{name}.alpha", (1,)
    else:
        yield from _affine(name, dim)


def _focal_block(
    name: str, config: FocalConfig, dim: int, window_size: int
) -> Iterator[tuple[str, Shape]]:
    if config.use_layerscale:
        yield f"{name}.modulation_gamma", (dim,)
        yield f"{name}.feed_forward_gamma", (dim,)
    yield from _norm(f"{name}.modulation_norm", config, dim)
    yield from _affine(f"{name}.modulation.in_proj", 2 * dim + config.focal_level + 1, dim)
    for level, kernel in enumerate(config.kernel_sizes(window_size)):
        yield from _affine(f"{name}.modulation.layers.{level}.0", dim, 1, kernel)
    yield from _affine(f"{name}.modulation.context_proj", dim, dim, 1)
    if config.use_post_norm:
        yield from _norm(f"{name}.modulation.norm", config, dim)
    yield from _affine(f"{name}.modulation.out_proj", dim, dim)
    yield from _norm(f"{name}.feed_forward_norm", config, dim)
    yield from _feed_forward(f"{name}.feed_forward", dim, 4 * dim)


def _compressor(config: CodecConfig) -> Iterator[tuple[str, Shape]]:
    comp = config.compressor
    width = comp.input_dim
    for i, (dim, factor) in enumerate(zip(comp.hidden_dims, comp.downscale_factors, strict=True)):
        name = f"compressor.layers.{i}"
        yield from _affine(f"{name}.downscale.downscale", dim, width, factor)
        yield f"{name}.downscale.activation.alpha", (dim, 1)
        yield from _focal_block(f"{name}.focal_block", comp, dim, comp.window_size)
        width = dim
    yield from _affine("compressor.out_proj", comp.output_dim, width)


def _search(config: CodecConfig) -> Iterator[tuple[str, Shape]]:
    search = config.search
    if search is None:
        return
    target_inputs = config.compressor.hidden_dims[-1] + SPECTRA_A_TOKEN * search.bands
    wide = SPECTRA_A_TOKEN * search.orders
    yield from _affine("search.wanted_in", search.inner, target_inputs)
    yield from _affine("search.wanted_out", wide, search.inner)
    yield from _affine("search.told_in", search.inner, search.history * config.bits_per_token)
    yield from _affine("search.told_out", wide, search.inner)


def _decompressor(config: CodecConfig) -> Iterator[tuple[str, Shape]]:
    dec = config.decompressor
    yield from _affine("decompressor.in_proj", dec.hidden_dims[0], dec.input_dim)
    widths = (*dec.hidden_dims[1:], dec.output_dim)
    for i, dim in enumerate(dec.hidden_dims):
        name = f"decompressor.layers.{i}"
        yield from _focal_block(f"{name}.focal_block", dec, dim, dec.window_sizes[i])
        yield f"{name}.upscale.activation.alpha", (dim, 1)
        yield f"{name}.upscale.upscale.weight", (dim, widths[i], dec.upscale_factors[i])
        yield f"{name}.upscale.upscale.bias", (widths[i],)
    if dec.refines:
        width = dec.chunk_frames * dec.output_dim
        yield from _feed_forward("decompressor.refiner", width, width)


def _decoder(config: CodecConfig) -> Iterator[tuple[str, Shape]]:
    dec = config.decoder
    yield from _affine("decoder.backbone.embedding", dec.dim, dec.row_dim, dec.kernel_size)
    yield from _affine("decoder.backbone.input_norm", dec.dim)
    for i in range(dec.num_layers):
        name = f"decoder.backbone.layers.{i}"
        yield f"{name}.gamma", (dec.dim,)
        yield from _affine(f"{name}.dwconv", dec.dim, 1, dec.kernel_size)
        yield from _affine(f"{name}.norm", dec.dim)
        yield from _affine(f"{name}.pwconv1", dec.ffn_dim, dec.dim)
        yield from _affine(f"{name}.pwconv2", dec.dim, dec.ffn_dim)
    yield from _affine("decoder.backbone.output_norm", dec.dim)
    yield from _affine("decoder.head.proj", dec.head_dim, dec.dim)
