"""One item of a corpus to one row: its tokens, or why it has none."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import soundfile

from fcs_edge.audio.foreign import RAW_ADVICE
from fcs_edge.audio.library import libsndfile_reason, printed_remark
from fcs_edge.audio.regular_files import FileState, open_regular
from fcs_edge.audio.sound_input import AudioInput, Request
from fcs_edge.audio.sound_slices import SlicedSound, slice_of
from fcs_edge.codec import Codec
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Recipe, Row
from fcs_edge.corpus.schema import CUT, text_column
from fcs_edge.errors import AudioError, reason, shown
from fcs_edge.model.layers import F32, U16
from fcs_edge.stream import StreamEncoder
from fcs_edge.streams.whole_signal import (
    EXACT_LIMIT,
    Choice,
    SignalEncoder,
    TooLongError,
    check_length,
)
from fcs_edge.text import printable

FAULTS = (AudioError, OSError, soundfile.LibsndfileError, MemoryError, TooLongError)
"""What a file can cause; anything else is no fault of a file."""

_OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE)
"""Errors of the system that no file causes: too many files are open."""

_LABEL = "FILE"
"""The file's name in messages: rows name it, and equal faults of several files have one text."""
_MOST_TEXT = 400
_PROGRESS_SECONDS = 10.0
_MOST_EXPECTED = 1 << 32
"""Samples that a header is believed, for memory that is not used before it is needed."""
_GROWTH = 8
"""A full array of tokens grows by one part in so many."""

OnProgress = Callable[[float], None]


def row_without_tokens(item: Item, error: str | None) -> Row:
    """Return the row of an item that is not encoded, and why."""
    return {
        "id": item.id,
        "path": item.path_text,
        "member": None if item.member is None else printable(item.member),
        "offset": item.offset,
        "duration": item.duration,
        "n_samples": None,
        "n_tokens": None,
        "tokens": None,
        "sample_rate_in": None,
        "channels": None,
        "n_not_finite": None,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "sha256": None,
        "warning": None,
        "error": error,
        **{text_column(name): text for name, text in item.columns.items()},
    }


class ItemEncoder:
    """Encodes items, one after the other, with one encoder.

    Parameters
    ----------
    codec : Codec
        The model, loaded with the recipe's activations.
    recipe : Recipe
        How sound is read and encoded.

    Raises
    ------
    fcs_edge.ModelFileError
        The model is a half without an encoder.
    ValueError
        The recipe's channel, resampler or windows are none, or the model has no use for them.
    """

    def __init__(self, codec: Codec, recipe: Recipe) -> None:
        codec.model.require("encoder")
        self._codec = codec
        self._choice = Choice(recipe.exact, recipe.window, recipe.overlap)
        self._strict = recipe.strict
        self._request = Request(_LABEL, recipe.channel, False, recipe.resampler)
        self._on_progress: OnProgress = lambda _: None
        self._seconds = 0.0
        self._encoder = self._new_encoder()
        self._descriptor: int | None = None
        self._sound: SlicedSound | None = None
        self._place: tuple[object, ...] = ()

    def row(self, item: Item, on_progress: OnProgress = lambda _: None) -> Row:
        """Return the row of an item; a fault of its file is the row's error.

        Parameters
        ----------
        item : Item
            The sound.
        on_progress : callable
            Takes the seconds of the item's sound that are done, now and then.

        Raises
        ------
        OSError
            The process has too many files open.
        """
        row = row_without_tokens(item, item.error)
        if item.error is None:
            with self._faults_of(row, on_progress):
                self._encode_item(item, row)
        return row

    def row_of_bytes(self, item: Item, data: bytes) -> Row:
        """Return the row of a sound file that is in memory, or of the part that an item names."""
        row = row_without_tokens(item, None)
        with self._faults_of(row), _file_of(data) as descriptor:
            row["sha256"] = hashlib.sha256(data).hexdigest()
            sound = SlicedSound(self._request, descriptor, 0, len(data))
            try:
                self._encode(sound.read(item.offset, item.duration), row)
            finally:
                sound.close()
        return row

    def row_of_samples(self, item: Item, samples: F32, rate: int) -> Row:
        """Return the row of samples, (n, channels) float32, or of the part that an item names."""
        row = row_without_tokens(item, None)
        with self._faults_of(row):
            part = slice_of(samples, rate, item.offset, item.duration)
            sound = self._request.input(rate, part.shape[1], len(part) / max(rate, 1))
            sound.read(part[at : at + rate] for at in range(0, len(part), rate))
            self._encode(sound, row)
        return row

    def close(self) -> None:
        """Close the file that is still open for its next item."""
        if self._sound is not None:
            self._sound.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._sound = self._descriptor = None
        self._place = ()

    @contextmanager
    def _faults_of(self, row: Row, on_progress: OnProgress = lambda _: None) -> Iterator[None]:
        """Turn a fault of a sound into the error of its row."""
        self._on_progress, self._seconds = on_progress, 0.0
        try:
            yield
        except BaseException as error:
            self._encoder = self._anew()
            if not isinstance(error, AudioError):
                # A decoder that another error ended does not go on.
                self.close()
            if not _is_fault(error):
                raise
            row.update(tokens=None, n_tokens=None, n_samples=None, warning=None)
            row["error"] = _text(error)

    def _encode_item(self, item: Item, row: Row) -> None:
        """Encode an item's file, or a part of it."""
        sound, state = self._opened(item)
        try:
            self._encode(sound.read(item.offset, item.duration), row)
        except AudioError:
            self._note_bytes(row, sound, state)
            raise
        self._note_bytes(row, sound, state)

    def _note_bytes(self, row: Row, sound: SlicedSound, state: FileState) -> None:
        """Note which bytes were read; refuse those of a file that changed meanwhile."""
        assert self._descriptor is not None
        row["sha256"] = sound.sha256()
        if FileState.of(os.fstat(self._descriptor)) != state:
            self.close()
            row["sha256"] = None
            raise AudioError("changed while it was read")

    def _opened(self, item: Item) -> tuple[SlicedSound, FileState]:
        """Open an item's file, or return the one that is open: manifests cut one into many."""
        request = self._request
        if item.channel is not None:
            request = replace(request, channel=item.channel)
        try:
            state = FileState.of(os.stat(item.path))
        except ValueError:
            raise AudioError("no file can have such a path") from None
        place = (item.path, item.start, item.size, request.channel, state)
        if self._sound is None or place != self._place:
            self.close()
            self._descriptor = open_regular(item.path)
            state = FileState.of(os.fstat(self._descriptor))
            if item.member is None and state.size != item.size:
                text = f"changed since the scan: {item.size} bytes then, {state.size} now"
                raise AudioError(text)
            self._sound = SlicedSound(request, self._descriptor, item.start, item.size)
            self._place = (*place[:-1], state)
        return self._sound, state

    def _encode(self, sound: AudioInput, row: Row) -> None:
        """Encode a sound into its row."""
        row.update(sample_rate_in=sound.rate, channels=sound.channels)
        check_length(self._codec.encodes_streams, self._choice, sound.seconds)
        encoder, n_samples, shown_at = self._encoder, 0, 0.0
        expected = round((sound.seconds or 0.0) * self._codec.sample_rate_in)
        tokens = _TokenArray(self._codec.n_tokens(min(expected, _MOST_EXPECTED)))
        for block in sound.at_rate(self._codec.sample_rate_in):
            tokens.add(encoder.push(block))
            n_samples += block.size
            self._seconds = n_samples / self._codec.sample_rate_in
            if self._seconds - shown_at >= _PROGRESS_SECONDS and self._codec.encodes_streams:
                shown_at = self._seconds
                self._report(shown_at)
        row["n_not_finite"] = sound.n_not_finite
        sound.require_sound(n_samples)
        tokens.add(encoder.flush())
        cut = _cut_text(sound)
        if cut is not None and self._strict:
            raise AudioError(cut)
        array = tokens.whole()
        row.update(tokens=array, n_tokens=array.size, n_samples=n_samples)
        row["warning"] = _warning(sound, cut)

    def _new_encoder(self) -> SignalEncoder:
        """Return an encoder at the start of a signal."""
        return self._codec.signal_encoder(**self._choice._asdict(), on_progress=self._show_share)

    def _anew(self) -> SignalEncoder:
        """Return the encoder at the start of a signal, or a new one."""
        if isinstance(self._encoder, StreamEncoder):
            self._encoder.reset()
            return self._encoder
        return self._new_encoder()

    def _show_share(self, share: float) -> None:
        """Pass on what a model that needs the whole signal has done of it."""
        self._report(share * self._seconds)

    def _report(self, seconds: float) -> None:
        """Call `on_progress`; that it fails is no fault of the file."""
        try:
            self._on_progress(seconds)
        except OSError as error:
            raise RuntimeError("progress cannot be reported") from error


class _TokenArray:
    """Tokens in one array that grows, without copies where their number is known in advance."""

    def __init__(self, expected: int) -> None:
        self._array: U16 = np.empty(expected, np.uint16)
        self._n = 0

    def add(self, tokens: U16) -> None:
        """Take further tokens."""
        end = self._n + tokens.size
        if end > self._array.size:
            self._array.resize(end + end // _GROWTH, refcheck=False)
        self._array[self._n : end] = tokens
        self._n = end

    def whole(self) -> U16:
        """Return all tokens; no more are added."""
        self._array.resize(self._n, refcheck=False)
        return self._array


def _is_fault(error: BaseException) -> bool:
    """Return whether a file can be the cause."""
    of_machine = isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
    return isinstance(error, FAULTS) and not of_machine


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """Write bytes to a file without a name, in memory where the system can."""
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(os.fdopen(os.memfd_create("sound"), "w+b"))
        except (AttributeError, OSError):
            file = stack.enter_context(tempfile.TemporaryFile())
        file.write(data)
        file.flush()
        yield file.fileno()


def _cut_text(sound: AudioInput) -> str | None:
    """Return what sound is missing, in one line; None if all is there."""
    if not sound.losses:
        return None
    texts = [_plain(line).removeprefix("is cut: ").removeprefix("is ") for line in sound.losses]
    if sound.cut_bytes is not None:
        texts.insert(0, "{} of {} bytes".format(*sound.cut_bytes))
    return shown(f"{CUT}: {'; '.join(texts)}", _MOST_TEXT)


def _warning(sound: AudioInput, cut: str | None) -> str | None:
    """Return what is odd about a sound, what is missing first; None if nothing is."""
    lines = (cut, *map(_plain, sound.warnings), printed_remark(sound.printed))
    return shown("; ".join(line for line in lines if line), _MOST_TEXT) or None


def _text(error: BaseException) -> str:
    """Return why a sound has no tokens, in one line that does not name its file."""
    if isinstance(error, TooLongError):
        text = f"longer than {EXACT_LIMIT / 60:g} minutes: --exact or --window 30 encodes it"
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    elif isinstance(error, OSError):
        text = error.strerror or reason(error)
    elif isinstance(error, soundfile.LibsndfileError):
        text = libsndfile_reason(error)
    else:
        text = _plain(str(error))
    return shown(text, _MOST_TEXT)


def _plain(line: str) -> str:
    """Return a line without the file's name, and without advice that is for one file."""
    return line.replace(f"{_LABEL}: ", "").removesuffix(f"; {RAW_ADVICE}")
