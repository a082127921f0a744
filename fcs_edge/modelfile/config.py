"""The model's configuration, as a published ``config.json`` spells it, checked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fcs_edge.errors import ConfigError
from fcs_edge.modelfile.config_checks import SAMPLE_RATE_IN as SAMPLE_RATE_IN
from fcs_edge.modelfile.config_checks import SPECTRA_A_TOKEN as SPECTRA_A_TOKEN
from fcs_edge.modelfile.config_checks import SUPPORTED, check

_SIZE_LIMIT = 1 << 16
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
    inner: int = 256
    """Values inside each network."""
    bands: int = 40
    """Of a spectrum."""
    orders: int = 20
    """Cepstra that are told of each spectrum."""
    prior: float = 45.0
    """How much the latents' signs count beside what is told."""
    passes: int = 3
    """Most flips a token."""
    tries: int = 6
    """Most flips that are tried for each of them but the first."""
    ways: int = 2
    """Choices that are kept open to the end of a chunk."""


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
        check(config)
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
