"""Output of sound in blocks: files, pipes, bare samples."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Any, BinaryIO, Protocol

import soundfile

from fcs_edge.audio import wav
from fcs_edge.audio.library import libsndfile_reason
from fcs_edge.audio.reader import RAW_FORMATS
from fcs_edge.errors import AudioError
from fcs_edge.files import is_regular, label_of
from fcs_edge.model.layers import F32

_PIECE = 1 << 15
"""Samples that libsndfile takes at once: its Vorbis encoder puts the first ones on the stack."""

FILE_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


class AudioOutput(Protocol):
    """A sound that is being written, (n,) float32 in [-1, 1] at a time."""

    def write(self, samples: F32) -> None:
        """Write samples without delay."""

    def close(self) -> None:
        """Finish the sound; the file stays open."""

    def discard(self) -> None:
        """Release what the sound holds, after an error too."""


def file_output(file: BinaryIO, suffix: str, rate: int) -> AudioOutput:
    """Return a sound file that is being written.

    Parameters
    ----------
    file : binary file
        The output: new, and able to seek and to read.
    suffix : str
        A key of `FILE_FORMATS`.
    rate : int
        Hz.
    """
    return WavOutput(file, rate) if suffix == ".wav" else LibraryOutput(file, suffix, rate)


class WavOutput:
    """A WAV file, or RF64 beyond 4 GB."""

    def __init__(self, file: BinaryIO, rate: int, *, limit: int = wav.MAX_SIZE) -> None:
        self._writer = wav.WavWriter(file, rate, limit=limit)

    def write(self, samples: F32) -> None:
        """Write samples."""
        self._writer.write(wav.to_file_pcm16(samples))

    def close(self) -> None:
        """Write the length into the header."""
        self._writer.finish()

    def discard(self) -> None:
        """Do nothing: nothing is held."""


class LibraryOutput:
    """A FLAC or Ogg file, written by libsndfile."""

    def __init__(self, file: BinaryIO, suffix: str, rate: int) -> None:
        kind, subtype = FILE_FORMATS[suffix]
        self._target, self._label = _Target(file), label_of(file)
        try:
            self._file = soundfile.SoundFile(
                self._target, "w", rate, 1, format=kind, subtype=subtype
            )
        except soundfile.LibsndfileError as error:
            raise self._failure(error) from None

    def write(self, samples: F32) -> None:
        """Write samples."""
        try:
            for start in range(0, samples.size, _PIECE):
                self._file.write(samples[start : start + _PIECE])
        # soundfile asserts that libsndfile wrote all samples.
        except (soundfile.LibsndfileError, AssertionError) as error:
            raise self._failure(error) from None
        self._target.check()

    def close(self) -> None:
        """Finish the file."""
        try:
            self._file.close()
        except soundfile.LibsndfileError as error:
            raise self._failure(error) from None
        self._target.check()

    def _failure(self, error: Exception) -> AudioError:
        """Return libsndfile's error with the file's name; raise the file's own error instead."""
        self._target.check()
        return AudioError(f"{self._label}: cannot be written ({libsndfile_reason(error)})")

    def discard(self) -> None:
        """End libsndfile's use of the file, before it is closed."""
        self._target.closed = True
        with suppress(soundfile.LibsndfileError):
            self._file.close()


class _Target:
    """A file for libsndfile, which reports no reason of an error: this class keeps it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None
        self.closed = False

    def write(self, data: bytes) -> int:
        if self._error is None and not self.closed:
            try:
                return self._file.write(data)
            # No exception passes through libsndfile.
            except Exception as error:
                self._error = error
        return 0

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if self._error is None and not self.closed:
            try:
                return self._file.seek(offset, whence)
            except Exception as error:
                self._error = error
        return 0

    def tell(self) -> int:
        return 0 if self._error or self.closed else self._file.tell()

    def check(self) -> None:
        if self._error is not None:
            raise self._error


class StreamOutput:
    """Bare samples, or a WAV of unknown length, to a pipe or file."""

    def __init__(self, file: BinaryIO, raw: str | None, rate: int) -> None:
        self._file = file
        self._dtype = RAW_FORMATS[raw or "s16le"]
        self._wav = None
        if raw is None and _can_seek(file):
            self._wav = wav.WavWriter(file, rate)
        elif raw is None:
            # The largest sizes stand for an unknown length.
            file.write(wav.header(rate, wav.MAX_SIZE, wav.MAX_SIZE))

    def write(self, samples: F32) -> None:
        """Write samples and flush them."""
        values: Any = wav.to_pcm16(samples) if self._dtype.kind == "i" else samples
        if self._wav is not None:
            self._wav.write(values)
        else:
            self._file.write(values.astype(self._dtype).tobytes())
        self._file.flush()

    def close(self) -> None:
        """Write the length into the WAV header, where the file can seek."""
        if self._wav is not None:
            self._wav.finish()
        self._file.flush()

    def discard(self) -> None:
        """Do nothing: nothing is held."""


def _can_seek(file: BinaryIO) -> bool:
    """Return whether the header can be changed at the end: not in a pipe, nor after ``>>``."""
    return is_regular(file) and not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND
