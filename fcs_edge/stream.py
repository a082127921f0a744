"""Streams: samples to tokens and tokens to samples, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fcs_edge.arguments import (
    FLOAT32,
    UINT16,
    Shapes,
    as_signal,
    as_tokens,
    check_buffer,
    is_plain_pair,
)
from fcs_edge.kernels.ops import samples as sample_kernels
from fcs_edge.model.layers import F32, U16, new
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.streams.chunker import Chunker
from fcs_edge.streams.memory import StreamMemory
from fcs_edge.streams.resumable import ResumableStream, Saved, write_history
from fcs_edge.streams.steps import SAMPLE_LIMIT


def sanitized(samples: F32) -> F32:
    """Return a whole signal as the encoder takes it: clipped, and 0 in place of NaN or infinity."""
    clean = new(samples.size)
    sample_kernels.sanitize(samples, SAMPLE_LIMIT, clean, np.zeros(1, np.int64))
    return clean


class _EncodeState:
    """What changes in a stream encoder."""

    def __init__(
        self, config: CodecConfig, memory: StreamMemory, max_chunks: int, whole_steps: bool
    ) -> None:
        self.memory = memory
        size, runs = config.chunk_size, max_chunks
        if whole_steps:
            size, runs = size * max_chunks, 1
        self.chunker = Chunker(size, runs, np.float32)

    def reset(self) -> None:
        self.memory.reset()
        self.chunker.reset()

    def saved(self) -> Saved:
        history = [array.copy() for array in self.memory.history()]
        return Saved(history, self.chunker.rest().copy(), False)

    def resume(self, saved: Saved) -> None:
        write_history(self.memory.history(), saved.history)
        self.chunker.resume(saved.waiting)

    def take(self, other: _EncodeState) -> None:
        self.memory.take(other.memory)
        self.chunker.resume(other.chunker.rest())


class StreamEncoder(ResumableStream):
    """Encodes one stream; `Codec.stream_encoder` creates it.

    The constructor allocates all workspace. The tokens do not depend on how the samples are cut
    into pushes.

    A stream belongs to one thread at a time. Streams of one codec may run on threads of their own.
    `copy.copy` and `copy.deepcopy` do what `copy` does. A pickle holds what later chunks need of
    the past, and which model it is: the process that loads it needs the same model file.
    """

    _state: _EncodeState
    used: None = None
    """Windows of the signal: a stream has none; see `Codec.signal_encoder`."""

    def __init__(
        self,
        config: CodecConfig,
        memory: StreamMemory,
        max_chunks: int = 1,
        threads: int = 1,
        create: Callable[[int, int], StreamEncoder] | None = None,
        whole_steps: bool = False,
    ) -> None:
        super().__init__(create, max_chunks, threads)
        self._config = config
        self._state = _EncodeState(config, memory, self._max_chunks, whole_steps)
        size, n_tokens = config.chunk_size, config.chunk_tokens
        self._run_tokens = n_tokens * (self._max_chunks if whole_steps else 1)
        """Tokens of the shortest run of samples that `push` encodes."""
        self._shapes: Shapes = {(n * size,): (n * n_tokens,) for n in self._all_chunks}
        """Shapes of the samples that a step takes, and of the tokens that it writes."""

    @property
    def n_pending(self) -> int:
        """Samples that wait for the rest of their chunk, or of their step; see `push`."""
        return self._state.chunker.n_pending

    @property
    def n_not_finite(self) -> int:
        """Samples since the stream's start that were NaN or infinite; each counts as 0."""
        return int(self._state.memory.history()[-1][0])

    def push(self, samples: ArrayLike) -> U16:
        """Encode the chunks that these samples complete.

        An encoder of `Codec.signal_encoder` encodes the steps of `max_chunks` chunks that they
        complete: each step reads the weights once.

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
            The samples are not floating point, or the array is masked.
        ValueError
            The samples are not one-dimensional.
        """
        signal = as_signal(samples)
        config, chunker = self._config, self._state.chunker
        tokens = np.empty(chunker.whole_chunks(signal.size) * self._run_tokens, np.uint16)
        start = 0
        for run in chunker.runs(signal):
            stop = start + run.size // config.samples_per_token
            self._state.memory.run(run, tokens[start:stop])
            start = stop
        return tokens

    def flush(self) -> U16:
        """Encode what waits, the last, partial chunk on its own samples, and start a new stream.

        Returns
        -------
        numpy.ndarray
            (ceil(n_pending / samples_per_token),) uint16: none if no sample waited.
        """
        rest = self._state.chunker.rest()
        tokens = np.empty(math.ceil(rest.size / self._config.samples_per_token), np.uint16)
        if rest.size:
            self._state.memory.run(rest, tokens)
        self.reset()
        return tokens

    def step(self, samples: F32, tokens: U16) -> None:
        """Encode whole chunks into the caller's buffer.

        No memory is allocated where both arrays are contiguous and writeable.

        Parameters
        ----------
        samples : numpy.ndarray
            (chunks * chunk_size,) float32, 1 to `max_chunks` whole chunks. NaN and infinity count
            as 0.
        tokens : numpy.ndarray
            (chunks * chunk_tokens,) uint16, written. It may share memory with `samples`, which
            are read first.

        Raises
        ------
        TypeError
            An argument is no array of its type, or is a masked array.
        ValueError
            An argument has another size or shape, `tokens` is read-only, or samples wait from
            `push`. Nothing is encoded.
        """
        if self._state.chunker.n_pending:
            raise ValueError(f"{self.n_pending} samples wait for the rest of their chunk: use push")
        if is_plain_pair(samples, FLOAT32, tokens, UINT16, self._shapes):
            self._state.memory.run(samples, tokens)
            return
        check_buffer(samples, FLOAT32, "samples")
        check_buffer(tokens, UINT16, "tokens", written=True)
        if self._shapes.get(samples.shape) != tokens.shape:
            raise ValueError(
                f"a step of this stream takes {self._limit()} of {self._config.chunk_size} samples "
                f"and {self._config.chunk_tokens} tokens, not {samples.size} samples and "
                f"{tokens.size} tokens"
            )
        result = np.empty(tokens.shape, np.uint16)
        self._state.memory.run(np.array(samples), result)
        tokens[:] = result

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StreamEncoder:
        """Return an independent encoder that continues from this point."""
        return self.__copy__()


class _DecodeState:
    """What changes in a stream decoder."""

    def __init__(self, config: CodecConfig, memory: StreamMemory, max_chunks: int) -> None:
        self.memory = memory
        self.chunker = Chunker(config.decoded_tokens, max_chunks, np.uint16)
        self.ended = False
        """Whether the last step had a partial chunk."""

    def reset(self) -> None:
        self.memory.reset()
        self.chunker.reset()
        self.ended = False

    def saved(self) -> Saved:
        history = [array.copy() for array in self.memory.history()]
        return Saved(history, self.chunker.rest().copy(), self.ended)

    def resume(self, saved: Saved) -> None:
        write_history(self.memory.history(), saved.history)
        self.chunker.resume(saved.waiting)
        self.ended = saved.ended

    def take(self, other: _DecodeState) -> None:
        self.memory.take(other.memory)
        self.chunker.resume(other.chunker.rest())
        self.ended = other.ended


class StreamDecoder(ResumableStream):
    """Decodes one stream; `Codec.stream_decoder` creates it.

    The constructor allocates all workspace. The samples do not depend on how the tokens are cut
    into pushes. Threads, copies and pickles are as for `StreamEncoder`.
    """

    _state: _DecodeState

    def __init__(
        self,
        config: CodecConfig,
        memory: StreamMemory,
        max_chunks: int = 1,
        threads: int = 1,
        create: Callable[[int, int], StreamDecoder] | None = None,
    ) -> None:
        super().__init__(create, max_chunks, threads)
        self._config = config
        self._state = _DecodeState(config, memory, self._max_chunks)
        self._chunk_tokens = config.decoded_tokens
        self._has_all_tokens = config.bits_per_token == 16
        whole = (n * self._chunk_tokens for n in self._all_chunks)
        sizes = (*range(1, self._chunk_tokens), *whole)
        self._shapes: Shapes = {(n,): (n * config.samples_out_per_token,) for n in sizes}
        """Shapes of the tokens that a step takes, and of the samples that it writes."""

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
            The tokens are not integers, or the array is masked.
        ValueError
            The tokens are not one-dimensional, one is out of range, or a `step` with a partial
            chunk has ended the stream.
        """
        config, chunker = self._config, self._state.chunker
        checked = as_tokens(tokens, config.bits_per_token)
        self._check_open()
        n_tokens = chunker.whole_chunks(checked.size) * self._chunk_tokens
        samples = np.empty(n_tokens * config.samples_out_per_token, np.float32)
        start = 0
        for run in chunker.runs(checked):
            stop = start + run.size * config.samples_out_per_token
            self._state.memory.run(run, samples[start:stop])
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
            self._state.memory.run(rest, samples)
        self.reset()
        return samples

    def step(self, tokens: U16, samples: F32) -> None:
        """Decode whole chunks into the caller's buffer.

        No memory is allocated where both arrays are contiguous and writeable.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) uint16, each below ``2 ** bits_per_token``: 1 to `max_chunks` whole chunks, or a
            partial chunk, which ends the stream. `reset` then starts a new one.
        samples : numpy.ndarray
            (n * samples_out_per_token,) float32, written. It may share memory with `tokens`,
            which are read first.

        Raises
        ------
        TypeError
            An argument is no array of its type, or is a masked array.
        ValueError
            An argument has another size or shape, a token is out of range, `samples` is
            read-only, tokens wait from `push`, or the stream has ended. Nothing is decoded.
        """
        self._check_open()
        if self._state.chunker.n_pending:
            raise ValueError(f"{self.n_pending} tokens wait for the rest of their chunk: use push")
        plain = is_plain_pair(tokens, UINT16, samples, FLOAT32, self._shapes)
        if not plain:
            self._check_step(tokens, samples)
        if not self._has_all_tokens:
            as_tokens(tokens, self._config.bits_per_token)
        if plain:
            self._state.memory.run(tokens, samples)
        else:
            result = np.empty(samples.shape, np.float32)
            self._state.memory.run(np.array(tokens), result)
            samples[:] = result
        if tokens.size < self._chunk_tokens:
            self._state.ended = True

    def _check_step(self, tokens: U16, samples: F32) -> None:
        check_buffer(tokens, UINT16, "tokens")
        check_buffer(samples, FLOAT32, "samples", written=True)
        if self._shapes.get(tokens.shape) != samples.shape:
            raise ValueError(
                f"a step of this stream takes {self._limit()} of {self._chunk_tokens} tokens, or a "
                f"partial one, with {self._config.samples_out_per_token} samples a token; "
                f"not {tokens.size} tokens and {samples.size} samples"
            )

    def _check_open(self) -> None:
        if self._state.ended:
            raise ValueError("the stream has ended with a partial chunk: reset starts a new one")

    def reset(self) -> None:
        """Discard the stream's state and start a new stream."""
        self._state.reset()

    def copy(self) -> StreamDecoder:
        """Return an independent decoder that continues from this point."""
        return self.__copy__()
