"""Input of sound in blocks: files, pipes, bare samples."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import numpy as np

from fcs_edge.arguments import as_integer
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.audio.sound_files import open_file
from fcs_edge.audio.sound_input import MAX_RATE as MAX_RATE
from fcs_edge.audio.sound_input import MIN_RATE as MIN_RATE
from fcs_edge.audio.sound_input import PIPE_BYTES, Request
from fcs_edge.audio.sound_input import AudioInput as AudioInput
from fcs_edge.audio.sound_input import Channel as Channel
from fcs_edge.audio.sound_pipes import open_pipe
from fcs_edge.audio.stored_samples import frames as stored_frames
from fcs_edge.errors import AudioError, AudioWarning
from fcs_edge.model.layers import F32, new

RAW_FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


@contextmanager
def open_input(
    path: str,
    raw: str | None,
    rate: int,
    channels: int,
    *,
    channel: Channel = "mean",
    strict: bool = False,
    resampler: str = DEFAULT_RESAMPLER,
) -> Iterator[AudioInput]:
    """Open a sound file, a sound on a pipe, or bare samples.

    Parameters
    ----------
    path : str
        A file's path, or ``-`` for standard input.
    raw : str or None
        One of `RAW_FORMATS`, for bare samples of `rate` and `channels`.
    rate, channels : int
        Of bare samples: rate in Hz, and interleaved channels.
    channel : int or "mean"
        The channel to read, from 1; or the mean of all channels.
    strict : bool
        Whether missing sound is an error, here or while the blocks are read.
    resampler : str
        What `AudioInput.at_rate` resamples with: one of `RESAMPLERS`.

    Raises
    ------
    AudioError
        The file is missing, is no sound, or has no such channel.
    """
    request = Request(path, channel, strict, resampler)
    with _open_bytes(path) as file, ExitStack() as stack:
        source = ByteSource(file, _size(file))
        if raw is not None:
            yield _bare(request, source, raw, rate, channels)
        elif not source.peek(1):
            raise AudioError(f"{request.label}: not a readable sound file: it is empty")
        elif source.size is None:
            yield open_pipe(request, source, stack)
        else:
            yield open_file(request, source, file, stack)


def read_audio(
    path: str | os.PathLike[str],
    *,
    rate: int = 16000,
    channel: Channel = "mean",
    strict: bool = False,
    resampler: str = DEFAULT_RESAMPLER,
) -> F32:
    """Read a sound file as ``fcs-edge encode`` does, to the bit.

    Parameters
    ----------
    path : str or path
        A sound file of any rate and channels.
    rate : int
        Sample rate of the result in Hz: `Codec.sample_rate_in` of the codec that encodes it.
    channel : int or "mean"
        The channel to read, from 1; or the mean of all channels.
    strict : bool
        Whether a file that is cut or damaged is an error.
    resampler : str
        What brings the file to `rate`: "soxr", or "torchaudio" for the samples of a PyTorch
        pipeline.

    Returns
    -------
    numpy.ndarray
        (n,) float32 in [-1, 1].

    Raises
    ------
    fcs_edge.AudioError
        The file is missing, is no sound, holds none, or has no such channel.
    ValueError
        The rate or the channel is out of range, or there is no such resampler.
    TypeError
        The rate is no integer.

    Warns
    -----
    fcs_edge.AudioWarning
        Sound is missing, channels cancel, or samples are far beyond 1, NaN or infinite.
    """
    if not MIN_RATE <= (rate := as_integer(rate, "rate")) <= MAX_RATE:
        raise ValueError(f"a rate of {MIN_RATE} to {MAX_RATE} Hz is expected, not {rate}")
    how: dict[str, Any] = {"channel": channel, "strict": strict, "resampler": resampler}
    with open_input(os.fspath(path), None, rate, 1, **how) as sound:
        signal = np.concatenate([new(0), *sound.at_rate(rate)])
    sound.require_sound(signal.size)
    for line in (*sound.losses, *sound.warnings):
        warnings.warn(line, AudioWarning, stacklevel=2)
    return signal


def _bare(request: Request, source: ByteSource, raw: str, rate: int, channels: int) -> AudioInput:
    """Return bare samples."""
    kind = {"s16le": "i2", "f32le": "f4"}[raw]
    width = RAW_FORMATS[raw].itemsize * channels
    seconds = None if source.size is None else source.size / width / rate
    sound = request.input(rate, channels, seconds)

    def pieces() -> Iterator[bytes]:
        n = 0
        while data := source.read_some(PIPE_BYTES):
            n += len(data)
            yield data
        if n % width:
            sound.remark(f"the last {n % width} bytes are no whole sample of {width} bytes")

    sound.read(stored_frames(pieces(), kind, "<", channels))
    return sound


def _size(file: BinaryIO) -> int | None:
    """Return the bytes that follow in a file on disk; None for a pipe or a device."""
    try:
        status = os.fstat(file.fileno())
        return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None


@contextmanager
def _open_bytes(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        if sys.stdin is None:
            raise AudioError("standard input is closed")
        yield sys.stdin.buffer
        return
    if os.path.isdir(path):
        raise AudioError(f"{path}: is a folder; give a sound file")
    if not os.path.exists(path):
        raise AudioError(f"{path}: no such file")
    with open(path, "rb") as file:
        yield file
