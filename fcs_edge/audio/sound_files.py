"""Sound in files: uncompressed containers, and what libsndfile decodes."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from fcs_edge.audio import endings, foreign, library
from fcs_edge.audio.byte_source import ByteSource, FileBytes
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
    Request,
    duration,
)
from fcs_edge.audio.stored_samples import frames as stored_frames
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32

_TAIL_BYTES = 1 << 25
_MP3_FRAME = 1152
_MAX_SIZE = 0xFFFFFFFE


def open_file(request: Request, source: ByteSource, file: BinaryIO, stack: ExitStack) -> AudioInput:
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


def _stored_file(request: Request, source: ByteSource, header: SoundHeader) -> AudioInput:
    """Return the samples of a file that stores them uncompressed."""
    n_bytes = _sound_bytes(source, header)
    sound = request.input(header.rate, header.channels, header.seconds(n_bytes))
    _check_size(sound, source, header, n_bytes)
    source.seek(header.start)
    frames = max(min(round(FILE_SECONDS * header.rate), BLOCK_SAMPLES // header.channels), 1)

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
    file: BinaryIO,
    header: SoundHeader | None,
    stack: ExitStack,
) -> AudioInput:
    """Return the sound of a file that libsndfile decodes."""
    opened: int | library.PatchedFile = file.fileno()
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
    decoder = stack.enter_context(
        library.open_library(opened, request.label, quiet=isinstance(opened, int))
    )
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
    frames = min(round(FILE_SECONDS * sound.rate), BLOCK_SAMPLES // sound.channels)
    n, reason = 0, None
    try:
        for block in library.read_blocks(decoder, frames):
            if decoder.format == "FLAC" and n_frames:
                # After the sound, libsndfile fills the block where another one follows.
                block = block[: max(n_frames - n, 0)]
            n += len(block)
            yield block
    except library.Damage as error:
        reason = str(error)
    sound.check_end(n, n_frames, reason, problem)


def _ending(decoder: library.Decoder, file: BinaryIO) -> tuple[int | None, str | None]:
    """Return the samples that a file states, and what is wrong with its end."""
    data = FileBytes(file.fileno())
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
