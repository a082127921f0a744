"""What a step of a stream does: calls of kernels and nothing else, so that it can be traced.

An encoder's step goes from the caller's samples to the caller's tokens, a decoder's the other way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fcs_edge.kernels.ops import samples as sample_kernels
from fcs_edge.kernels.runtime.program import Parameter
from fcs_edge.model import quantizer
from fcs_edge.model.code_search import Search, SearchState
from fcs_edge.model.compressor import Compressor
from fcs_edge.model.decoder import Decoder
from fcs_edge.model.decompressor import Decompressor
from fcs_edge.model.encoder import Encoder
from fcs_edge.model.layers import F32, U16, Array, State, histories, new
from fcs_edge.model.voice_rows import VoiceStage
from fcs_edge.modelfile.config import CodecConfig

SAMPLE_LIMIT = np.float32(65536)
"""Samples are clipped to this magnitude. Speech is within 1; unscaled int16 is within 2**15."""


def strided(divisors: Iterable[int]) -> list[Parameter]:
    """Return the rows that are left after each of these strides."""
    rows = (divisor for divisor in divisors if divisor > 1)
    return [Parameter(i, 1, divisor) for i, divisor in enumerate(rows)]


class EncoderStepState:
    """What changes in a stream of an encoder, and its workspace."""

    def __init__(self, steps: EncoderSteps, max_chunks: int) -> None:
        config = steps.config
        frames = max_chunks * config.encoder.chunk_frames
        tokens = max_chunks * config.chunk_tokens
        self.encoder = steps.encoder.state(max_chunks)
        self.compressor = steps.compressor.state(frames)
        self.search: SearchState | None = None
        if steps.search is not None:
            self.search = steps.search.state(tokens)
            self.search.hidden = self.compressor.hidden
        self.samples = new(max_chunks * config.chunk_size)
        self.features = new(frames, config.encoder.dim)
        self.latents = new(tokens, config.bits_per_token)
        self.n_not_finite = np.zeros(1, np.int64)
        """Samples since the stream's start that were NaN or infinite."""

    def reset(self) -> None:
        """Start a new stream."""
        for part in self._parts():
            part.reset()
        self.n_not_finite[0] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [*histories(self._parts()), self.n_not_finite]

    def _parts(self) -> list[State]:
        searches = [self.search] if self.search is not None else []
        return [self.encoder, self.compressor, *searches]


class EncoderSteps:
    """Encoder, compressor, code search where there is one, and quantizer.

    Parameters
    ----------
    config : CodecConfig
        The model's configuration.
    encoder, compressor, search
        The stages.
    """

    def __init__(
        self, config: CodecConfig, encoder: Encoder, compressor: Compressor, search: Search | None
    ) -> None:
        self.config = config
        self.encoder, self.compressor, self.search = encoder, compressor, search

    def state(self, max_chunks: int) -> EncoderStepState:
        """Return the state of a new stream whose steps take up to `max_chunks` chunks."""
        return EncoderStepState(self, max_chunks)

    @property
    def chunk_rows(self) -> int:
        """Samples of a chunk."""
        return self.config.chunk_size

    def arrays(self, max_chunks: int) -> tuple[F32, U16]:
        """Return arrays for the samples and the tokens of the largest step."""
        n_tokens = max_chunks * self.config.chunk_tokens
        return new(max_chunks * self.config.chunk_size), np.zeros(n_tokens, np.uint16)

    def n_rows(self, n_rows: int) -> int:
        """Return how many tokens so many samples give."""
        return math.ceil(n_rows / self.config.samples_per_token)

    def tables(self) -> list[Array]:
        """Return weights of which a step reads a part that depends on its length."""
        return [self.encoder.biases]

    def parameters(self) -> list[Parameter]:
        """Return the rows after each stride, the last of which are frames, then tokens."""
        divisors = (*self.config.encoder.strides, *self.config.compressor.downscale_factors)
        return strided(divisors)

    def __call__(self, samples: F32, tokens: U16, state: EncoderStepState) -> None:
        """Write the tokens of whole chunks, the last of which may be partial and ends the stream.

        A partial chunk is encoded on its own samples. Zeros follow them for the search.

        Parameters
        ----------
        samples : numpy.ndarray
            (n,) float32. NaN and infinity count as 0.
        tokens : numpy.ndarray
            (ceil(n / samples_per_token),) uint16, written.
        state : EncoderStepState
            The stream's state; it advances by these samples.
        """
        self.first(samples, tokens, state)
        self.rest(samples, tokens, state)

    def first(self, samples: F32, tokens: U16, state: EncoderStepState) -> None:
        """Make the features."""
        whole = state.samples[: tokens.size * self.config.samples_per_token]
        features = state.features[: self._frames(samples)]
        sample_kernels.sanitize(samples, SAMPLE_LIMIT, whole, state.n_not_finite)
        self.encoder(whole[: samples.size], features, state.encoder)

    def rest(self, samples: F32, tokens: U16, state: EncoderStepState) -> None:
        """Write the tokens of the features."""
        latents = state.latents[: tokens.size]
        self.compressor(state.features[: self._frames(samples)], latents, state.compressor)
        if self.search is not None and state.search is not None:
            whole = state.samples[: tokens.size * self.config.samples_per_token]
            self.search(whole, latents, state.search)
        quantizer.quantize(latents, tokens)

    def _frames(self, samples: F32) -> int:
        return math.ceil(samples.size / self.config.encoder.frame_size)


class DecoderStepState:
    """What changes in a stream of a decoder, and its workspace."""

    def __init__(self, steps: DecoderSteps, max_chunks: int) -> None:
        config = steps.config
        tokens = max_chunks * config.decoded_tokens
        frames = tokens * config.samples_out_per_token // config.decoder.hop_length
        self.decompressor = steps.decompressor.state(tokens)
        self.decoder = steps.decoder.state(frames)
        self.codes = new(tokens, config.bits_per_token)
        self.features = new(frames, config.decompressor.output_dim)
        self.voice = steps.voice.state(frames) if steps.voice is not None else None
        self.voiced = new(*self.features.shape) if steps.voice is not None else self.features
        """The features that the decoder reads."""

    def reset(self) -> None:
        """Start a new stream."""
        self.decompressor.reset()
        self.decoder.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories([self.decompressor, self.decoder])


class DecoderSteps:
    """Codes, decompressor, a voice where there is one, and decoder.

    Parameters
    ----------
    config : CodecConfig
        The model's configuration.
    decompressor, decoder, voice
        The stages.
    """

    def __init__(
        self,
        config: CodecConfig,
        decompressor: Decompressor,
        decoder: Decoder,
        voice: VoiceStage | None = None,
    ) -> None:
        self.config = config
        self.decompressor, self.decoder, self.voice = decompressor, decoder, voice

    def state(self, max_chunks: int) -> DecoderStepState:
        """Return the state of a new stream whose steps take up to `max_chunks` chunks."""
        return DecoderStepState(self, max_chunks)

    @property
    def chunk_rows(self) -> int:
        """Tokens of a chunk."""
        return self.config.decoded_tokens

    def arrays(self, max_chunks: int) -> tuple[U16, F32]:
        """Return arrays for the tokens and the samples of the largest step."""
        n_tokens = max_chunks * self.config.decoded_tokens
        return np.zeros(n_tokens, np.uint16), new(self.n_rows(n_tokens))

    def n_rows(self, n_rows: int) -> int:
        """Return how many samples so many tokens give."""
        return n_rows * self.config.samples_out_per_token

    def tables(self) -> list[Array]:
        """Return weights of which a step reads a part that depends on its length: none."""
        return []

    def parameters(self) -> list[Parameter]:
        """Return the rows of the refiner."""
        frames = math.prod(self.config.decompressor.upscale_factors)
        return [Parameter(0, frames, self.config.decompressor.chunk_frames)]

    def __call__(self, tokens: U16, samples: F32, state: DecoderStepState) -> None:
        """Write the samples of whole chunks, or of fewer tokens, which end the stream.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) uint16.
        samples : numpy.ndarray
            (n * samples_out_per_token,) float32, written.
        state : DecoderStepState
            The stream's state; it advances by these tokens.
        """
        self.first(tokens, samples, state)
        self.rest(tokens, samples, state)

    def first(self, tokens: U16, samples: F32, state: DecoderStepState) -> None:
        """Make the features that the decoder reads."""
        codes, frames = state.codes[: tokens.size], self._frames(samples)
        features = state.features[:frames]
        quantizer.codes(tokens, codes)
        self.decompressor(codes, features, state.decompressor)
        if self.voice is not None and state.voice is not None:
            self.voice(features, state.voiced[:frames], state.voice)

    def rest(self, tokens: U16, samples: F32, state: DecoderStepState) -> None:
        """Write the samples of these features."""
        self.decoder(state.voiced[: self._frames(samples)], samples, state.decoder)

    def _frames(self, samples: F32) -> int:
        return samples.size // self.config.decoder.hop_length
