"""Sound in files: uncompressed containers, and what libsndfile decodes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import BinaryIO, TypeAlias

import soundfile

from fcs_edge.audio import endings, foreign, library
from fcs_edge.audio.byte_source import ByteSource, FileBytes, FilePart
from fcs_edge.audio.chunk_list import list_start
from fcs_edge.audio.endings import OggPages
from fcs_edge.audio.header import DamagedHeader, SoundHeader, read_header
from fcs_edge.audio.sound_input import (
    ANOTHER,
    BLOCK_SAMPLES,
    FILE_SECONDS,
    PIPE_BYTES,
    REST_BYTES,
    AudioInput,
    CannotSeekError,
    Request,
    duration,
)
from fcs_edge.audio.stored_samples import frames as stored_frames
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32

_TAIL_BYTES = 1 << 25
_MP3_FRAME = 1152
_MAX_SIZE = 0xFFFFFFFE
_SEEKABLE = ("FLAC", "NIST")
"""Formats of libsndfile where a seek is exact: what is read after it does not depend on it."""

File: TypeAlias = BinaryIO | FilePart


def open_file(request: Request, source: ByteSource, file: File, stack: ExitStack) -> AudioInput:
    """Return what a file holds, or a part of one."""
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


def _stored_file(request: Request, source: ByteSource, header: SoundHeader) -> AudioInput:
    """Return the samples of a file that stores them uncompressed."""
    n_bytes = _sound_bytes(source, header)
    sound = request.input(header.rate, header.channels, header.seconds(n_bytes))
    _check_size(sound, source, header, n_bytes)
    frames = max(min(round(FILE_SECONDS * header.rate), BLOCK_SAMPLES // header.channels), 1)

    def pieces(start: int) -> Iterator[bytes]:
        source.seek(header.start + start)
        left = n_bytes - start
        while left > 0 and (data := source.read(min(frames * header.frame_bytes, left))):
            left -= len(data)
            yield data
        if left > 0:
            sound.lose("became shorter while it was read")

    def seek(frame: int) -> Iterator[F32]:
        assert header.kind is not None
        data = pieces(frame * header.frame_bytes)
        return stored_frames(data, header.kind, header.order, header.channels)

    sound.seek, sound.is_stored = seek, True
    sound.read(seek(0))
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
        sound.cut_bytes = n_bytes, header.stated
        what = f"{duration(missing)} before" if known else "before the place that"
        sound.lose(f"ends {what} its header says")
    elif n_bytes != header.stated and n_bytes and not header.may_be_open:
        sound.remark("its header states no length; it is read to its end")
    elif n_bytes == header.stated:
        padding = header.form.padding(n_bytes) if header.form else 0
        rest = source.size - header.start - n_bytes - padding
        source.seek(header.start + n_bytes + padding)
        sound.check_rest(header, rest, source.read(REST_BYTES))


def _library_file(
    request: Request,
    source: ByteSource,
    file: File,
    header: SoundHeader | None,
    stack: ExitStack,
) -> AudioInput:
    """Return the sound of a file that libsndfile decodes."""
    opened: int | FilePart | library.PatchedFile
    opened = file if isinstance(file, FilePart) else file.fileno()
    if opened == 2:
        # Standard error is closed. While the library works, its descriptor is another file's.
        opened = os.dup(opened)
        stack.callback(os.close, opened)
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
    quiet, printed = not isinstance(opened, library.PatchedFile), list[str]()
    decoder = stack.enter_context(
        library.open_library(opened, request.label, quiet=quiet, printed=printed)
    )
    if not isinstance(file, FilePart):
        n_frames, problem = _ending(decoder, FileBytes(file.fileno()))
    else:
        n_frames, problem = file.ending = file.ending or _ending(decoder, file.bytes())
    if sound is None:
        sound = request.input(decoder.samplerate, decoder.channels, None)
    sound.printed = printed
    if n_frames:
        sound.seconds = n_frames / sound.rate
        if decoder.format in _SEEKABLE:
            sound.seek = partial(_decoded_from, decoder, sound, n_frames, problem)
    sound.read(_library_blocks(decoder, sound, n_frames, problem))
    return sound


def _decoded_from(
    decoder: library.Decoder, sound: AudioInput, n_frames: int, problem: str | None, frame: int
) -> Iterator[F32]:
    """Return what a decoder gives from a sample on."""
    try:
        decoder.seek(min(frame, n_frames))
    except soundfile.LibsndfileError as error:
        raise CannotSeekError from error
    return _library_blocks(decoder, sound, n_frames, problem, frame)


def _library_blocks(
    decoder: library.Decoder,
    sound: AudioInput,
    n_frames: int | None,
    problem: str | None,
    n: int = 0,
) -> Iterator[F32]:
    """Yield what a decoder gives, from sample `n` on; note what is missing at its end."""
    frames = min(round(FILE_SECONDS * sound.rate), BLOCK_SAMPLES // sound.channels)
    reason = None
    try:
        for block in library.read_blocks(decoder, frames, sound.printed):
            if decoder.format == "FLAC" and n_frames:
                # After the sound, libsndfile fills the block where another one follows.
                block = block[: max(n_frames - n, 0)]
            n += len(block)
            yield block
    except library.Damage as error:
        reason = str(error)
    sound.check_end(n, n_frames, reason, problem)


def _ending(decoder: library.Decoder, data: FileBytes) -> tuple[int | None, str | None]:
    """Return the samples that a file states, and what is wrong with its end."""
    if decoder.format == "OGG":
        pages = OggPages()
        for at in range(0, len(data), PIPE_BYTES):
            pages.feed(data[at : at + PIPE_BYTES])
        return None, pages.problem
    if "MPEG" not in decoder.subtype:
        cut = endings.ends_within_a_block(data)
        stated = endings.stated_frames(data) or library.stated_frames(decoder)
        if decoder.format == "FLAC" and endings.flac_holds_another_sound(data):
            return stated, ANOTHER
        return stated, "is cut: it ends within a block" if cut else None
    if decoder.format != "MP3":
        return None, None
    cut = endings.mp3_ends_within_a_frame(data)
    stated = library.stated_frames(decoder) if endings.mp3_states_its_length(data) else None
    if stated and not cut:
        # Some encoders count the frame that holds the count.
        stated -= _MP3_FRAME
    if stated and endings.mp3_holds_another_sound(data):
        return stated, ANOTHER
    return stated, "is cut: it ends within a frame" if cut else None
