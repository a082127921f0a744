"""Input of sound in blocks: files, pipes, bare samples."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from fcs_edge.audio import endings, foreign, library
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.chunk_list import TailFilter, list_start
from fcs_edge.audio.endings import OggPages
from fcs_edge.audio.header import DamagedHeader, SoundHeader, read_header
from fcs_edge.audio.library import libsndfile_reason as libsndfile_reason
from fcs_edge.audio.ogg_pipe import OggPipe
from fcs_edge.audio.stored_samples import frames as stored_frames
from fcs_edge.errors import AudioError, AudioWarning
from fcs_edge.full_scale import beyond_full_scale
from fcs_edge.model.layers import F32, new

RAW_FORMATS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}

Channel: TypeAlias = int | Literal["mean"]
"""The channel to read, from 1, or the mean of all."""

_PIPE_BYTES = 1 << 16
_TAIL_BYTES = 1 << 25
_DRAIN_BYTES = 1 << 20
_ENDLESS = 1 << 62
_MP3_FRAME = 1152
_MAX_SIZE = 0xFFFFFFFE
_FILE_SECONDS = 1.0
_BLOCK_SAMPLES = 1 << 20
_CANCELLED = 100.0
"""Energy of the louder channel over that of the mean: 20 dB."""
MIN_RATE, MAX_RATE = 1000, 1_000_000


@dataclass
class AudioInput:
    """A sound that is being read.

    What is odd and what is missing is complete once the blocks are read to their end.
    """

    label: str
    """The file's path, or ``standard input``."""
    rate: int
    channels: int
    seconds: float | None
    """Duration, where it is known in advance."""
    channel: Channel
    """The channel that is read, from 1, or the mean of all."""
    strict: bool
    """Whether missing sound is an error."""
    blocks: Iterator[F32] = field(default_factory=lambda: iter(()))
    """(n,) float32, one channel or the mean."""
    n_not_finite: int = 0
    """Samples so far that were NaN or infinite; they are read as 0."""
    peak: float = 0.0
    """Largest magnitude so far."""
    losses: list[str] = field(default_factory=list)
    """What sound is missing, a line each."""
    _remarks: list[str] = field(default_factory=list)
    _energies: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _mean_energy: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What is odd but loses no sound, a line each."""
        lines = list(self._remarks)
        if self.n_not_finite:
            lines.append(f"{self.n_not_finite} samples are NaN or infinite; they are encoded as 0")
        if self._energies.size and self._energies.max() > _CANCELLED * self._mean_energy:
            lines.append(
                f"the mean of the {self.channels} channels has {self._loss_decibels():.0f} dB less "
                "energy than the louder channel: they cancel; --channel 1 takes one"
            )
        if line := beyond_full_scale(self.peak):
            lines.append(line)
        return lines

    def at_rate(self, rate: int) -> Iterator[F32]:
        """Yield the blocks, finite and resampled to `rate`, (n,) float32."""
        if self.rate == rate:
            yield from self._finite()
            return
        stream = soxr.ResampleStream(self.rate, rate, 1, dtype="float32", quality="VHQ")
        for block in self._finite():
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    def remark(self, text: str) -> None:
        """Note what is odd but loses no sound."""
        self._remarks.append(f"{self.label}: {text}")

    def lose(self, text: str) -> None:
        """Note that sound is missing; of a strict input, raise AudioError."""
        if self.strict:
            raise AudioError(f"{self.label}: {text}")
        self.losses.append(f"{self.label}: {text}")

    def require_sound(self, n_samples: int) -> None:
        """Raise AudioError where no sample was read."""
        if not n_samples:
            raise AudioError(self.losses[0] if self.losses else f"{self.label}: holds no sound")

    def read(self, blocks: Iterable[F32]) -> None:
        """Read from blocks of (n, channels) float32."""
        self.blocks = map(self._one_channel, blocks)

    def _one_channel(self, block: F32) -> F32:
        if self.channel != "mean" or block.shape[1] == 1:
            return np.ascontiguousarray(block[:, 0 if self.channel == "mean" else self.channel - 1])
        with np.errstate(over="ignore", invalid="ignore"):
            mean: F32 = block.mean(axis=1, dtype=np.float64).astype(np.float32)
            energies = np.nan_to_num(np.einsum("ij,ij->j", block, block), posinf=0.0)
            energy = float(np.dot(mean, mean))
        if not self._energies.size:
            self._energies = np.zeros(self.channels)
        self._energies += energies
        self._mean_energy += energy if np.isfinite(energy) else 0.0
        return mean

    def _loss_decibels(self) -> float:
        return 10 * float(np.log10(self._energies.max() / max(self._mean_energy, 1e-20)))

    def _finite(self) -> Iterator[F32]:
        # A resampler spreads one NaN over the length of its filter.
        for block in self.blocks:
            finite = np.isfinite(block)
            if not finite.all():
                self.n_not_finite += int(finite.size - finite.sum())
                block = np.where(finite, block, np.float32(0))
            if block.size:
                self.peak = max(self.peak, float(block.max()), -float(block.min()))
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

    Raises
    ------
    AudioError
        The file is missing, is no sound, or has no such channel.
    """
    request = _Request(path, channel, strict)
    with _open_bytes(path) as file, ExitStack() as stack:
        source = ByteSource(file, _size(file))
        if raw is not None:
            yield _bare(request, source, raw, rate, channels)
        elif not source.peek(1):
            raise AudioError(
                f"{request.label}: not a readable sound file (it is empty); "
                "for bare samples give --raw and --rate"
            )
        elif source.size is None:
            yield _pipe(request, source, stack)
        else:
            yield _file(request, source, file, stack)


def read_audio(
    path: str | os.PathLike[str],
    *,
    rate: int = 16000,
    channel: Channel = "mean",
    strict: bool = False,
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

    Returns
    -------
    numpy.ndarray
        (n,) float32 in [-1, 1].

    Raises
    ------
    fcs_edge.AudioError
        The file is missing, is no sound, holds none, or has no such channel.
    ValueError
        The rate or the channel is out of range.

    Warns
    -----
    fcs_edge.AudioWarning
        Sound is missing, channels cancel, or samples are far beyond 1, NaN or infinite.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a rate of {MIN_RATE} to {MAX_RATE} Hz is expected, not {rate}")
    with open_input(os.fspath(path), None, rate, 1, channel=channel, strict=strict) as sound:
        signal = np.concatenate([new(0), *sound.at_rate(rate)])
    sound.require_sound(signal.size)
    for line in (*sound.losses, *sound.warnings):
        warnings.warn(line, AudioWarning, stacklevel=2)
    return signal


@dataclass(frozen=True)
class _Request:
    """What the caller asks for."""

    path: str
    channel: Channel
    strict: bool

    def __post_init__(self) -> None:
        """Refuse a channel that no sound has."""
        if self.channel != "mean" and (not isinstance(self.channel, int) or self.channel < 1):
            raise ValueError(f"a channel is a number from 1, or 'mean'; not {self.channel!r}")

    @property
    def label(self) -> str:
        return "standard input" if self.path == "-" else self.path

    def input(self, rate: int, channels: int, seconds: float | None) -> AudioInput:
        """Return an input without blocks; refuse a rate or a channel that cannot be."""
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError(
                f"{self.label}: a sample rate of {rate} Hz is not supported; "
                f"{MIN_RATE} to {MAX_RATE} are"
            )
        if self.channel != "mean" and self.channel > channels:
            has = "has 1 channel" if channels == 1 else f"has {channels} channels"
            raise AudioError(f"{self.label}: {has}; there is no channel {self.channel}")
        return AudioInput(self.label, rate, channels, seconds, self.channel, self.strict)


def _bare(request: _Request, source: ByteSource, raw: str, rate: int, channels: int) -> AudioInput:
    """Return bare samples."""
    kind = {"s16le": "i2", "f32le": "f4"}[raw]
    width = RAW_FORMATS[raw].itemsize * channels
    seconds = None if source.size is None else source.size / width / rate
    sound = request.input(rate, channels, seconds)

    def pieces() -> Iterator[bytes]:
        n = 0
        while data := source.read_some(_PIPE_BYTES):
            n += len(data)
            yield data
        if n % width:
            sound.remark(f"the last {n % width} bytes are no whole sample of {width} bytes")

    sound.read(stored_frames(pieces(), kind, "<", channels))
    return sound


def _pipe(request: _Request, source: ByteSource, stack: ExitStack) -> AudioInput:
    """Return what a pipe holds, read as it arrives."""
    head = source.peek(4)
    if head == b"OggS":
        return _ogg_pipe(request, source, stack)
    problem = foreign.unstreamed(source.peek(foreign.NAME_BYTES))
    try:
        header = None if problem else read_header(source)
    except DamagedHeader as error:
        raise AudioError(f"{request.label}: not a readable sound file ({error})") from None
    if header is None:
        problem = problem or foreign.recognise(source.peek(foreign.HEAD_BYTES), None)
        raise AudioError(
            f"{request.label}: {problem}"
            if problem
            else f"{request.label}: not a readable sound file; {foreign.STREAMING} are read from "
            "a pipe; for bare samples give --raw and --rate"
        )
    if header.kind is None:
        name = f"{header.container} with compressed samples"
        raise AudioError(f"{request.label}: {foreign.cannot_stream(name)}")
    sound = request.input(header.rate, header.channels, None)
    pieces = _pipe_bytes(source, header, sound)
    sound.read(stored_frames(pieces, header.kind, header.order, header.channels))
    return sound


def _pipe_bytes(source: ByteSource, header: SoundHeader, sound: AudioInput) -> Iterator[bytes]:
    """Yield the sound on a pipe, without the chunks that follow it.

    A pipe's header may state any size, as its writer cannot know how long it will write.
    """
    tail = TailFilter(header.form) if header.form else None
    left = _ENDLESS if header.is_open else header.stated
    while left and (data := source.read_some(min(_PIPE_BYTES, left))):
        left -= len(data)
        yield tail.feed(data) if tail else data
    if tail:
        yield tail.end() if left else tail.rest()
    if left and not header.is_open:
        text = f"ends {_duration(header.seconds(left))} before its header says"
        if sound.strict:
            sound.lose(text)
        sound.remark(text)
    for _ in range(_DRAIN_BYTES // _PIPE_BYTES):
        # A writer whose last chunks nobody reads would fail.
        if left or not source.read_some(_PIPE_BYTES):
            break


def _ogg_pipe(request: _Request, source: ByteSource, stack: ExitStack) -> AudioInput:
    pipe = OggPipe(source, request.label)
    stack.callback(pipe.close)
    stated = pipe.open()
    sound = request.input(stated.samplerate, stated.channels, None)

    def blocks() -> Iterator[F32]:
        n, reason = 0, None
        try:
            for block in pipe.blocks():
                n += len(block)
                yield block
        except library.Damage as error:
            reason = str(error)
        _check_end(sound, n, None, reason, _ogg_problem(pipe.pages))

    sound.read(blocks())
    return sound


def _file(request: _Request, source: ByteSource, file: BinaryIO, stack: ExitStack) -> AudioInput:
    """Return what a file holds."""
    try:
        header = read_header(source)
    except DamagedHeader:
        # libsndfile may know better, or says what is wrong.
        header = None
    if header is not None and header.kind is not None:
        return _stored_file(request, source, header)
    if header is None:
        source.seek(0)
        known = None if request.path == "-" else request.path
        if problem := foreign.recognise(source.peek(foreign.HEAD_BYTES), known):
            raise AudioError(f"{request.label}: {problem}")
    return _library_file(request, source, file, header, stack)


def _stored_file(request: _Request, source: ByteSource, header: SoundHeader) -> AudioInput:
    """Return the samples of a file that stores them uncompressed."""
    n_bytes = _sound_bytes(source, header)
    sound = request.input(header.rate, header.channels, header.seconds(n_bytes))
    _check_size(sound, source, header, n_bytes)
    source.seek(header.start)
    frames = max(min(round(_FILE_SECONDS * header.rate), _BLOCK_SAMPLES // header.channels), 1)

    def pieces() -> Iterator[bytes]:
        left = n_bytes
        while left and (data := source.read(min(frames * header.frame_bytes, left))):
            left -= len(data)
            yield data
        if left:
            sound.lose("became shorter while it was read")

    assert header.kind is not None
    sound.read(stored_frames(pieces(), header.kind, header.order, header.channels))
    return sound


def _sound_bytes(source: ByteSource, header: SoundHeader) -> int:
    """Return the bytes of sound in a file, without the chunks that follow it."""
    assert source.size is not None
    there = source.size - header.start
    if 0 < header.stated <= there:
        return header.stated
    if header.form is None:
        return there
    start = max(there - _TAIL_BYTES, 0)
    source.seek(header.start + start)
    return start + list_start(source.read(there - start), header.form)


def _check_size(sound: AudioInput, source: ByteSource, header: SoundHeader, n_bytes: int) -> None:
    """Note what a file lacks that its header states, or holds beyond it."""
    assert source.size is not None
    if n_bytes < header.stated and not header.is_open:
        missing = header.seconds(header.stated) - header.seconds(n_bytes)
        known = header.kind or header.codec_rate
        what = f"{_duration(missing)} before" if known else "before the place that"
        sound.lose(f"ends {what} its header says")
    elif n_bytes != header.stated and n_bytes and not header.may_be_open:
        sound.remark("its header states no length; it is read to its end")
    elif n_bytes == header.stated:
        padding = header.form.padding(n_bytes) if header.form else 0
        rest = source.size - header.start - n_bytes - padding
        source.seek(header.start + n_bytes + padding)
        name = source.read(4)
        is_chunk = header.form is not None and name.isascii() and name.decode().isprintable()
        if header.seconds(rest) >= 1 and not is_chunk and any(name):
            sound.remark(f"{rest} bytes follow the sound that its header states; they are not read")


def _library_file(
    request: _Request,
    source: ByteSource,
    file: BinaryIO,
    header: SoundHeader | None,
    stack: ExitStack,
) -> AudioInput:
    """Return the sound of a file that libsndfile decodes."""
    opened: int | library.PatchedFile = file.fileno()
    sound = None
    if header is not None:
        n_bytes = _sound_bytes(source, header)
        sound = request.input(header.rate, header.channels, None)
        _check_size(sound, source, header, n_bytes)
        if header.is_open and header.size_field is not None:
            at, form = header.size_field
            opened = library.PatchedFile(file, at, struct.pack(form, min(n_bytes, _MAX_SIZE)))
    source.seek(0)
    if isinstance(opened, int):
        os.lseek(opened, file.tell(), os.SEEK_SET)
    decoder = stack.enter_context(library.open_library(opened, request.label))
    n_frames, problem = _ending(decoder, file)
    if sound is None:
        sound = request.input(decoder.samplerate, decoder.channels, None)
    if n_frames:
        sound.seconds = n_frames / sound.rate
    sound.read(_library_blocks(decoder, sound, n_frames, problem))
    return sound


def _library_blocks(
    decoder: library.Decoder, sound: AudioInput, n_frames: int | None, problem: str | None
) -> Iterator[F32]:
    """Yield what a decoder gives; note what is missing at its end."""
    frames = min(round(_FILE_SECONDS * sound.rate), _BLOCK_SAMPLES // sound.channels)
    n, reason = 0, None
    try:
        for block in library.read_blocks(decoder, frames):
            n += len(block)
            yield block
    except library.Damage as error:
        reason = str(error)
    _check_end(sound, n, n_frames, reason, problem)


def _check_end(
    sound: AudioInput, n: int, stated: int | None, reason: str | None, problem: str | None
) -> None:
    """Note whether a decoder stopped before its input's end.

    Parameters
    ----------
    sound : AudioInput
        The input.
    n, stated : int
        Samples of each channel that were decoded, and that the header states.
    reason : str or None
        Why the decoder stopped.
    problem : str or None
        What is wrong with the end of the file.
    """
    why = f" ({reason})" if reason else ""
    if stated is not None and n < stated:
        sound.lose(f"ends {_duration((stated - n) / sound.rate)} before its header says{why}")
    elif reason:
        sound.lose(f"is damaged after {n / sound.rate:.2f} s{why}")
    elif problem:
        sound.lose(problem)


def _ending(decoder: library.Decoder, file: BinaryIO) -> tuple[int | None, str | None]:
    """Return the samples that a file states, and what is wrong with its end."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if decoder.format == "OGG":
            pages = OggPages()
            for at in range(0, len(data), _PIPE_BYTES):
                pages.feed(data[at : at + _PIPE_BYTES])
            return None, _ogg_problem(pages)
        if "MPEG" not in decoder.subtype:
            cut = endings.ends_within_a_block(data)
            stated = endings.stated_frames(data) or library.stated_frames(decoder)
            return stated, "is cut: it ends within a block" if cut else None
        if decoder.format != "MP3":
            return None, None
        cut = endings.mp3_ends_within_a_frame(data)
        stated = library.stated_frames(decoder) if endings.mp3_states_its_length(data) else None
        if stated and not cut:
            # Some encoders count the frame that holds the count.
            stated -= _MP3_FRAME
        return stated, "is cut: it ends within a frame" if cut else None


def _ogg_problem(pages: OggPages) -> str | None:
    if pages.n_links > 1:
        return f"holds {pages.n_links} streams one after the other; only the first is read"
    return None if pages.is_whole else "is cut: the mark of its end is missing"


def _duration(seconds: float) -> str:
    return f"{max(seconds, 0.01):.2f} s"


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
