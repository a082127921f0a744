"""Streams: samples to tokens and tokens to samples, chunk by chunk."""

from __future__ import annotations

import copy
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.chunker import Chunker
from fcs_edge.kernels.ops import samples as sample_kernels
from fcs_edge.model import quantizer
from fcs_edge.model.code_search import Search
from fcs_edge.model.compressor import CompressorState
from fcs_edge.model.decoder import DecoderState
from fcs_edge.model.decompressor import DecompressorState
from fcs_edge.model.encoder import EncoderState
from fcs_edge.model.layers import F32, U16, new
from fcs_edge.model.replayed_stage import ReplayedState, Stage
from fcs_edge.modelfile.config import CodecConfig

EncoderStage: TypeAlias = Stage[ReplayedState[EncoderState]]
CompressorStage: TypeAlias = Stage[ReplayedState[CompressorState]]
DecompressorStage: TypeAlias = Stage[ReplayedState[DecompressorState]]
DecoderStage: TypeAlias = Stage[ReplayedState[DecoderState]]

SAMPLE_LIMIT = np.float32(65536)
"""Samples are clipped to this magnitude. Speech is within 1; unscaled int16 is within 2**15."""


def as_signal(signal: ArrayLike) -> F32:
    """Return a signal as contiguous float32, checked to be (n,) floating point.

    Raises
    ------
    TypeError
        The samples are not floating point.
    ValueError
        The signal is not one-dimensional.
    """
    array = np.asarray(signal)
    if array.size == 0 and array.ndim == 1:
        return new(0)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(
            f"samples must be floating point in [-1, 1], not {array.dtype}; "
            "int16 samples are divided by 32768"
        )
    if array.ndim != 1:
        raise ValueError(f"a mono signal of shape (n,) is expected, not {array.shape}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def as_tokens(tokens: ArrayLike, bits: int) -> U16:
    """Return tokens as contiguous uint16, checked to be (n,) integers below ``2 ** bits``.

    Raises
    ------
    TypeError
        The tokens are not integers.
    ValueError
        They are not one-dimensional, or one is out of range.
    """
    array = np.asarray(tokens)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.uint16)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"tokens must be integers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"tokens of shape (n,) are expected, not {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 1 << bits:
        raise ValueError(f"tokens of this model are 0 to {(1 << bits) - 1}, not {low} to {high}")
    return np.ascontiguousarray(array, np.uint16)


class _EncodeState:
    """What changes in a stream encoder, and its workspace."""

    def __init__(
        self,
        config: CodecConfig,
        encoder: EncoderStage,
        compressor: CompressorStage,
        max_chunks: int,
        search: Search | None,
    ) -> None:
        frames = max_chunks * config.encoder.chunk_frames
        tokens = max_chunks * config.chunk_tokens
        self.encoder = encoder.state(max_chunks)
        self.compressor = compressor.state(frames)
        self.search = search.state(tokens) if search is not None else None
        self.samples = new(max_chunks * config.chunk_size)
        self.features = new(frames, config.encoder.dim)
        self.latents = new(tokens, config.bits_per_token)
        self.chunker = Chunker(config.chunk_size, max_chunks, np.float32)
        self.n_not_finite = 0

    def reset(self) -> None:
        self.encoder.reset()
        self.compressor.reset()
        if self.search is not None:
            self.search.reset()
        self.chunker.reset()
        self.n_not_finite = 0


class StreamEncoder:
    """Encodes one stream; `Codec.stream_encoder` creates it.

    The constructor allocates all workspace. The tokens do not depend on how the samples are cut
    into pushes.
    """

    def __init__(
        self,
        config: CodecConfig,
        encoder: EncoderStage,
        compressor: CompressorStage,
        max_chunks: int = 1,
        search: Search | None = None,
    ) -> None:
        self._config, self._encoder, self._compressor = config, encoder, compressor
        self._search = search
        self._state = _EncodeState(config, encoder, compressor, max_chunks, search)

    @property
    def n_pending(self) -> int:
        """Samples that wait for the rest of their chunk."""
        return self._state.chunker.n_pending

    @property
    def n_not_finite(self) -> int:
        """Samples since the stream's start that were NaN or infinite; each counts as 0."""
        return self._state.n_not_finite

    def push(self, samples: ArrayLike) -> U16:
        """Encode the chunks that these samples complete.

        Parameters
        ----------
        samples : array_like
            (n,) floating point at 16 kHz, n any number, 0 included. NaN and infinity count as 0.

        Returns
        -------
        numpy.ndarray
            (tokens,) uint16: the tokens of whole chunks, or none.

        Raises
        ------
        TypeError
            The samples are not floating point.
        ValueError
            The samples are not one-dimensional.
        """
        signal = as_signal(samples)
        config, chunker = self._config, self._state.chunker
        tokens = np.empty(chunker.whole_chunks(signal.size) * config.chunk_tokens, np.uint16)
        start = 0
        for run in chunker.runs(signal):
            stop = start + run.size // config.samples_per_token
            self.step(run, tokens[start:stop])
            start = stop
        return tokens

    def flush(self) -> U16:
        """Encode the last, partial chunk, filled up with zeros, and start a new stream.

        Returns
        -------
        numpy.ndarray
            (tokens,) uint16: one chunk's tokens, or none if no sample waited.
        """
        rest = self._state.chunker.rest()
        tokens = np.empty(self._config.chunk_tokens if rest.size else 0, np.uint16)
        if rest.size:
            samples = new(self._config.chunk_size)
            samples[: rest.size] = rest
            self.step(samples, tokens)
        self.reset()
        return tokens

    def step(self, samples: F32, tokens: U16) -> None:
        """Encode whole chunks into the caller's buffer, without allocating memory.

        Parameters
        ----------
        samples : numpy.ndarray
            (chunks * chunk_size,) float32, at most `max_chunks` chunks.
        tokens : numpy.ndarray
            (chunks * chunk_tokens,) uint16, written.
        """
        state = self._state
        n = samples.size // self._config.chunk_size * self._config.encoder.chunk_frames
        clean = state.samples[: samples.size]
        features, latents = state.features[:n], state.latents[: tokens.size]
        state.n_not_finite += sample_kernels.sanitize(samples, SAMPLE_LIMIT, clean)
        self._encoder(clean, features, state.encoder)
        self._compressor(features, latents, state.compressor)
        if self._search is not None and state.search is not None:
            hidden = state.compressor.state.hidden[: tokens.size]
            self._search(clean, hidden, latents, state.search)
        quantizer.quantize(latents, tokens)

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StreamEncoder:
        """Return an independent encoder that continues from this point."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other


class _DecodeState:
    """What changes in a stream decoder, and its workspace."""

    def __init__(
        self,
        config: CodecConfig,
        decompressor: DecompressorStage,
        decoder: DecoderStage,
        max_chunks: int,
    ) -> None:
        tokens = max_chunks * config.chunk_tokens
        frames = tokens * config.samples_out_per_token // config.decoder.hop_length
        self.decompressor = decompressor.state(tokens)
        self.decoder = decoder.state(frames)
        self.codes = new(tokens, config.bits_per_token)
        self.features = new(frames, config.decompressor.output_dim)
        self.samples = new(frames * config.decoder.hop_length)
        self.chunker = Chunker(config.chunk_tokens, max_chunks, np.uint16)

    def reset(self) -> None:
        self.decompressor.reset()
        self.decoder.reset()
        self.chunker.reset()


class StreamDecoder:
    """Decodes one stream; `Codec.stream_decoder` creates it.

    The constructor allocates all workspace. The samples do not depend on how the tokens are cut
    into pushes.
    """

    def __init__(
        self,
        config: CodecConfig,
        decompressor: DecompressorStage,
        decoder: DecoderStage,
        max_chunks: int = 1,
    ) -> None:
        self._config, self._decompressor, self._decoder = config, decompressor, decoder
        self._state = _DecodeState(config, decompressor, decoder, max_chunks)

    @property
    def n_pending(self) -> int:
        """Tokens that wait for the rest of their chunk."""
        return self._state.chunker.n_pending

    def push(self, tokens: ArrayLike) -> F32:
        """Decode the chunks that these tokens complete.

        Parameters
        ----------
        tokens : array_like
            (n,) integers below ``2 ** bits_per_token``, n any number, 0 included.

        Returns
        -------
        numpy.ndarray
            (samples,) float32 at the output rate: the samples of whole chunks, or none.

        Raises
        ------
        TypeError
            The tokens are not integers.
        ValueError
            The tokens are not one-dimensional, or one is out of range.
        """
        config, chunker = self._config, self._state.chunker
        checked = as_tokens(tokens, config.bits_per_token)
        n_tokens = chunker.whole_chunks(checked.size) * config.chunk_tokens
        samples = np.empty(n_tokens * config.samples_out_per_token, np.float32)
        start = 0
        for run in chunker.runs(checked):
            stop = start + run.size * config.samples_out_per_token
            self.step(run, samples[start:stop])
            start = stop
        return samples

    def flush(self) -> F32:
        """Decode the last, partial chunk, without padding, and start a new stream.

        Returns
        -------
        numpy.ndarray
            (samples,) float32: the samples of the tokens that waited, or none.
        """
        rest = self._state.chunker.rest()
        samples = np.empty(rest.size * self._config.samples_out_per_token, np.float32)
        if rest.size:
            self.step(rest, samples)
        self.reset()
        return samples

    def step(self, tokens: U16, samples: F32) -> None:
        """Decode whole chunks into the caller's buffer, without allocating memory.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) uint16: at most `max_chunks` whole chunks, or a partial chunk at the end of a
            stream.
        samples : numpy.ndarray
            (n * samples_out_per_token,) float32, written.
        """
        state = self._state
        codes = state.codes[: tokens.size]
        features = state.features[: samples.size // self._config.decoder.hop_length]
        quantizer.codes(tokens, codes)
        self._decompressor(codes, features, state.decompressor)
        output = state.samples[: samples.size]
        self._decoder(features, output, state.decoder)
        samples[:] = output

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StreamDecoder:
        """Return an independent decoder that continues from this point."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other
