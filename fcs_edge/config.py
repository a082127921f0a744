"""The model's configuration, as a published ``config.json`` spells it, checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fcs_edge.errors import ConfigError

SAMPLE_RATE_IN = 16000
"""Hz. The encoder is defined for this input rate and no other."""

SUPPORTED = (
    "this runtime runs causal (streaming) models, such as focalcodec_50hz_2k_causal, "
    "focalcodec_50hz_4k_causal and focalcodec_50hz_65k_causal"
)

_SIZE_LIMIT = 1 << 16
_WINDOW_LIMIT = 1 << 13
"""Keys and values of so many frames are memory that no tensor of the file stands for."""
_CHUNK_LIMIT = 1 << 17
"""Samples a chunk, in and out: what a stage works in grows with it."""
_INTEGERS = "list of integers"
_ZERO_ALLOWED = {"lookahead_size", "max_cached_steps", "focal_level", "focal_factor"}


@dataclass(frozen=True)
class EncoderConfig:
    """Causal WavLM (``encoder_config``)."""

    hidden_dims: tuple[int, ...] = (512,) * 7
    kernel_sizes: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    num_layers: int = 6
    dim: int = 1024
    ffn_dim: int = 4096
    num_heads: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    max_cached_steps: int = 2048
    dropout: float = 0.0
    conv_pos: int = 128
    conv_pos_groups: int = 16
    causal: bool = False
    window_size: int = 512
    lookahead_size: int = 3
    use_flex_attention: bool = False

    @property
    def head_dim(self) -> int:
        """Columns of a head."""
        return self.dim // self.num_heads

    @property
    def frame_size(self) -> int:
        """Input samples a frame."""
        return math.prod(self.strides)

    @property
    def chunk_frames(self) -> int:
        """Frames a chunk."""
        return 1 + self.lookahead_size


@dataclass(frozen=True)
class FocalConfig:
    """The keys that compressor and decompressor share."""

    focal_window: int = 14
    focal_level: int = 2
    focal_factor: int = 4
    dropout: float = 0.0
    use_post_norm: bool = False
    use_layerscale: bool = False
    layerscale_init: float = 1e-4
    tanhscale_init: float = 0.5
    normalize_modulator: bool = False
    causal: bool = False
    window_size: int = 512

    def kernel_sizes(self, window_size: int) -> tuple[int, ...]:
        """Return the taps of each context level; the last level is the global one."""
        local = [self.focal_window + self.focal_factor * i for i in range(self.focal_level)]
        return (*local, window_size)


@dataclass(frozen=True)
class CompressorConfig(FocalConfig):
    """FocalEncoder (``compressor_config``)."""

    input_dim: int = 1024
    output_dim: int = 12
    hidden_dims: tuple[int, ...] = (1024,) * 3
    downscale_factors: tuple[int, ...] = (1,) * 3


@dataclass(frozen=True)
class QuantizerConfig:
    """BinarySphericalQuantizer (``quantizer_config``)."""

    codebook_size: int = 4096


@dataclass(frozen=True)
class SearchConfig:
    """The choice of codes by what a small network tells of them (``search_config``).

    It is of this project: no published model has it, and tokens that it gives are decoded like any.
    """

    history: int = 8
    """Tokens that are told from, the newest among them."""
    inner: int = 128
    """Values inside the network."""
    wide: int = 40
    """Values that it tells."""
    prior: float = 12.5
    """How much the latents' signs count beside what is told."""
    passes: int = 4
    """Most flips a token."""


@dataclass(frozen=True)
class DecompressorConfig(FocalConfig):
    """FocalDecoder (``decompressor_config``)."""

    input_dim: int = 12
    output_dim: int = 1024
    hidden_dims: tuple[int, ...] = (1024,) * 3
    upscale_factors: tuple[int, ...] = (1,) * 3
    last_window_size: int = 512
    lookahead_size: int = 3

    @property
    def chunk_frames(self) -> int:
        """Frames the refiner takes at once."""
        return 1 + self.lookahead_size

    @property
    def window_sizes(self) -> tuple[int, ...]:
        """Taps of the global context level of each layer."""
        return (self.window_size,) * (len(self.hidden_dims) - 1) + (self.last_window_size,)


@dataclass(frozen=True)
class DecoderConfig:
    """WaveNeXt (``decoder_config``)."""

    input_dim: int = 1024
    num_layers: int = 8
    dim: int = 1024
    ffn_dim: int = 2048
    kernel_size: int = 7
    layerscale_init: float | None = None
    hop_length: int = 480
    causal: bool = False


@dataclass(frozen=True)
class CodecConfig:
    """A whole codec: the five parts and what follows from them."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    compressor: CompressorConfig = field(default_factory=CompressorConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    decompressor: DecompressorConfig = field(default_factory=DecompressorConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    search: SearchConfig | None = None
    """None: tokens are the signs of latents, as in every published model."""

    @property
    def bits_per_token(self) -> int:
        """Bits of a token."""
        return self.compressor.output_dim

    @property
    def frames_per_token(self) -> int:
        """Encoder frames that one token stands for."""
        return math.prod(self.compressor.downscale_factors)

    @property
    def samples_per_token(self) -> int:
        """Input samples that one token stands for."""
        return self.encoder.frame_size * self.frames_per_token

    @property
    def chunk_size(self) -> int:
        """Input samples a chunk."""
        return self.encoder.frame_size * self.encoder.chunk_frames

    @property
    def chunk_tokens(self) -> int:
        """Tokens a chunk."""
        return self.encoder.chunk_frames // self.frames_per_token

    @property
    def samples_out_per_token(self) -> int:
        """Output samples that one token stands for."""
        return self.decoder.hop_length * math.prod(self.decompressor.upscale_factors)

    @property
    def sample_rate_out(self) -> int:
        """Output sample rate in Hz."""
        return SAMPLE_RATE_IN * self.samples_out_per_token // self.samples_per_token

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration in the published spelling, every key written out."""
        out: dict[str, Any] = {}
        for part, name in _NAMES.items():
            values = dataclasses.asdict(getattr(self, part))
            out[f"{part}_name"] = name
            out[f"{part}_config"] = {
                k: list(v) if isinstance(v, tuple) else v for k, v in values.items()
            }
        if self.search is not None:
            out["search_config"] = dataclasses.asdict(self.search)
        return out

    @classmethod
    def from_dict(cls, raw: object) -> CodecConfig:
        """Check a parsed ``config.json`` and build the configuration from it.

        Parameters
        ----------
        raw : object
            The parsed JSON.

        Raises
        ------
        ConfigError
            An unknown key, a wrong type, a value out of range, parts that do not fit
            each other, or a model that is not causal.
        """
        if not isinstance(raw, dict):
            raise ConfigError("config: a JSON object is expected")
        known = {f"{part}_{what}" for part in _NAMES for what in ("name", "config")}
        known.add("search_config")
        for key in raw:
            if key not in known:
                raise ConfigError(f"config: unknown key {key!r}")
        for part, name in _NAMES.items():
            given = raw.get(f"{part}_name", name)
            if given != name:
                raise ConfigError(f"config: {part}_name {given!r} is not supported; {SUPPORTED}")
        config = cls(
            _part("encoder", EncoderConfig, raw),
            _part("compressor", CompressorConfig, raw),
            _part("quantizer", QuantizerConfig, raw),
            _part("decompressor", DecompressorConfig, raw),
            _part("decoder", DecoderConfig, raw),
            _part("search", SearchConfig, raw) if raw.get("search_config") is not None else None,
        )
        _check(config)
        return config


_NAMES = {
    "encoder": "WavLM",
    "compressor": "FocalEncoder",
    "quantizer": "BinarySphericalQuantizer",
    "decompressor": "FocalDecoder",
    "decoder": "WaveNeXt",
}

_Part = TypeVar(
    "_Part",
    EncoderConfig,
    CompressorConfig,
    QuantizerConfig,
    SearchConfig,
    DecompressorConfig,
    DecoderConfig,
)


def _part(part: str, kind: type[_Part], raw: dict[str, Any]) -> _Part:
    given = raw.get(f"{part}_config")
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise ConfigError(f"config: {part}_config must be an object")
    types = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        where = f"{part}_config.{key}"
        if key not in types:
            raise ConfigError(f"config: unknown key {where}")
        values[key] = _value(where, key, types[key], value)
    return kind(**values)


def _value(where: str, key: str, kind: str, value: object) -> object:
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise ConfigError(f"config: {where} must be true or false, not {value!r}")
    if kind == "int":
        return _integer(where, value, 0 if key in _ZERO_ALLOWED else 1)
    if kind == "tuple[int, ...]":
        if isinstance(value, list) and 1 <= len(value) <= 64:
            return tuple(_integer(where, v, 1) for v in value)
        raise ConfigError(f"config: {where} must be a {_INTEGERS}, not {value!r}")
    if value is None and "None" in kind:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ConfigError(f"config: {where} must be a number, not {value!r}")


def _integer(where: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config: {where} must be an integer, not {value!r}")
    if not least <= value <= _SIZE_LIMIT:
        raise ConfigError(f"config: {where} must be {least} to {_SIZE_LIMIT}, not {value}")
    return value


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(f"config: {message}")


def _check(config: CodecConfig) -> None:
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


def _fits(key: str, value: int, other_key: str, other: int) -> None:
    _require(value == other, f"{key} is {value}, but {other_key} is {other}")


def _same_length(part: str, key: str, values: tuple[int, ...], dims: tuple[int, ...]) -> None:
    _require(len(values) == len(dims), f"{part}: {key} and hidden_dims must be of one length")
