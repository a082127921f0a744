"""Stored tokens decoded to sound: the events of a bitstream, and arrays."""

from __future__ import annotations

import io
import itertools
import math
import shlex
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.reader import BitstreamReader, Damage, End, Event, HeaderRead, Tokens
from fcs_edge.bitstream.writer import Header
from fcs_edge.codec import BLOCK_CHUNKS, Codec
from fcs_edge.errors import BitstreamError, FcsError, ModelFileError
from fcs_edge.files import is_regular
from fcs_edge.model.layers import F32
from fcs_edge.modelfile import catalogue
from fcs_edge.stand_ins import HEAD_BYTES, not_tokens
from fcs_edge.stream import StreamDecoder
from fcs_edge.text import printable
from fcs_edge.tokens.npy import TokenArray
from fcs_edge.tokens.npz import Origin

_SILENCE_TOKENS = 4096


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Add the name of the input to a bitstream's error."""
    try:
        yield
    except BitstreamError as error:
        raise BitstreamError(f"{label}: {error}") from None


def refuse_others(file: BinaryIO) -> None:
    """Refuse a file that is known to be something else, and say what helps.

    Raises
    ------
    BitstreamError
        The file holds sound, arrays, a web page or a Git LFS pointer. Its text names no file.
    """
    # A pipe is not read ahead, because that waits.
    if not isinstance(file, io.BufferedReader) or not is_regular(file):
        return
    if what := not_tokens(file.peek(HEAD_BYTES)[:HEAD_BYTES]):
        raise BitstreamError(what)


def read_header(batches: Iterator[list[Event]]) -> tuple[Header, Iterator[list[Event]]]:
    """Return a bitstream's header, and its batches of events from the header's batch on."""
    for events in batches:
        for event in events:
            if isinstance(event, HeaderRead):
                return event.header, itertools.chain([events], batches)
    raise BitstreamError("it has no header")  # the reader raises a clearer error before


def check_header(header: Header, codec: Codec, any_model: bool) -> None:
    """Refuse a bitstream of another model, unless `any_model`.

    Raises
    ------
    BitstreamError
        The fingerprints differ, or the tokens do not fit the model.
    """
    stored = (header.samples_per_token, header.input_rate)
    expected = (codec.samples_per_token, codec.sample_rate_in)
    check_fingerprint(header.fingerprint, codec, any_model)
    if stored != expected or header.bits < codec.bits_per_token:
        raise BitstreamError(
            f"its tokens of {header.bits} bits, one every {header.samples_per_token} samples, "
            f"do not fit {codec.name}"
        )


def check_fingerprint(fingerprint: bytes, codec: Codec, any_model: bool) -> None:
    """Refuse tokens of another model, unless `any_model`.

    Raises
    ------
    BitstreamError
        The fingerprints differ, and the codec's model does not list the other one.
    """
    if fingerprint in (codec.fingerprint, *codec.model.accepts) or any_model:
        return
    named = catalogue.by_fingerprint(fingerprint)
    advice = "give that model with --model"
    if named is not None:
        advice = f"add --model {shlex.quote(printable(named.name))}"
    raise BitstreamError(
        f"encoded with another model ({fingerprint.hex()}) than {codec.name} "
        f"({codec.fingerprint.hex()}); {advice}, or try with --any-model"
    )


def check_origin(origin: Origin, codec: Codec, any_model: bool) -> None:
    """Refuse an array of tokens of another model, unless `any_model`.

    Raises
    ------
    BitstreamError
        The fingerprints differ, or the sample rates do.
    """
    check_fingerprint(origin.fingerprint, codec, any_model)
    if origin.sample_rate != codec.sample_rate_in:
        raise BitstreamError(
            f"its samples are counted at {origin.sample_rate} Hz; {codec.name} has "
            f"{codec.sample_rate_in} Hz"
        )


class EventDecoder:
    """Decodes tokens in order, lost ones as silence, and cuts the end to the exact length.

    Parameters
    ----------
    codec : Codec
        The model.
    live : bool
        Whether tokens are decoded in the batch that holds them. Without it, one event's tokens
        wait until the reader knows whether the stream ends in them.
    """

    def __init__(self, codec: Codec, *, live: bool) -> None:
        self._codec = codec
        self._live = live
        self._decoder = codec.stream_decoder(1 if live else BLOCK_CHUNKS)
        self._pending: NDArray[np.uint16] | None = None
        self._gaps: deque[tuple[int, int]] = deque()
        self._n_tokens = 0
        self._n_samples = 0
        self._last = np.uint16(0)
        self._n_lost = 0

    @property
    def seconds_lost(self) -> float:
        """Seconds of sound that silence replaces so far."""
        return self._n_lost / self._codec.token_rate

    @property
    def n_intact(self) -> int:
        """Tokens decoded so far that were not lost."""
        return self._n_tokens - self._n_lost

    def decode(self, events: list[Event]) -> Iterator[F32]:
        """Yield the sound of a batch of events, (n,) float32 at a time."""
        for event in events:
            if isinstance(event, Tokens):
                yield from self._release()
                self._pending = event.tokens
            elif isinstance(event, Damage) and event.n_tokens:
                yield from self._release()
                yield from self._silence(event.n_tokens)
            elif isinstance(event, End):
                yield from self._finish(event.n_samples)
        if self._live:
            yield from self._release()

    def close(self) -> Iterator[F32]:
        """Yield the rest of a stream that has no end record."""
        yield from self._release()
        yield self._muted_gaps(self._decoder.flush())

    def _release(self) -> Iterator[F32]:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            yield self._decode(pending)

    def _decode(self, tokens: NDArray[np.uint16]) -> F32:
        # Tokens may be stored in more bits than the model's. A live token has no verified CRC.
        highest = (1 << self._codec.bits_per_token) - 1
        if self._live:
            tokens = tokens & np.uint16(highest)
        elif tokens.size and tokens.max() > highest:
            raise BitstreamError(
                f"it holds the token {tokens.max()}; this model's tokens end at {highest}"
            )
        if tokens.size:
            self._last = tokens[-1]
        self._n_tokens += tokens.size
        return self._muted_gaps(self._decoder.push(tokens))

    def _silence(self, n_tokens: int) -> Iterator[F32]:
        """Decode the last token through a gap and mute it, so that time stays in step."""
        hop = self._codec.samples_out_per_token
        start = self._n_tokens * hop
        self._gaps.append((start, start + n_tokens * hop))
        self._n_lost += n_tokens
        for done in range(0, n_tokens, _SILENCE_TOKENS):
            yield self._decode(np.full(min(_SILENCE_TOKENS, n_tokens - done), self._last))

    def _finish(self, n_samples: int) -> Iterator[F32]:
        codec = self._codec
        needed = math.ceil(n_samples / codec.chunk_size) * codec.chunk_tokens
        if self._pending is not None:
            self._pending = self._pending[: max(0, needed - self._n_tokens)]
        length = codec.output_length(n_samples)
        for samples in self.close():
            over = max(0, self._n_samples - length)
            yield samples[: max(0, samples.size - over)]

    def _muted_gaps(self, samples: F32) -> F32:
        """Return the stream's next samples, those in a gap set to zero."""
        _check_finite(samples, self._codec)
        start, end = self._n_samples, self._n_samples + samples.size
        self._n_samples = end
        while self._gaps and self._gaps[0][0] < end:
            low, high = self._gaps[0]
            samples[max(0, low - start) : high - start] = 0
            if high > end:
                break
            self._gaps.popleft()
        return samples


def decode_events(
    batches: Iterator[list[Event]],
    decoder: EventDecoder,
    reader: BitstreamReader,
    report: Callable[[str], None],
) -> Iterator[F32]:
    """Yield the sound of a bitstream, (n,) float32 at a time.

    Parameters
    ----------
    batches : iterator of lists of events
        The events of `reader`.
    decoder : EventDecoder
        The decoder, at the start of the stream.
    reader : BitstreamReader
        What reads the bitstream.
    report : callable
        Takes the text of each damage.
    """
    for events in batches:
        for event in events:
            if isinstance(event, Damage):
                report(event.message)
        yield from decoder.decode(events)
    if not reader.ended:
        yield from decoder.close()


def check_intact(reader: BitstreamReader, n_intact: int) -> None:
    """Refuse a damaged bitstream that has been read to its end, and of which no token is intact.

    Raises
    ------
    BitstreamError
        Nothing of it is left.
    """
    if reader.damaged and not n_intact:
        raise BitstreamError("none of its tokens is intact")


def decode_array(
    array: TokenArray, codec: Codec, label: str, n_samples: int | None = None
) -> Iterator[F32]:
    """Yield the sound of an array of tokens, (n,) float32 at a time.

    Parameters
    ----------
    array : TokenArray
        The tokens.
    codec : Codec
        The model.
    label : str
        The array's name, for messages.
    n_samples : int, optional
        Number of input samples. The sound ends where theirs does. Absent: all tokens are decoded.

    Raises
    ------
    FcsError
        The model does not have a token of the array.
    """
    decoder = codec.stream_decoder(BLOCK_CHUNKS)
    remaining = None if n_samples is None else codec.output_length(n_samples)
    for samples in _pushed(array, codec, decoder, label):
        yield samples[:remaining]
        if remaining is not None:
            remaining = max(0, remaining - samples.size)


def _pushed(array: TokenArray, codec: Codec, decoder: StreamDecoder, label: str) -> Iterator[F32]:
    highest = (1 << codec.bits_per_token) - 1
    for tokens in array.blocks:
        wrong = tokens[(tokens < 0) | (tokens > highest)]
        if wrong.size:
            raise FcsError(
                f"{label}: holds the token {wrong[0]}; tokens of {codec.name} are 0 to {highest}"
            )
        samples = decoder.push(tokens)
        _check_finite(samples, codec)
        yield samples
    samples = decoder.flush()
    _check_finite(samples, codec)
    yield samples


def _check_finite(samples: F32, codec: Codec) -> None:
    """Refuse a model whose weights are numbers, but too large to compute with."""
    if not np.isfinite(samples).all():
        raise ModelFileError(
            f"{codec.model.path}: decodes to samples that are NaN or infinite; its weights are "
            "damaged: convert or copy it again"
        )


def length_problem(n_tokens: int, n_samples: int, codec: Codec) -> str | None:
    """Return how a number of tokens contradicts a number of input samples; None if it does not."""
    needed = math.ceil(n_samples / codec.samples_per_token)
    padded = math.ceil(n_samples / codec.chunk_size) * codec.chunk_tokens
    if n_tokens < needed:
        missing = needed - n_tokens
        return f"{missing} of the {needed} tokens that its {n_samples} samples need are missing"
    if n_tokens > padded:
        more = n_tokens - padded
        return f"{more} tokens more than its {n_samples} samples need; they are left out"
    return None
