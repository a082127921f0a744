"""Input of sound in blocks: files, pipes, bare samples."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
import soundfile
import soxr

from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32, new

RAW_FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}

Channel: TypeAlias = int | Literal["mean"]
"""The channel to read, from 1, or the mean of all."""

_LIVE_SECONDS = 0.02
_FILE_SECONDS = 1.0
_BLOCK_SAMPLES = 1 << 20
MIN_RATE, MAX_RATE = 1000, 1_000_000


@dataclass
class AudioInput:
    """A sound that is being read."""

    rate: int
    channels: int
    seconds: float | None
    """Duration, where it is known in advance."""
    blocks: Iterator[F32]
    """(n,) float32, channels averaged."""
    n_not_finite: int = 0
    """Samples so far that were NaN or infinite; they are read as 0."""
    warnings: list[str] = field(default_factory=list)
    """What is odd but loses no sound, a line each; complete once the blocks are read."""
    losses: list[str] = field(default_factory=list)
    """What sound is missing, a line each; complete once the blocks are read."""

    def at_rate(self, rate: int) -> Iterator[F32]:
        """Yield the blocks, finite and resampled to `rate`, (n,) float32."""
        if self.rate == rate:
            yield from self._finite()
            return
        stream = soxr.ResampleStream(self.rate, rate, 1, dtype="float32", quality="VHQ")
        for block in self._finite():
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    def _finite(self) -> Iterator[F32]:
        # A resampler spreads one NaN over the length of its filter.
        for block in self.blocks:
            finite = np.isfinite(block)
            if not finite.all():
                self.n_not_finite += int(finite.size - finite.sum())
                block = np.where(finite, block, np.float32(0))
            yield block


@contextmanager
def open_input(
    path: str,
    raw: str | None,
    rate: int,
    channels: int,
    *,
    channel: Channel = "mean",
    strict: bool = False,
) -> Iterator[AudioInput]:
    """Open a sound file, or a WAV or bare samples on standard input.

    Parameters
    ----------
    path : str
        A file's path, or ``-``.
    raw : str or None
        One of `RAW_FORMATS`, for bare samples of `rate` and `channels`.
    rate, channels : int
        Of bare samples: rate in Hz, and interleaved channels.
    channel : int or "mean"
        The channel to read, from 1; or the mean of all channels.
    strict : bool
        Whether missing sound is an error, here or while the blocks are read.

    Raises
    ------
    AudioError
        The file is missing, or libsndfile does not read it.
    """
    if raw is not None:
        with _open_bytes(path) as file:
            size = None if path == "-" else os.fstat(file.fileno()).st_size
            width = RAW_FORMATS[raw].itemsize * channels
            seconds = None if size is None else size / width / rate
            yield AudioInput(rate, channels, seconds, _raw_blocks(file, raw, channels))
        return
    if path != "-" and not Path(path).exists():
        raise AudioError(f"{path}: no such file")
    if path != "-" and Path(path).is_dir():
        raise AudioError(f"{path}: is a folder; give a sound file")
    label = "standard input" if path == "-" else path
    try:
        # libsndfile reads a pipe by its descriptor; with a Python file it would seek.
        file = soundfile.SoundFile(sys.stdin.fileno() if path == "-" else path, closefd=path != "-")
    except (soundfile.LibsndfileError, TypeError) as error:
        raise AudioError(
            f"{label}: not a readable sound file ({libsndfile_reason(error)}); "
            "for bare samples give --raw and --rate"
        ) from None
    with file:
        if not MIN_RATE <= file.samplerate <= MAX_RATE:
            raise AudioError(
                f"{label}: a sample rate of {file.samplerate} Hz is not supported; "
                f"{MIN_RATE} to {MAX_RATE} are"
            )
        # A pipe's header may claim any length.
        seconds = file.frames / file.samplerate if file.seekable() else None
        block = _FILE_SECONDS if file.seekable() else _LIVE_SECONDS
        # The header may state any rate and channels: bound the memory of a block.
        frames = min(round(block * file.samplerate), _BLOCK_SAMPLES // file.channels)
        yield AudioInput(file.samplerate, file.channels, seconds, _file_blocks(file, frames, label))


def read_audio(
    path: str | os.PathLike[str],
    *,
    rate: int = 16000,
    channel: Channel = "mean",
    strict: bool = False,
) -> F32:
    """Return a sound file as the encoder's input: what ``fcs-edge encode`` encodes, to the bit."""
    with open_input(os.fspath(path), None, rate, 1, channel=channel, strict=strict) as sound:
        return np.concatenate([new(0), *sound.at_rate(rate)])


def _file_blocks(file: soundfile.SoundFile, frames: int, label: str) -> Iterator[F32]:
    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{label}: damaged ({libsndfile_reason(error)})") from None
        if block.shape[0] == 0:
            return
        yield _mean(block)


def _raw_blocks(file: BinaryIO, raw: str, channels: int) -> Iterator[F32]:
    dtype = RAW_FORMATS[raw]
    width = dtype.itemsize * channels
    rest = b""
    read = getattr(file, "read1", file.read)
    while data := read(1 << 16):
        data = rest + data
        n_bytes = len(data) // width * width
        rest = data[n_bytes:]
        samples = np.frombuffer(data, dtype, n_bytes // dtype.itemsize).reshape(-1, channels)
        values = samples.astype(np.float32)
        yield _mean(values / np.float32(32768) if raw == "s16le" else values)


def _mean(block: F32) -> F32:
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    with np.errstate(over="ignore", invalid="ignore"):
        mean: F32 = block.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mean


@contextmanager
def _open_bytes(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    if not Path(path).is_file():
        raise AudioError(f"{path}: no such file")
    with Path(path).open("rb") as file:
        yield file


def libsndfile_reason(error: Exception) -> str:
    """Return the reason in an error of libsndfile, without the file's name."""
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
