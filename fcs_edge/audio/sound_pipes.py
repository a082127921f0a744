"""Sound on pipes: uncompressed containers and Ogg, read as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from fcs_edge.audio import foreign, library
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.chunk_list import TailFilter
from fcs_edge.audio.header import DamagedHeader, SoundHeader, read_header
from fcs_edge.audio.ogg_pipe import OggPipe
from fcs_edge.audio.sound_input import PIPE_BYTES, REST_BYTES, AudioInput, Request, duration
from fcs_edge.audio.stored_samples import frames as stored_frames
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32

_ENDLESS = 1 << 62


def open_pipe(request: Request, source: ByteSource, stack: ExitStack) -> AudioInput:
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
            f"a pipe; {foreign.RAW_ADVICE}"
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
    while left and (data := source.read_some(min(PIPE_BYTES, left))):
        left -= len(data)
        yield tail.feed(data) if tail else data
    if tail:
        yield tail.end() if left else tail.rest()
    if left and not header.is_open:
        text = f"ends {duration(header.seconds(left))} before its header says"
        if sound.strict:
            sound.lose(text)
        sound.remark(text)
    if not left:
        rest = _drain(source, header)
        sound.check_rest(header, len(rest), rest)


def _drain(source: ByteSource, header: SoundHeader) -> bytes:
    """Return what has arrived after the sound and its padding.

    A writer whose last chunks nobody reads may fail.
    """
    data = b""
    while len(data) < REST_BYTES and source.is_ready():
        if not (piece := source.read_some(PIPE_BYTES)):
            break
        data += piece
    return data[header.form.padding(header.stated) if header.form else 0 :]


def _ogg_pipe(request: Request, source: ByteSource, stack: ExitStack) -> AudioInput:
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
        sound.check_end(n, None, reason, pipe.pages.problem)

    sound.read(blocks())
    return sound
