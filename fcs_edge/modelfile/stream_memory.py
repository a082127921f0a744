"""The memory that a configuration takes beside its weights, bounded by the number of weights.

A configuration of a few bytes can ask for windows, histories and chunks of gigabytes. The bound
makes memory follow the size of the file.
"""

from __future__ import annotations

import math

from fcs_edge.errors import ConfigError
from fcs_edge.modelfile.config import (
    CodecConfig,
    DecompressorConfig,
    EncoderConfig,
    FocalConfig,
    VocosConfig,
)
from fcs_edge.modelfile.parts import part_shapes
from fcs_edge.modelfile.tensor_layout import Shape, matrix_shape

CHUNKS = 8
"""Chunks per step that the estimate is for: those of a whole file."""

BLOCK_ROWS = 64
"""Rows per step of a stage that is not causal: frames, or tokens in a decompressor."""

FREE_BYTES = 64 << 20
"""Bytes that every model may take."""
BYTES_PER_WEIGHT = 8
"""Bytes that it may take for each weight besides: a packed float32 weight takes 4."""

_FLOAT = 4
_LANES = 32
"""Columns that kernels fill rows of weights and histories up to, at most."""
_OBJECT_BYTES = 4096
"""Python objects of a layer, roughly."""


def check_memory(config: CodecConfig, part: str | None = None) -> None:
    """Check that a model of this configuration takes no more memory than its weights warrant.

    Of a half model, named by `part`, only that half counts.

    Raises
    ------
    ConfigError
        It takes more than `FREE_BYTES` and `BYTES_PER_WEIGHT` for each weight.
    """
    shapes = part_shapes(config, part)
    limit = FREE_BYTES + BYTES_PER_WEIGHT * sum(math.prod(shape) for shape in shapes.values())
    needed = memory_bytes(config, shapes, part)
    if needed > limit:
        raise ConfigError(
            f"config: windows, kernels and chunks would take {needed / 1e6:,.0f} MB; a model of "
            f"this size may take {limit / 1e6:,.0f} MB"
        )


def memory_bytes(config: CodecConfig, shapes: dict[str, Shape], part: str | None = None) -> int:
    """Return the bytes of a stream's state and workspace and of the packed weights, roughly.

    Parameters
    ----------
    config : CodecConfig
        A checked configuration.
    shapes : dict of str to tuple of int
        Its tensors.
    part : str, optional
        The half that there is; absent: the whole model.
    """
    enc, floats = config.encoder, 0
    frames = CHUNKS * enc.chunk_frames if enc.causal else BLOCK_ROWS
    tokens = CHUNKS * config.decoded_tokens if config.decodes_streams else BLOCK_ROWS
    if part != "decoder":
        floats += _encoder(enc, frames)
        floats += _compressor(config, frames if config.encodes_streams else BLOCK_ROWS)
    if part != "encoder":
        floats += _decompressor(config.decompressor, tokens) + _decoder(config, tokens)
    if config.search is not None and part != "decoder":
        width = config.compressor.hidden_dims[-1] + config.search.inner
        reach = max(config.search.history, config.chunk_tokens)
        floats += tokens * (width + 512) + 2 * config.search.beam_width * reach * 16
        floats += tokens * config.samples_per_token
    products = [(n, m) for n, s in shapes.items() if (m := matrix_shape(n, s)) is not None]
    for name, (outputs, depth) in products:
        groups = enc.conv_pos_groups if "positional_embedding" in name else 1
        floats += groups * _filled(outputs // groups) * depth
    objects = len(shapes) + enc.conv_pos_groups
    return floats * _FLOAT + objects * _OBJECT_BYTES


def _filled(columns: int) -> int:
    return -(-columns // _LANES) * _LANES


def _encoder(enc: EncoderConfig, frames: int) -> int:
    rows = frames * enc.frame_size
    floats = rows
    width = 1
    for dim, kernel, stride in zip(enc.hidden_dims, enc.kernel_sizes, enc.strides, strict=True):
        floats += (kernel - 1 + rows) * width
        rows //= stride
        floats += 2 * rows * dim
        width = dim
    floats += (enc.conv_pos - 1 + rows) * enc.dim + rows * (2 * enc.dim + enc.ffn_dim)
    if not enc.causal:
        return floats + rows * (4 * enc.dim + enc.num_heads) + enc.num_heads * 2 * enc.max_distance
    columns = enc.num_heads * _next_power(enc.head_dim)
    rings = 2 * (enc.window_size + _LANES) * columns
    layer = rings + rows * (4 * enc.dim + enc.num_heads) + 4 * (enc.window_size + _LANES)
    bias = enc.num_heads * (enc.window_size + enc.chunk_frames)
    return floats + enc.num_layers * layer + 3 * bias


def _next_power(n: int) -> int:
    """Return what a head's columns are filled up to: a power of two, or whole vectors."""
    return min(1 << (n - 1).bit_length(), _filled(n))


def _compressor(config: CodecConfig, rows: int) -> int:
    comp, floats, width = config.compressor, 0, config.compressor.input_dim
    for dim, factor in zip(comp.hidden_dims, comp.downscale_factors, strict=True):
        floats += (factor - 1 + rows) * width
        rows = -(-rows // factor)
        floats += 2 * rows * dim + _focal(comp, dim, comp.window_size, rows)
        width = dim
    return floats


def _focal(config: FocalConfig, dim: int, window: int, rows: int) -> int:
    # Of a tap there are a packed weight and a row of the past.
    taps = sum(2 * taps + rows for taps in config.kernel_sizes(window))
    return _filled(dim) * taps + rows * (10 * dim + config.focal_level + 1)


def _decompressor(dec: DecompressorConfig, rows: int) -> int:
    floats = 0
    for dim, factor, window in zip(
        dec.hidden_dims, dec.upscale_factors, dec.window_sizes, strict=True
    ):
        floats += 2 * rows * dim + _focal(dec, dim, window, rows)
        rows *= factor
    return floats + 3 * (rows + dec.chunk_frames) * dec.output_dim


def _decoder(config: CodecConfig, tokens: int) -> int:
    dec = config.decoder
    rows = tokens * config.samples_out_per_token // dec.hop_length
    ring = _filled(dec.dim) * (2 * dec.kernel_size + rows)
    work = rows * (3 * dec.dim + dec.ffn_dim + 2 * dec.hop_length)
    if isinstance(dec, VocosConfig):
        # Rows of spectra and their samples, and the tables of the transform.
        work += 2 * rows * (dec.n_fft + 2) + 8 * dec.n_fft
    else:
        # What rows give beyond their hop, and that of the last one.
        work += (rows + 1) * (dec.head_dim - dec.hop_length)
    return (dec.kernel_size - 1 + rows) * dec.row_dim + dec.num_layers * ring + work
