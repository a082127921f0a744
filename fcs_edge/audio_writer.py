"""Output of sound in blocks: files, pipes, bare samples."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Protocol

import soundfile

from fcs_edge import wav
from fcs_edge.audio_reader import RAW_FORMATS, libsndfile_reason
from fcs_edge.errors import AudioError
from fcs_edge.files import is_regular
from fcs_edge.model.layers import F32

FILE_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}


class AudioOutput(Protocol):
    """A sound that is being written, (n,) float32 in [-1, 1] at a time."""

    def write(self, samples: F32) -> None:
        """Write samples without delay."""

    def close(self) -> None:
        """Finish the sound."""


class FileOutput:
    """A sound file, written by libsndfile."""

    def __init__(self, path: Path, suffix: str, rate: int) -> None:
        kind, subtype = FILE_FORMATS[suffix]
        try:
            self._file = soundfile.SoundFile(path, "w", rate, 1, format=kind, subtype=subtype)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{suffix}: cannot be written ({libsndfile_reason(error)})") from None

    def write(self, samples: F32) -> None:
        """Write samples."""
        try:
            self._file.write(samples)
        # soundfile asserts that libsndfile wrote all samples.
        except (soundfile.LibsndfileError, AssertionError):
            raise AudioError("writing the sound failed: is the disk full?") from None

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class StreamOutput:
    """Bare samples, or a WAV of unknown length, to a pipe or file."""

    def __init__(self, file: BinaryIO, raw: str | None, rate: int) -> None:
        self._file = file
        self._dtype = RAW_FORMATS[raw or "s16le"]
        self._data_bytes = 0
        self._start = file.tell() if raw is None and is_regular(file) else None
        if raw is None:
            # The largest sizes stand for an unknown length.
            file.write(wav.header(rate, wav.MAX_SIZE, wav.MAX_SIZE))

    def write(self, samples: F32) -> None:
        """Write samples and flush them."""
        if self._dtype.kind == "i":
            samples = wav.to_pcm16(samples)
        data = samples.astype(self._dtype).tobytes()
        self._data_bytes += len(data)
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Write the length into the WAV header, where the file can seek."""
        if self._start is not None:
            end = self._file.tell()
            for offset, value in ((4, self._data_bytes + 36), (40, self._data_bytes)):
                self._file.seek(self._start + offset)
                self._file.write(struct.pack("<I", min(value, wav.MAX_SIZE)))
            self._file.seek(end)
        self._file.flush()
