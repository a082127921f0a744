"""The model's configuration: its fields and what this runtime requires of them.

`fcs_edge.modelfile.config_json` reads and writes it as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fcs_edge.errors import ConfigError

SAMPLE_RATE_IN = 16000
"""Hz. The encoder is defined for this input rate and no other."""

SPECTRA_A_TOKEN = 2
"""Spectra per token that the code search compares."""

SUPPORTED = (
    "this runtime runs models of FocalCodec: WavLM, FocalEncoder, BinarySphericalQuantizer, "
    "FocalDecoder, and WaveNeXt or Vocos"
)
STREAMING = (
    "the causal models stream: edge-65k, focalcodec_50hz_2k_causal, focalcodec_50hz_4k_causal and "
    "focalcodec_50hz_65k_causal"
)
"""What a message about a model that does not stream says of those that do."""

_WINDOW_LIMIT = 1 << 13
"""Frames of an attention window: their keys and values take memory, however small the file is."""
_LAYERS_LIMIT, _LEVELS_LIMIT = 256, 64
"""Layers of a stage, and context levels of a focal layer: each is several tensors."""
_CHUNK_LIMIT = 1 << 17
"""Samples of a chunk, input and output: the stages' work arrays grow with it."""
_N_FFT_LIMIT = 1 << 14
"""Samples of an inverse Fourier transform: the time of a prime factor grows with its square."""
_NOISE_LIMIT = 64
"""Columns of noise beside the features of a row."""
_FLIPS_LIMIT, _BEAM_LIMIT, _BANDS_LIMIT, _SEARCH_LIMIT = 64, 64, 48, 1 << 18
_HOP_LIMIT = 512
"""Samples per hop of the code search: the length of a spectrum's window."""


@dataclass(frozen=True)
class EncoderConfig:
    """WavLM (``encoder_config``)."""

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
        """Columns per head."""
        return self.dim // self.num_heads

    @property
    def frame_size(self) -> int:
        """Input samples per frame."""
        return math.prod(self.strides)

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk, in a causal encoder."""
        return 1 + self.lookahead_size

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a signal.

        A causal block of stride s maps n rows to ceil(n / s). Any other one of kernel k maps them
        to floor((n - k) / s) + 1, and fewer than k rows to 1.
        """
        for kernel, stride in zip(self.kernel_sizes, self.strides, strict=True):
            if self.causal:
                n_samples = -(-n_samples // stride)
            else:
                n_samples = max(n_samples - kernel, 0) // stride + 1
        return n_samples


@dataclass(frozen=True)
class FocalConfig:
    """Keys that the compressor and the decompressor share."""

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
        """Return the taps of each context level that is a convolution.

        In a causal layer the last one is the global level, of `window_size` taps. In any other
        layer the global level is a mean, which has no taps.
        """
        local = [self.focal_window + self.focal_factor * i for i in range(self.focal_level)]
        return (*local, window_size) if self.causal else tuple(local)


@dataclass(frozen=True)
class CompressorConfig(FocalConfig):
    """FocalEncoder (``compressor_config``)."""

    input_dim: int = 1024
    output_dim: int = 12
    hidden_dims: tuple[int, ...] = (1024,) * 3
    downscale_factors: tuple[int, ...] = (1,) * 3

    def n_tokens(self, n_frames: int) -> int:
        """Return the number of tokens of a number of frames.

        A causal layer of factor f maps T rows to ceil(T / f). Any other one adds T mod f zero rows
        and maps them to floor((T + T mod f) / f): none, where that sum is below f.
        """
        for factor in self.downscale_factors:
            if self.causal:
                n_frames = -(-n_frames // factor)
            else:
                n_frames = (n_frames + n_frames % factor) // factor
        return n_frames


@dataclass(frozen=True)
class QuantizerConfig:
    """BinarySphericalQuantizer (``quantizer_config``)."""

    codebook_size: int = 4096


@dataclass(frozen=True)
class SearchConfig:
    """The code search: codes are chosen by what a small network predicts of them.

    ``search_config`` is an extension of this project: no published model has it. Its tokens decode
    like those of any other model.
    """

    history: int = 8
    """Tokens that the network predicts from, the newest included."""
    inner: int = 256
    """Hidden values of each network."""
    bands: int = 40
    """Mel bands of a spectrum."""
    orders: int = 20
    """Cepstral coefficients that are predicted of each spectrum."""
    prior: float = 45.0
    """Weight of the latents' signs beside the predicted spectrum."""
    max_flips: int = 3
    """Largest number of bit flips per token (key ``passes``)."""
    shortlist: int = 6
    """Flips that are tried again after the first one (key ``tries``)."""
    beam_width: int = 2
    """Hypotheses that the search retains up to the end of a chunk (key ``ways``)."""


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
        """Frames that the refiner takes at once; 1 without a refiner."""
        return 1 + self.lookahead_size if self.refines else 1

    @property
    def refines(self) -> bool:
        """Whether there is a refiner; only causal models have one."""
        return self.causal and self.lookahead_size > 0

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
    noise_channels: int = 0
    """Columns of seeded noise beside the features of each row."""
    win_length: int | None = None
    """Samples that a row gives, those after its hop_length added to the next row's; None: none."""

    def __post_init__(self) -> None:
        """Give each configuration one spelling: a fingerprint depends on it."""
        if self.win_length == self.hop_length:
            object.__setattr__(self, "win_length", None)

    @property
    def is_extended(self) -> bool:
        """Whether rows have noise or overlap: an extension of this project, as the search is."""
        return self.noise_channels > 0 or self.head_dim > self.hop_length

    @property
    def row_dim(self) -> int:
        """Columns of a row that the embedding reads: features, then noise."""
        return self.input_dim + self.noise_channels

    @property
    def head_dim(self) -> int:
        """Columns of the head's projection: the samples that a frame gives."""
        return self.win_length or self.hop_length

    def n_samples(self, n_frames: int) -> int:
        """Return the number of samples of a number of frames."""
        return n_frames * self.hop_length


@dataclass(frozen=True)
class VocosConfig:
    """Vocos (``decoder_config``)."""

    input_dim: int = 1024
    num_layers: int = 8
    dim: int = 512
    ffn_dim: int = 1536
    kernel_size: int = 7
    layerscale_init: float | None = None
    n_fft: int = 1024
    hop_length: int = 320
    causal: bool = False

    @property
    def row_dim(self) -> int:
        """Columns of a row that the embedding reads."""
        return self.input_dim

    @property
    def head_dim(self) -> int:
        """Columns of the head's projection: magnitude and phase of each frequency."""
        return self.n_fft + 2

    def n_samples(self, n_frames: int) -> int:
        """Return the number of samples of a number of frames.

        It is one more than the frames' hops where n_fft - hop_length is odd and samples overlap.
        """
        extra = (self.n_fft - self.hop_length) % 2 if n_frames and not self.causal else 0
        return n_frames * self.hop_length + extra


@dataclass(frozen=True)
class CodecConfig:
    """A codec: the five stages, and the sizes that follow from them."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    compressor: CompressorConfig = field(default_factory=CompressorConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    decompressor: DecompressorConfig = field(default_factory=DecompressorConfig)
    decoder: DecoderConfig | VocosConfig = field(default_factory=DecoderConfig)
    search: SearchConfig | None = None
    """None where tokens are the signs of the latents, as in every published model."""

    @property
    def encodes_streams(self) -> bool:
        """Whether the encoder and the compressor are causal, so that samples may come in chunks."""
        return self.encoder.causal and self.compressor.causal

    @property
    def decodes_streams(self) -> bool:
        """Whether the decompressor and the decoder are causal."""
        return self.decompressor.causal and self.decoder.causal

    @property
    def is_causal(self) -> bool:
        """Whether all four parts are causal."""
        return self.encodes_streams and self.decodes_streams

    @property
    def bits_per_token(self) -> int:
        """Bits per token."""
        return self.compressor.output_dim

    @property
    def frames_per_token(self) -> int:
        """Encoder frames per token."""
        return math.prod(self.compressor.downscale_factors)

    @property
    def samples_per_token(self) -> int:
        """Input samples per token."""
        return self.encoder.frame_size * self.frames_per_token

    @property
    def chunk_size(self) -> int:
        """Input samples per chunk; per token where samples do not come in chunks."""
        return self.samples_per_token * self.chunk_tokens

    @property
    def chunk_tokens(self) -> int:
        """Tokens per chunk; 1 where samples do not come in chunks."""
        return self.encoder.chunk_frames // self.frames_per_token if self.encodes_streams else 1

    @property
    def decoded_tokens(self) -> int:
        """Tokens per step of a stream decoder: a chunk's, or fewest that whole refiner rows take.

        The latter is what a causal decompressor needs behind an encoder that does not stream.
        """
        if self.encodes_streams:
            return self.chunk_tokens
        refined = self.decompressor.chunk_frames
        return refined // math.gcd(refined, math.prod(self.decompressor.upscale_factors))

    @property
    def samples_out_per_token(self) -> int:
        """Output samples per token."""
        return self.decoder.hop_length * math.prod(self.decompressor.upscale_factors)

    @property
    def sample_rate_out(self) -> int:
        """Output sample rate in Hz."""
        return SAMPLE_RATE_IN * self.samples_out_per_token // self.samples_per_token

    def n_tokens(self, n_samples: int) -> int:
        """Return the number of tokens of a signal; 0 where it is too short for the compressor."""
        return self.compressor.n_tokens(self.encoder.n_frames(n_samples))

    def n_decoded(self, n_tokens: int) -> int:
        """Return the number of samples that a number of tokens decodes to."""
        frames = n_tokens * math.prod(self.decompressor.upscale_factors)
        return self.decoder.n_samples(frames)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(f"config: {message}")


def check(config: CodecConfig) -> None:
    """Check that the parts of a configuration fit each other and that this runtime can run them.

    Parameters
    ----------
    config : CodecConfig
        A configuration whose values have the right types.

    Raises
    ------
    ConfigError
        A part does not fit another, or a size is out of range.
    """
    enc, comp, dec = config.encoder, config.compressor, config.decompressor
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
    _require(
        config.decoder.num_layers <= _LAYERS_LIMIT
        and max(comp.focal_level, dec.focal_level) <= _LEVELS_LIMIT,
        f"decoder_config.num_layers is at most {_LAYERS_LIMIT}, focal_level {_LEVELS_LIMIT}",
    )
    if isinstance(config.decoder, VocosConfig):
        _check_vocos(config.decoder)
    else:
        _check_wavenext(config.decoder)
    _check_chunk(config)
    if config.search is not None:
        _check_search(config, config.search)


def _check_encoder(enc: EncoderConfig) -> None:
    _require(
        len(enc.hidden_dims) == len(enc.kernel_sizes) == len(enc.strides),
        "encoder_config: hidden_dims, kernel_sizes and strides must have the same length",
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
        not enc.causal or enc.window_size >= enc.chunk_frames,
        f"encoder_config.window_size must hold a chunk ({enc.chunk_frames} frames)",
    )
    _require(
        enc.num_layers <= _LAYERS_LIMIT
        and (not enc.causal or (enc.window_size <= _WINDOW_LIMIT and enc.lookahead_size <= 255)),
        f"encoder_config: window_size is at most {_WINDOW_LIMIT}, num_layers {_LAYERS_LIMIT} and "
        "lookahead_size 255",
    )
    _require(
        enc.max_cached_steps == 0 or enc.max_cached_steps >= enc.window_size,
        f"encoder_config.max_cached_steps must be 0 or at least window_size ({enc.window_size})",
    )


def _check_vocos(dec: VocosConfig) -> None:
    least = dec.hop_length if dec.causal else dec.hop_length + 2
    _require(
        dec.n_fft % 2 == 0 and least <= dec.n_fft <= _N_FFT_LIMIT,
        f"decoder_config.n_fft must be even, and {least} to {_N_FFT_LIMIT} with hop_length "
        f"{dec.hop_length}, not {dec.n_fft}",
    )


def _check_wavenext(dec: DecoderConfig) -> None:
    hop = dec.hop_length
    _require(
        0 <= dec.noise_channels <= _NOISE_LIMIT,
        f"decoder_config.noise_channels must be 0 to {_NOISE_LIMIT}, not {dec.noise_channels}",
    )
    _require(
        hop <= dec.head_dim <= 2 * hop,
        f"decoder_config.win_length must be {hop} to {2 * hop} with hop_length {hop}, not "
        f"{dec.head_dim}",
    )
    _require(
        dec.causal or not dec.is_extended,
        "decoder_config: noise_channels and win_length need a causal decoder",
    )


def _check_chunk(config: CodecConfig) -> None:
    encoder = config.encoder
    frames, per_token = encoder.chunk_frames if encoder.causal else 1, config.frames_per_token
    _require(
        config.samples_per_token < 1 << 16
        and frames * encoder.frame_size <= _CHUNK_LIMIT
        and max(frames, config.decoded_tokens) * config.samples_out_per_token <= _CHUNK_LIMIT,
        "strides, factors, lookahead_size or hop_length make chunks that are too large",
    )
    _require(
        not config.encodes_streams or frames % per_token == 0,
        f"a chunk of {frames} frames is not a multiple of the {per_token} frames of a token",
    )
    rows = config.decoded_tokens * math.prod(config.decompressor.upscale_factors)
    refined = config.decompressor.chunk_frames
    _require(
        rows % refined == 0,
        f"decompressor_config.lookahead_size: a chunk decodes to {rows} frames, which is not a "
        f"multiple of the refiner's {refined}",
    )
    total = SAMPLE_RATE_IN * config.samples_out_per_token
    _require(
        total % config.samples_per_token == 0,
        "the output sample rate is not an integer number of Hz",
    )


def _check_search(config: CodecConfig, search: SearchConfig) -> None:
    _require(
        config.encodes_streams,
        "search_config: the code search needs a causal encoder and a causal compressor",
    )
    _require(
        search.prior >= 0 and search.max_flips <= _FLIPS_LIMIT and search.orders <= search.bands,
        f"search_config: prior is at least 0, passes at most {_FLIPS_LIMIT}, and orders at most "
        "bands",
    )
    reach = max(search.history, config.chunk_tokens)
    _require(
        search.beam_width <= _BEAM_LIMIT
        and search.beam_width * reach * config.bits_per_token <= _SEARCH_LIMIT,
        f"search_config: ways is at most {_BEAM_LIMIT}; ways, times the bits of a token, times the "
        f"larger of history and the tokens of a chunk, is at most {_SEARCH_LIMIT}",
    )
    _require(
        search.bands <= _BANDS_LIMIT
        and search.history * config.bits_per_token * search.inner <= _SEARCH_LIMIT,
        f"search_config: bands is at most {_BANDS_LIMIT}; history, times inner, times the bits of "
        f"a token, is at most {_SEARCH_LIMIT}",
    )
    n_samples = config.samples_per_token
    _require(
        n_samples % SPECTRA_A_TOKEN == 0 and n_samples <= SPECTRA_A_TOKEN * _HOP_LIMIT,
        f"search_config: a token's {n_samples} samples must divide into {SPECTRA_A_TOKEN} hops of "
        f"at most {_HOP_LIMIT} samples",
    )


def _fits(key: str, value: int, other_key: str, other: int) -> None:
    _require(value == other, f"{key} is {value}, but {other_key} is {other}")


def _same_length(part: str, key: str, values: tuple[int, ...], dims: tuple[int, ...]) -> None:
    _require(len(values) == len(dims), f"{part}: {key} and hidden_dims must have the same length")
