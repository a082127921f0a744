"""Streams: samples to tokens and tokens to samples, chunk by chunk."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.kernels.ops import samples as sample_kernels
from fcs_edge.model import quantizer
from fcs_edge.model.code_search import Search
from fcs_edge.model.layers import F32, U16, new
from fcs_edge.model.replayed_stage import Stage
from fcs_edge.modelfile.config import CodecConfig

SAMPLE_LIMIT = np.float32(65536)
"""Samples beyond this are clipped to it; speech is within 1, int16 scaled as float within 2**15."""


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
    """Everything of a stream encoder that changes."""

    def __init__(
        self,
        config: CodecConfig,
        encoder: Stage,
        compressor: Stage,
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
        self.pending = new(config.chunk_size)
        self.n_pending = 0
        self.n_not_finite = 0

    def reset(self) -> None:
        self.encoder.reset()
        self.compressor.reset()
        if self.search is not None:
            self.search.reset()
        self.n_pending = 0
        self.n_not_finite = 0


class StreamEncoder:
    """Encodes one stream; made by `Codec.stream_encoder`.

    All memory is allocated here, once. How the samples are cut into pushes changes no bit
    of the tokens.
    """

    def __init__(
        self,
        config: CodecConfig,
        encoder: Stage,
        compressor: Stage,
        max_chunks: int = 1,
        search: Search | None = None,
    ) -> None:
        self._config, self._encoder, self._compressor = config, encoder, compressor
        self._search, self._max_chunks = search, max_chunks
        self._state = _EncodeState(config, encoder, compressor, max_chunks, search)

    @property
    def n_pending(self) -> int:
        """Samples that wait for the rest of their chunk."""
        return self._state.n_pending

    @property
    def n_not_finite(self) -> int:
        """Samples since the stream's start that were NaN or infinite, and were taken as 0."""
        return self._state.n_not_finite

    def push(self, samples: ArrayLike) -> U16:
        """Encode as many whole chunks as these samples complete.

        Parameters
        ----------
        samples : array_like
            (n,) floating point at 16 kHz, n any number, 0 too. NaN and infinity count as 0.

        Returns
        -------
        numpy.ndarray
            (tokens,) uint16, whole chunks of them, or none.
        """
        signal = as_signal(samples)
        state, size = self._state, self._config.chunk_size
        chunks = (state.n_pending + signal.size) // size
        tokens = np.empty(chunks * self._config.chunk_tokens, np.uint16)
        done = taken = 0
        if state.n_pending:
            taken = min(size - state.n_pending, signal.size)
            state.pending[state.n_pending : state.n_pending + taken] = signal[:taken]
            state.n_pending += taken
            if state.n_pending == size:
                state.n_pending = 0
                done = self._config.chunk_tokens
                self.step(state.pending, tokens[:done])
        while signal.size - taken >= size:
            n = min((signal.size - taken) // size, self._max_chunks)
            made = done + n * self._config.chunk_tokens
            self.step(signal[taken : taken + n * size], tokens[done:made])
            taken, done = taken + n * size, made
        rest = signal.size - taken
        if rest:
            state.pending[:rest] = signal[taken:]
            state.n_pending = rest
        return tokens

    def flush(self) -> U16:
        """Encode the last, partial chunk, filled up with zeros, and start a new stream.

        Returns
        -------
        numpy.ndarray
            (tokens,) uint16: one chunk's tokens, or none where no sample waited.
        """
        state = self._state
        tokens = np.empty(self._config.chunk_tokens if state.n_pending else 0, np.uint16)
        if state.n_pending:
            state.pending[state.n_pending :] = 0
            self.step(state.pending, tokens)
        self.reset()
        return tokens

    def step(self, samples: F32, tokens: U16) -> None:
        """Encode whole chunks into the caller's buffer, allocating nothing.

        Parameters
        ----------
        samples : numpy.ndarray
            (chunks * chunk_size,) float32, no more chunks than the stream was made for.
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
            hidden = state.compressor.hidden[: tokens.size]
            self._search(clean, hidden, latents, state.search)
        quantizer.quantize(latents, tokens)

    def reset(self) -> None:
        """Forget the stream and start a new one."""
        self._state.reset()

    def copy(self) -> StreamEncoder:
        """Return an encoder that goes on from here, on its own."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other


class _DecodeState:
    """Everything of a stream decoder that changes."""

    def __init__(
        self, config: CodecConfig, decompressor: Stage, decoder: Stage, max_chunks: int
    ) -> None:
        tokens = max_chunks * config.chunk_tokens
        frames = tokens * config.samples_out_per_token // config.decoder.hop_length
        self.decompressor = decompressor.state(tokens)
        self.decoder = decoder.state(frames)
        self.codes = new(tokens, config.bits_per_token)
        self.features = new(frames, config.decompressor.output_dim)
        self.samples = new(frames * config.decoder.hop_length)
        self.pending = np.zeros(config.chunk_tokens, np.uint16)
        self.n_pending = 0

    def reset(self) -> None:
        self.decompressor.reset()
        self.decoder.reset()
        self.n_pending = 0


class StreamDecoder:
    """Decodes one stream; made by `Codec.stream_decoder`.

    All memory is allocated here, once. How the tokens are cut into pushes changes no bit of
    the samples.
    """

    def __init__(
        self, config: CodecConfig, decompressor: Stage, decoder: Stage, max_chunks: int = 1
    ) -> None:
        self._config, self._decompressor, self._decoder = config, decompressor, decoder
        self._max_chunks = max_chunks
        self._state = _DecodeState(config, decompressor, decoder, max_chunks)

    @property
    def n_pending(self) -> int:
        """Tokens that wait for the rest of their chunk."""
        return self._state.n_pending

    def push(self, tokens: ArrayLike) -> F32:
        """Decode as many whole chunks as these tokens complete.

        Parameters
        ----------
        tokens : array_like
            (n,) integers, n any number, 0 too.

        Returns
        -------
        numpy.ndarray
            (samples,) float32 at the output rate: whole chunks of them, or none.
        """
        config, state = self._config, self._state
        given = as_tokens(tokens, config.bits_per_token)
        size, hop = config.chunk_tokens, config.samples_out_per_token
        chunks = (state.n_pending + given.size) // size
        samples = np.empty(chunks * size * hop, np.float32)
        done = taken = 0
        if state.n_pending:
            taken = min(size - state.n_pending, given.size)
            state.pending[state.n_pending : state.n_pending + taken] = given[:taken]
            state.n_pending += taken
            if state.n_pending == size:
                state.n_pending = 0
                done = size * hop
                self.step(state.pending, samples[:done])
        while given.size - taken >= size:
            n = min((given.size - taken) // size, self._max_chunks) * size
            self.step(given[taken : taken + n], samples[done : done + n * hop])
            taken, done = taken + n, done + n * hop
        rest = given.size - taken
        if rest:
            state.pending[:rest] = given[taken:]
            state.n_pending = rest
        return samples

    def flush(self) -> F32:
        """Decode the tokens of a last, partial chunk, if any, and start a new stream.

        Returns
        -------
        numpy.ndarray
            (samples,) float32: those of the tokens that waited, or none.
        """
        n = self._state.n_pending
        samples = np.empty(n * self._config.samples_out_per_token, np.float32)
        if n:
            self.step(self._state.pending[:n], samples)
        self.reset()
        return samples

    def step(self, tokens: U16, samples: F32) -> None:
        """Decode whole chunks into the caller's buffer, allocating nothing.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) uint16: whole chunks, no more than the stream was made for; a part of one
            only at the end of a stream.
        samples : numpy.ndarray
            (n * output samples a token,) float32, written.
        """
        state = self._state
        codes = state.codes[: tokens.size]
        features = state.features[: samples.size // self._config.decoder.hop_length]
        quantizer.codes(tokens, codes)
        self._decompressor(codes, features, state.decompressor)
        made = state.samples[: samples.size]
        self._decoder(features, made, state.decoder)
        samples[:] = made

    def reset(self) -> None:
        """Forget the stream and start a new one."""
        self._state.reset()

    def copy(self) -> StreamDecoder:
        """Return a decoder that goes on from here, on its own."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other
