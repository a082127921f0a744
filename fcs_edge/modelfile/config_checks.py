"""What a configuration has to be so that this runtime can run it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fcs_edge.errors import ConfigError

if TYPE_CHECKING:
    from fcs_edge.modelfile.config import CodecConfig, EncoderConfig, SearchConfig

SAMPLE_RATE_IN = 16000
"""Hz. The encoder is defined for this input rate and no other."""

SPECTRA_A_TOKEN = 2
"""That codes are searched by, where they are."""

SUPPORTED = (
    "this runtime runs causal (streaming) models, such as focalcodec_50hz_2k_causal, "
    "focalcodec_50hz_4k_causal and focalcodec_50hz_65k_causal"
)

_WINDOW_LIMIT = 1 << 13
"""Keys and values of so many frames are memory that no tensor of the file stands for."""
_CHUNK_LIMIT = 1 << 17
"""Samples a chunk, in and out: what a stage works in grows with it."""
_PASSES_LIMIT, _WAYS_LIMIT, _BANDS_LIMIT, _SIZE_LIMIT = 64, 64, 48, 1 << 18
_HOP_LIMIT = 512
"""Samples: as long as the window of a spectrum."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(f"config: {message}")


def check(config: CodecConfig) -> None:
    """Check that the parts of a configuration fit each other, and that they can be run.

    Raises
    ------
    ConfigError
        They do not.
    """
    enc, comp, dec = config.encoder, config.compressor, config.decompressor
    for part in ("encoder", "compressor", "decompressor", "decoder"):
        _require(
            getattr(config, part).causal,
            f"{part}_config.causal is false: non-causal models are not supported; {SUPPORTED}",
        )
    _check_encoder(enc)
    bits = comp.output_dim
    _require(1 <= bits <= 16, f"compressor_config.output_dim must be 1 to 16 bits, not {bits}")
    size = config.quantizer.codebook_size
    _require(size == 1 << bits, f"quantizer_config.codebook_size must be {1 << bits}, not {size}")
    _fits("compressor_config.input_dim", comp.input_dim, "encoder_config.dim", enc.dim)
    _fits("decompressor_config.input_dim", dec.input_dim, "compressor_config.output_dim", bits)
    _fits(
        "decoder_config.input_dim",
        config.decoder.input_dim,
        "decompressor_config.output_dim",
        dec.output_dim,
    )
    _same_length("compressor_config", "downscale_factors", comp.downscale_factors, comp.hidden_dims)
    _same_length("decompressor_config", "upscale_factors", dec.upscale_factors, dec.hidden_dims)
    _check_chunk(config)
    if config.search is not None:
        _check_search(config, config.search)


def _check_encoder(enc: EncoderConfig) -> None:
    _require(
        len(enc.hidden_dims) == len(enc.kernel_sizes) == len(enc.strides),
        "encoder_config: hidden_dims, kernel_sizes and strides must be of one length",
    )
    for key, divisor in (
        ("num_heads", enc.num_heads),
        ("conv_pos_groups", enc.conv_pos_groups),
    ):
        _require(enc.dim % divisor == 0, f"encoder_config.{key} must divide dim ({enc.dim})")
    half = enc.num_buckets // 4
    _require(
        half >= 1 and enc.max_distance > half,
        "encoder_config: num_buckets must be at least 4 and max_distance more than a quarter of it",
    )
    _require(
        enc.window_size >= enc.chunk_frames,
        f"encoder_config.window_size must hold a chunk ({enc.chunk_frames} frames)",
    )
    _require(
        enc.window_size <= _WINDOW_LIMIT and enc.num_layers <= 256 and enc.lookahead_size <= 255,
        f"encoder_config: window_size is at most {_WINDOW_LIMIT}, num_layers 256 and "
        "lookahead_size 255",
    )


def _check_chunk(config: CodecConfig) -> None:
    frames, per_token = config.encoder.chunk_frames, config.frames_per_token
    _require(
        config.samples_per_token < 1 << 16
        and config.chunk_size <= _CHUNK_LIMIT
        and config.encoder.chunk_frames * config.samples_out_per_token <= _CHUNK_LIMIT,
        "strides, factors, lookahead_size or hop_length make chunks that are too large",
    )
    _require(
        frames % per_token == 0,
        f"a chunk of {frames} frames is no whole number of tokens of {per_token} frames",
    )
    rows = config.chunk_tokens * math.prod(config.decompressor.upscale_factors)
    refined = config.decompressor.chunk_frames
    _require(
        rows % refined == 0,
        f"decompressor_config.lookahead_size: a chunk decodes to {rows} frames, which the "
        f"refiner's {refined} do not divide",
    )
    total = SAMPLE_RATE_IN * config.samples_out_per_token
    _require(
        total % config.samples_per_token == 0, "the output sample rate is no whole number of Hz"
    )


def _check_search(config: CodecConfig, search: SearchConfig) -> None:
    _require(
        search.prior >= 0 and search.passes <= _PASSES_LIMIT and search.orders <= search.bands,
        f"search_config: prior is at least 0, passes are at most {_PASSES_LIMIT} and orders at "
        "most bands",
    )
    reach = max(search.history, config.chunk_tokens)
    _require(
        search.ways <= _WAYS_LIMIT and search.ways * reach * config.bits_per_token <= _SIZE_LIMIT,
        f"search_config: ways are at most {_WAYS_LIMIT}, and they, the bits of a token and the "
        f"larger of history and a chunk's tokens make at most {_SIZE_LIMIT} bits",
    )
    _require(
        search.bands <= _BANDS_LIMIT
        and search.history * config.bits_per_token * search.inner <= _SIZE_LIMIT,
        f"search_config: bands are at most {_BANDS_LIMIT}, and history, inner and the bits of a "
        f"token make at most {_SIZE_LIMIT} weights",
    )
    n_samples = config.samples_per_token
    _require(
        n_samples % SPECTRA_A_TOKEN == 0 and n_samples <= SPECTRA_A_TOKEN * _HOP_LIMIT,
        f"search_config: tokens of {n_samples} samples are no {SPECTRA_A_TOKEN} hops of at most "
        f"{_HOP_LIMIT}",
    )


def _fits(key: str, value: int, other_key: str, other: int) -> None:
    _require(value == other, f"{key} is {value}, but {other_key} is {other}")


def _same_length(part: str, key: str, values: tuple[int, ...], dims: tuple[int, ...]) -> None:
    _require(len(values) == len(dims), f"{part}: {key} and hidden_dims must be of one length")
