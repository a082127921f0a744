"""A sound in an open file, of which the whole is read, or slices in any order."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast

import numpy as np

from fcs_edge.audio.byte_source import ByteSource, FilePart
from fcs_edge.audio.regular_files import sha256_of
from fcs_edge.audio.sound_files import open_file
from fcs_edge.audio.sound_input import (
    BLOCK_SAMPLES,
    FILE_SECONDS,
    AudioInput,
    CannotSeekError,
    Request,
    duration,
)
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32, new

_ROUNDED = 0.1
"""Seconds by which a rounded duration may pass the end, without a remark."""
_LATEST = 1e9
"""An offset in seconds that is beyond the end of every sound."""


class SlicedSound:
    """A sound in an open file, or in a part of it.

    A slice has the samples of the whole sound from one time to another, to the bit. Stored samples
    and FLAC are read from the slice's start. Other formats are decoded from the sound's start, in
    the same blocks for each slice: a decoder's last bits can depend on them. Slices in order are
    decoded in one pass.

    Parameters
    ----------
    request : Request
        How the sound is read.
    descriptor : int
        The open file. Its position stays; the caller closes it.
    first, size : int
        The sound's first byte in the file, and its bytes.

    Raises
    ------
    AudioError
        The file ends before the sound begins.
    """

    def __init__(self, request: Request, descriptor: int, first: int, size: int) -> None:
        self._request, self._descriptor = request, descriptor
        self._first, self._size = first, size
        self._there = min(os.fstat(descriptor).st_size - first, size)
        if first < 0 or self._there < 0 or (first and size and not self._there):
            raise AudioError(f"its place, byte {first}, is beyond the end of the file")
        self._sha256: str | None = None
        self._stack = ExitStack()
        self._sound: AudioInput | None = None
        self._part = FilePart(descriptor, first, size)

    def sha256(self) -> str:
        """Return the SHA-256 of the sound's bytes, in hexadecimal; they are read once."""
        if self._sha256 is None:
            self._sha256 = sha256_of(self._descriptor, self._first, self._there)
        return self._sha256

    def close(self) -> None:
        """End the decoder."""
        self._sound = None
        self._stack.close()

    def read(self, offset: float | None = None, seconds: float | None = None) -> AudioInput:
        """Return the sound, or a part of it; another call ends what it reads.

        Parameters
        ----------
        offset, seconds : float or None
            Where the part begins, and its duration, in seconds. None is the sound's start, or its
            end.

        Raises
        ------
        AudioError
            It is no sound, or has no such part: here or while the blocks are read.
        OSError
            The file cannot be read: here or while the blocks are read.
        """
        _check_times(offset, seconds)
        sound = self._sound
        if sound is None or (sound.seek is not None and not sound.is_stored):
            # Where a file is damaged, what a decoder finds depends on what it did before.
            sound = self._opened()
        start, n = _place(sound.rate, offset, seconds)
        expected = sound.seconds
        if expected is not None:
            expected = max(expected - start / sound.rate, 0.0)
        if n is not None:
            expected = min(n / sound.rate, expected or math.inf)
        part = sound.part(expected)
        part.printed += self._first_lines
        most = max(min(round(FILE_SECONDS * sound.rate), BLOCK_SAMPLES // sound.channels), 1)
        part.read(_in_blocks(self._samples(part, start, n), most))
        return part

    def _opened(self) -> AudioInput:
        """Open the sound anew, and read from its start."""
        self.close()
        self._part.seek(0)
        self._part.fault = None
        source = ByteSource(cast(BinaryIO, self._part), self._part.size)
        try:
            if not source.peek(1):
                raise AudioError(f"{self._request.label}: not a readable sound file: it is empty")
            sound = open_file(self._request, source, self._part, self._stack)
        except AudioError:
            self._raise_fault()
            raise
        self._sound, self._first_lines = sound, list(sound.printed)
        self._held, self._start = new(0, sound.channels), 0
        self._lines: list[str] = []
        self._last_lines: list[str] = []
        return sound

    def _raise_fault(self) -> None:
        """Raise what a decoder cannot pass on."""
        if self._part.fault is not None:
            raise self._part.fault

    def _samples(self, part: AudioInput, start: int, n: int | None) -> Iterator[F32]:
        """Yield (n, channels) samples from one on, and note in `part` what is missing."""
        n_read = 0
        for block in self._from(part, start):
            piece = block[: None if n is None else n - n_read]
            n_read += len(piece)
            yield piece
            if n_read == n:
                return
        self._note_end(part, start, n, n_read)

    def _from(self, part: AudioInput, start: int) -> Iterator[F32]:
        """Yield the samples from one to the end, (n, channels)."""
        sound = self._sound or self._opened()
        if sound.seek is not None:
            try:
                # From its start as the command reads it, where it is damaged too.
                from_start = not (start or sound.is_stored)
                blocks = sound.all_channels if from_start else sound.seek(start)
            except CannotSeekError:
                sound = self._opened()
            else:
                yield from self._checked(blocks)
                return
        if start < self._start:
            sound = self._opened()
        yield from self._in_order(sound, part, start)

    def _in_order(self, sound: AudioInput, part: AudioInput, start: int) -> Iterator[F32]:
        """Yield the samples from one to the end; the block before the next one is held."""
        blocks = self._checked(sound.all_channels)
        while True:
            end = self._start + len(self._held)
            if start < end:
                part.printed += self._lines
                yield self._held[start - self._start :]
                start = end
            n_lines = len(sound.printed)
            block = next(blocks, None)
            if block is None:
                self._last_lines += sound.printed[n_lines:]
                part.printed += self._last_lines
                return
            self._start, self._held, self._lines = end, block, sound.printed[n_lines:]

    def _checked(self, blocks: Iterator[F32]) -> Iterator[F32]:
        for block in blocks:
            self._raise_fault()
            yield block
        self._raise_fault()

    def _note_end(self, part: AudioInput, start: int, n: int | None, n_read: int) -> None:
        """Note what is missing where a part reaches the end of the sound."""
        assert self._sound is not None
        part.losses += self._sound.losses
        part.cut_bytes = self._sound.cut_bytes
        if self._there < self._size and not part.losses:
            part.cut_bytes = self._there, self._size
            part.lose("ends before its archive says")
        if start and not n_read:
            why = "".join(f"; {line}" for line in part.losses)
            raise AudioError(f"{part.label}: ends before {round(start / part.rate, 2):g} s{why}")
        missing = 0.0 if n is None else (n - n_read) / part.rate
        if n_read and not part.losses and missing > _ROUNDED:
            part.remark(f"ends {duration(missing)} before its stated end")


def _in_blocks(pieces: Iterator[F32], most: int) -> Iterator[F32]:
    """Yield samples of any pieces in blocks of a size, as if their file began with them."""
    rest: F32 | None = None
    for piece in pieces:
        joined = piece if rest is None else np.concatenate([rest, piece])
        n = len(joined) // most * most
        for at in range(0, n, most):
            yield joined[at : at + most]
        rest = joined[n:] if n < len(joined) else None
    if rest is not None:
        yield rest


def slice_of(samples: F32, rate: int, offset: float | None, seconds: float | None) -> F32:
    """Return the samples, (n, channels), from a time on and for a time; see `SlicedSound.read`.

    Raises
    ------
    AudioError
        There is no such part.
    """
    _check_times(offset, seconds)
    start, n = _place(rate, offset, seconds)
    if start and start >= len(samples):
        raise AudioError(f"ends before {round(start / rate, 2):g} s")
    return samples[start : None if n is None else start + n]


def _place(rate: int, offset: float | None, seconds: float | None) -> tuple[int, int | None]:
    """Return the first sample of a part, and how many it has; None up to the end."""
    start = round(min(offset or 0.0, _LATEST) * rate)
    return start, None if seconds is None else max(round(min(seconds, _LATEST) * rate), 1)


def _check_times(offset: float | None, seconds: float | None) -> None:
    """Refuse times that no sound has."""
    if offset is not None and not (math.isfinite(offset) and offset >= 0):
        raise AudioError(f"its offset is {offset:g} s; 0 or more is expected")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise AudioError(f"its duration is {seconds:g} s; more than 0 is expected")
