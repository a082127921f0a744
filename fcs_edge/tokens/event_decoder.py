"""Stored tokens decoded to sound: the events of a bitstream, and arrays."""

from __future__ import annotations

import io
import itertools
import math
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.reader import BitstreamReader, Damage, End, Event, HeaderRead, Tokens
from fcs_edge.bitstream.writer import Header
from fcs_edge.codec import Codec
from fcs_edge.errors import BitstreamError, ModelFileError
from fcs_edge.files import is_regular
from fcs_edge.model.layers import F32
from fcs_edge.modelfile import catalogue
from fcs_edge.stand_ins import HEAD_BYTES, not_tokens
from fcs_edge.streams.whole_signal import TokenDecoder
from fcs_edge.text import counted, printable
from fcs_edge.tokens.npy import TokenArray, tokens_of
from fcs_edge.tokens.npz import Origin
from fcs_edge.tokens.settings import Settings, most_tokens, settings_of

GAP_TOKENS = 100
"""Tokens of a gap that the decoder runs through; for the others it rests, in whole chunks."""

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


def missing_start(model: str) -> str:
    """Return a warning: the start of a bitstream, with its header, is missing."""
    return f"its start is missing; decoded as tokens of {model}"


def check_header(header: Header, codec: Codec, any_model: bool | None) -> None:
    """Refuse a bitstream of another model, unless `any_model`; see `check_fingerprint`.

    Raises
    ------
    BitstreamError
        The fingerprints differ, or the tokens do not fit the model.
    """
    stored = (header.samples_per_token, header.input_rate)
    expected = (codec.samples_per_token, codec.sample_rate_in)
    check_fingerprint(header.fingerprint, codec, any_model)
    if stored != expected or header.bits != codec.bits_per_token:
        raise BitstreamError(
            f"its tokens of {header.bits} bits, one every {header.samples_per_token} samples at "
            f"{header.input_rate} Hz, do not fit {codec.name}"
        )


def check_fingerprint(fingerprint: bytes, codec: Codec, any_model: bool | None) -> None:
    """Refuse tokens of another model, unless `any_model`; None where no option allows them.

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
    if any_model is not None:
        advice += ", or try with --any-model"
    raise BitstreamError(
        f"encoded with another model ({fingerprint.hex()}) than {codec.name} "
        f"({codec.fingerprint.hex()}); {advice}"
    )


def check_origin(origin: Origin, codec: Codec, any_model: bool | None) -> None:
    """Refuse an array of tokens of another model, unless `any_model`; see `check_fingerprint`.

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


class DamageReport:
    """Reports damage, once where the next message is the same.

    Parameters
    ----------
    report : callable
        Takes a line.
    clearer : mapping of str to str, optional
        Lines in place of messages; each is reported once.
    """

    def __init__(
        self, report: Callable[[str], None], clearer: Mapping[str, str] | None = None
    ) -> None:
        self._report = report
        self._clearer = dict(clearer or {})
        self._known = set(self._clearer)
        self._last = ""

    def take(self, events: list[Event]) -> None:
        """Report the damage among some events."""
        for event in events:
            if not isinstance(event, Damage):
                continue
            if event.message in self._known:
                line = self._clearer.pop(event.message, "")
            else:
                line = "" if event.message == self._last else event.message
            self._last = event.message
            if line:
                self._report(line)


class EventDecoder:
    """Decodes the tokens of a bitstream in order, lost ones as silence, each part to its length.

    A bitstream may have several parts, one after the other. A part of another model is left out.

    Parameters
    ----------
    codec : Codec
        The model.
    report : callable
        Takes a problem that the events do not state, as one line.
    live : bool
        Whether tokens are decoded in the batch that holds them. Without it, one event's tokens
        wait until the reader knows whether the part ends in them.
    any_model : bool
        Whether parts of other models are decoded.

    Attributes
    ----------
    n_problems : int
        Problems reported so far.
    n_intact, n_lost : int
        Tokens decoded so far, and tokens that silence replaces.
    n_parts : int
        Parts that began so far.
    """

    def __init__(
        self,
        codec: Codec,
        report: Callable[[str], None],
        *,
        live: bool = False,
        any_model: bool = False,
    ) -> None:
        self._codec = codec
        self._report = report
        self._live, self._any_model = live, any_model
        self._decoder: TokenDecoder = codec.token_decoder()
        if live and codec.decodes_streams:
            self._decoder = codec.stream_decoder()
        self.n_problems = self.n_intact = self.n_lost = self.n_parts = 0
        self._begin()

    def _begin(self, skipped: bool = False) -> None:
        """Begin a part."""
        self._skipped = skipped
        self._pending: Tokens | None = None
        self._gaps: deque[tuple[int, int]] = deque()
        self._n_tokens = self._n_samples = self._n_filler = 0
        self._last, self._slack = np.uint16(0), 0
        self._settings: Settings = {}

    @property
    def seconds_lost(self) -> float:
        """Seconds of sound that silence replaces so far."""
        return self.n_lost / self._codec.token_rate

    def decode(self, events: list[Event]) -> Iterator[F32]:
        """Yield the sound of a batch of events, (n,) float32 at a time."""
        for event in events:
            if isinstance(event, HeaderRead):
                yield from self._next_part(event.header)
            elif self._skipped:
                continue
            elif isinstance(event, Tokens):
                yield from self._release()
                self._pending = event
            elif isinstance(event, Damage) and event.n_tokens:
                yield from self._release()
                yield from self._silence(event.n_tokens)
            elif isinstance(event, End):
                yield from self._finish(event.n_samples)
        if self._live:
            yield from self._release()

    def close(self) -> Iterator[F32]:
        """Yield the rest of a part that has no end record."""
        yield from self._release()
        yield self._muted_gaps(self._decoder.flush())

    def _problem(self, text: str) -> None:
        self.n_problems += 1
        self._report(text)

    def _next_part(self, header: Header) -> Iterator[F32]:
        yield from self.close()
        self.n_parts += 1
        self._begin()
        self._slack, self._settings = header.slack, settings_of(header.settings)
        try:
            check_header(header, self._codec, self._any_model)
        except BitstreamError as error:
            self._skipped = True
            self._problem(f"part {self.n_parts} is left out: {error}")

    def _release(self) -> Iterator[F32]:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            nonzero = np.flatnonzero(pending.tokens)
            zeros = pending.tokens.size - (int(nonzero[-1]) + 1 if nonzero.size else 0)
            run = self._n_filler + zeros if not nonzero.size else zeros
            self._n_filler = run if pending.chunk_tokens else 0
            self.n_intact += pending.tokens.size
            yield self._decode(pending.tokens)

    def _decode(self, tokens: NDArray[np.uint16]) -> F32:
        if tokens.size:
            self._last = tokens[-1]
        self._n_tokens += tokens.size
        return self._muted_gaps(self._decoder.push(tokens))

    def _silence(self, n_tokens: int) -> Iterator[F32]:
        """Decode the last token through the start of a gap, muted, and rest in what is left of it.

        The decoder rests for whole chunks, so chunks begin where they would without the gap. One
        that needs all tokens decodes those before the rest by themselves, and those after it.
        """
        hop, chunk = self._codec.samples_out_per_token, self._codec.model.config.decoded_tokens
        start = self._n_tokens * hop
        self._gaps.append((start, start + n_tokens * hop))
        self.n_lost += n_tokens
        rest = max(0, n_tokens - max(GAP_TOKENS, chunk)) // chunk * chunk
        yield self._decode(np.full(n_tokens - rest, self._last))
        if rest and not self._codec.decodes_streams:
            n = self._n_tokens * hop - self._n_samples
            yield self._muted_gaps(self._decoder.flush()[:n])
        for done in range(0, rest, _SILENCE_TOKENS):
            n = min(_SILENCE_TOKENS, rest - done)
            self._n_tokens += n
            yield self._muted_gaps(np.zeros(n * hop, np.float32))

    def _finish(self, n_samples: int) -> Iterator[F32]:
        """Yield the rest of a part, to its exact length, and report what contradicts that."""
        codec, pending = self._codec, self._pending
        needed = math.ceil(max(0, n_samples - self._slack) / codec.samples_per_token)
        # Where the header states no rules, what a live stream has beyond its last token is filler.
        unstated = 2 if pending is not None and pending.chunk_tokens else 1
        sizes = codec.samples_per_token, codec.chunk_tokens
        most = most_tokens(n_samples, *sizes, self._settings, unstated)
        # What was decoded before the end record came cannot be left out any more.
        excess = max(0, self._n_tokens - most - self._n_filler)
        if pending is not None:
            left = max(0, most - self._n_tokens)
            over = pending.tokens[left:]
            if over.any() or not pending.chunk_tokens:
                excess += over.size
            self._pending = Tokens(pending.tokens[:left], pending.chunk_tokens)
        if excess:
            more = counted(excess, "token")
            self._problem(f"{more} more than its {n_samples} samples need")
        length = codec.output_length(n_samples)
        for samples in self.close():
            over_samples = max(0, self._n_samples - length)
            yield samples[: max(0, samples.size - over_samples)]
        if self._n_tokens < needed:
            missing = needed - self._n_tokens
            self._problem(f"{counted(missing, 'token')} of the last {needed} are missing")
        short = length - self._n_samples
        if 0 < short <= codec.output_length(self._slack):
            yield np.zeros(short, np.float32)
        self._begin(skipped=True)

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
    damage: DamageReport,
) -> Iterator[F32]:
    """Yield the sound of a bitstream, (n,) float32 at a time.

    Parameters
    ----------
    batches : iterator of lists of events
        The events of a reader.
    decoder : EventDecoder
        The decoder, at the start of the stream.
    damage : DamageReport
        Takes the events.
    """
    for events in batches:
        damage.take(events)
        yield from decoder.decode(events)
    yield from decoder.close()


def check_intact(reader: BitstreamReader, n_intact: int, n_problems: int = 0) -> None:
    """Refuse a damaged bitstream that has been read to its end, and of which no token is intact.

    Raises
    ------
    BitstreamError
        Nothing of it is left.
    """
    if (reader.damaged or n_problems) and not n_intact:
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
    decoder = codec.token_decoder()
    remaining = None if n_samples is None else codec.output_length(n_samples)
    for samples in _pushed(array, codec, decoder, label):
        yield samples[:remaining]
        if remaining is not None:
            remaining = max(0, remaining - samples.size)
    if remaining and remaining <= codec.output_length(header_slack(codec)):
        # The last token of such a model stands for more samples than it decodes to.
        yield np.zeros(remaining, np.float32)


def _pushed(array: TokenArray, codec: Codec, decoder: TokenDecoder, label: str) -> Iterator[F32]:
    for tokens in tokens_of(array, codec.bits_per_token, label):
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


def header_slack(codec: Codec) -> int:
    """Return the samples by which a count may exceed what tokens stand for; 0 if causal."""
    return 0 if codec.encodes_streams else 2 * codec.samples_per_token - 1


def length_problem(n_tokens: int, n_samples: int, codec: Codec, settings: Settings) -> str | None:
    """Return how a number of tokens contradicts a number of input samples; None if it does not.

    The settings, those of the tokens, say whether zeros may have filled the last chunk.
    """
    needed = codec.n_tokens(n_samples) if n_samples else 0
    most = most_tokens(n_samples, codec.samples_per_token, codec.chunk_tokens, settings)
    if n_tokens < needed:
        missing = needed - n_tokens
        return f"{missing} of the {needed} tokens that its {n_samples} samples need are missing"
    if n_tokens > most:
        more = n_tokens - most
        return f"{more} tokens more than its {n_samples} samples need; they are left out"
    return None
