"""Reads a ``.fcs`` bitstream piece by piece, checks its CRCs and continues after damage."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from fcs_edge.bitstream.bitpack import unpack_tokens
from fcs_edge.bitstream.crc import crc_holds
from fcs_edge.bitstream.events import (
    Damage,
    End,
    Event,
    HeaderRead,
    Tokens,
    out_of_sequence,
)
from fcs_edge.bitstream.writer import (
    BLOCK_HEAD,
    BLOCK_SYNC,
    END_BYTES,
    END_SYNC,
    HEADER_BYTES,
    Header,
    block_size,
    is_magic,
    record_size,
    tokens_in,
)
from fcs_edge.errors import BitstreamError
from fcs_edge.text import counted

__all__ = [
    "BitstreamReader",
    "Damage",
    "End",
    "Event",
    "HeaderRead",
    "Tokens",
    "read_batches",
    "read_events",
]

_SYNC = re.compile(b"[%c%c]" % (BLOCK_SYNC, END_SYNC))


class _Attempt(NamedTuple):
    """The progress of a block whose tokens were handed out before its CRC arrived."""

    verified: bool = False
    n_tokens: int = 0
    reported_to: int = 0
    """Offset of the block's end if its damage was reported, else 0."""


class BitstreamReader:
    """Turns the bytes of a ``.fcs`` file into events, in constant memory.

    It stores one full block at most, 8200 bytes. The events do not depend on how the bytes are cut
    into `feed` calls, except for the number of tokens per event if ``eager``.

    Silence never outgrows the input: at any point, tokens and silence together are no more than
    the bytes read could hold. If ``eager``, the bytes of a damaged block may count twice.

    Parameters
    ----------
    eager : bool, optional
        Hand out tokens as their bits arrive, before the CRC of their block. Otherwise, hand out
        only the tokens of blocks whose CRC matches.
    strict : bool, optional
        Raise an error at the first damage. Other events of that call are lost.
    join : Header, optional
        The header to assume if the input does not start with one. The input is then the middle of
        a stream, and reading starts at its next block.

    Attributes
    ----------
    header : Header or None
        The header, after it was read.
    ended : bool
        Whether the end record was read.
    damaged : int
        Number of `Damage` events so far.
    n_tokens : int
        Tokens handed out so far, silence included.
    joined : bool
        Whether the input starts in the middle of a stream.
    """

    def __init__(
        self, *, eager: bool = False, strict: bool = False, join: Header | None = None
    ) -> None:
        self.header: Header | None = None
        self.joined = False
        self._join = join
        self.ended = False
        self.damaged = 0
        self.n_tokens = 0
        self._eager = eager
        self._strict = strict
        self._closed = False
        self._buf = bytearray()
        self._pos = 0
        self._base = 0
        self._sequence = 0
        self._n_failed = 0
        self._steps = self._read()

    def feed(self, data: bytes) -> list[Event]:
        """Read the next bytes.

        Parameters
        ----------
        data : bytes-like
            Any number of bytes.

        Returns
        -------
        list of HeaderRead, Tokens, Damage or End
            The events that these bytes complete, in order.

        Raises
        ------
        BitstreamError
            If this is not a ``.fcs`` file that can be read; with ``strict``, if it is damaged;
            and at every call after such an error.
        ValueError
            If the reader is closed.
        """
        if self._closed:
            raise ValueError("the reader is closed")
        self._buf += data
        return self._advance()

    def close(self) -> list[Event]:
        """End the input.

        Returns
        -------
        list of HeaderRead, Tokens, Damage or End
            The remaining events.

        Raises
        ------
        BitstreamError
            As for `feed`, and if the input was shorter than a header.
        """
        self._closed = True
        return self._advance()

    def _advance(self) -> list[Event]:
        events = []
        for event in self._steps:
            if event is None:
                break
            events.append(event)
        else:
            raise BitstreamError("the .fcs reader cannot go on after an error")
        del self._buf[: self._pos]
        self._base += self._pos
        self._pos = 0
        return events

    # The generators below are one coroutine. They yield events, or None to request more bytes;
    # more bytes may come until _closed is set.

    def _read(self) -> Generator[Event | None, None, None]:
        header = yield from self._read_header()
        if self.joined and (yield from self._find_record(header)):
            self._sequence = self._buf[self._pos + 1]
        yield HeaderRead(header)
        yield from self._read_records(header)
        if self.ended and (yield from self._need(1)):
            yield self._damage(0, f"byte {self._offset}: bytes after the end record are ignored")
        while True:
            self._pos = len(self._buf)
            yield None

    def _read_header(self) -> Generator[None, None, Header]:
        while len(self._buf) < HEADER_BYTES and not self._closed and is_magic(self._buf):
            yield None
        if self._join is not None and self._buf and not is_magic(self._buf):
            self.joined, self.header = True, self._join
            return self.header
        self.header = Header.from_bytes(bytes(self._buf[:HEADER_BYTES]))
        self._pos = HEADER_BYTES
        return self.header

    def _read_records(self, header: Header) -> Generator[Event | None, None, None]:
        while not self.ended:
            start = self._offset
            attempt = _Attempt()
            if self._eager:
                attempt = yield from self._play_block(header)
            if attempt.verified:
                continue
            size = yield from self._find_record(header)
            if not size:
                yield self._cut(header, start, attempt)
                return
            if self._buf[self._pos] == END_SYNC:
                yield from self._take_end(header, start, attempt)
            else:
                yield from self._take_block(header, start, attempt)
            self._pos += size

    def _play_block(self, header: Header) -> Generator[Event | None, None, _Attempt]:
        """Hand out a block's tokens as they arrive; leave it in the buffer if its CRC fails."""
        if not (yield from self._need(BLOCK_HEAD.size)):
            return _Attempt()
        sync, sequence, count = BLOCK_HEAD.unpack_from(self._buf, self._pos)
        size = record_size(header, sync, sequence, count)
        if sync != BLOCK_SYNC or not size or sequence != self._sequence:
            return _Attempt()
        end = self._offset + size
        # Without this limit, overlapping blocks in damaged ones would replay bytes forever.
        if self._n_failed + count > end * 8 // header.bits:
            return _Attempt()
        done = 0
        while done < count:
            arrived = len(self._buf) - self._pos - BLOCK_HEAD.size
            ready = min(count, arrived * 8 // header.bits)
            if ready > done:
                yield self._tokens(header, done, ready)
                done = ready
            elif self._closed:
                break
            else:
                yield None
        complete = yield from self._need(size)
        if complete and crc_holds(self._buf[self._pos : self._pos + size]):
            self._sequence = (sequence + 1) % 256
            self._pos += size
            return _Attempt(verified=True)
        self._n_failed += done
        if not complete:
            return _Attempt(n_tokens=done)
        yield self._damage(
            0,
            f"byte {self._offset}: the CRC of a block does not match, "
            f"but its {counted(done, 'token')} were already played",
        )
        return _Attempt(n_tokens=done, reported_to=end)

    def _find_record(self, header: Header) -> Generator[None, None, int]:
        """Move to the next record that verifies; return its size, or 0 if there is none."""
        while True:
            match = _SYNC.search(self._buf, self._pos)
            self._pos = match.start() if match else len(self._buf)
            if match is None and (yield from self._need(1)):
                continue
            if not (yield from self._need(BLOCK_HEAD.size)):
                return 0
            sync, second, count = BLOCK_HEAD.unpack_from(self._buf, self._pos)
            size = record_size(header, sync, second, count)
            if (
                size
                and (yield from self._need(size))
                and crc_holds(self._buf[self._pos : self._pos + size])
            ):
                return size
            self._pos += 1

    def _take_block(
        self, header: Header, start: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        _, sequence, count = BLOCK_HEAD.unpack_from(self._buf, self._pos)
        gap = (sequence - self._sequence) % 256
        skipped = self._offset - start
        if skipped:
            full = block_size(header.block_tokens, header.bits)
            lost = min(gap, -(-skipped // full)) * header.block_tokens - attempt.n_tokens
            yield from self._skip(header, start, lost, attempt)
        elif gap:
            yield self._damage(0, f"byte {start}: {out_of_sequence(self._sequence, sequence)}")
        yield self._tokens(header, 0, count)
        self._sequence = (sequence + 1) % 256

    def _take_end(
        self, header: Header, start: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        n_samples = int.from_bytes(self._buf[self._pos + 2 : self._pos + 8], "little")
        needed = -(-n_samples // header.samples_per_token) - self.n_tokens
        skipped = self._offset - start
        if skipped:
            lost = tokens_in(header, skipped) - attempt.n_tokens
            yield from self._skip(header, start, min(lost, needed), attempt)
        elif needed > 0 and not self.damaged and not self.joined:
            yield self._damage(
                0,
                f"byte {start}: blocks are missing, {counted(needed, 'token')} by the sample count",
            )
        self.ended = True
        yield End(n_samples)

    def _skip(
        self, header: Header, start: int, lost: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        """Report the bytes from ``start`` to here, unless that is done and nothing is lost."""
        silence = self._affordable(header, lost, self._offset)
        if silence:
            what = f"damaged, replaced by {counted(silence, 'token')} of silence"
        elif self._offset <= attempt.reported_to:
            return
        elif attempt.n_tokens:
            what = f"damaged, but {counted(attempt.n_tokens, 'token')} in them were already played"
        else:
            what = "skipped, part of no record"
        size = counted(self._offset - start, "byte")
        yield self._damage(silence, f"byte {start}: {size} {what}")

    def _cut(self, header: Header, start: int, attempt: _Attempt) -> Damage:
        """Report that the input ended with no valid record from ``start`` on."""
        end = self._base + len(self._buf)
        if end == start:
            return self._damage(
                0, f"byte {end}: ended without an end record: cut, or the writer was stopped"
            )
        # A rest no longer than an end record is most likely one.
        lost = tokens_in(header, end - start) if end - start > END_BYTES else 0
        silence = self._affordable(header, lost - attempt.n_tokens, end)
        message = f"byte {end}: the stream is cut, no whole record from byte {start} on"
        if silence:
            message += f", replaced by {counted(silence, 'token')} of silence"
        return self._damage(silence, message)

    def _affordable(self, header: Header, lost: int, end: int) -> int:
        """Return as much of ``lost`` as the input up to ``end`` could have held."""
        return max(0, min(lost, end * 8 // header.bits - self.n_tokens))

    def _damage(self, n_tokens: int, message: str) -> Damage:
        if self._strict:
            raise BitstreamError(message)
        self.damaged += 1
        self.n_tokens += n_tokens
        return Damage(n_tokens, message)

    def _tokens(self, header: Header, first: int, last: int) -> Tokens:
        """Return tokens ``first`` up to ``last`` of the block at the current position."""
        start, skip = divmod(first * header.bits, 8)
        payload = self._pos + BLOCK_HEAD.size
        stop = payload + (last * header.bits + 7) // 8
        data = bytes(self._buf[payload + start : stop])
        self.n_tokens += last - first
        return Tokens(unpack_tokens(data, header.bits, last - first, skip_bits=skip))

    def _need(self, size: int) -> Generator[None, None, bool]:
        """Wait until ``size`` bytes are there; return False if the input ends before."""
        while len(self._buf) - self._pos < size:
            if self._closed:
                return False
            yield None
        return True

    @property
    def _offset(self) -> int:
        """The current position in the input, in bytes."""
        return self._base + self._pos


def read_events(
    file: BinaryIO, *, eager: bool = False, strict: bool = False, chunk_bytes: int = 65536
) -> Iterator[Event]:
    """Read a ``.fcs`` file to its end, event by event; see `BitstreamReader` and `read_batches`.

    Yields
    ------
    HeaderRead, Tokens, Damage or End
        The events. The caller stops at `End` if a pipe stays open.
    """
    reader = BitstreamReader(eager=eager, strict=strict)
    for events in read_batches(file, reader, chunk_bytes):
        yield from events


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""


def read_batches(
    file: Readable, reader: BitstreamReader, chunk_bytes: int = 65536
) -> Iterator[list[Event]]:
    """Feed a file to a reader, and yield the events of each read.

    `file` is in blocking mode and may be a pipe. A file with ``read1``, or without a buffer,
    returns what has arrived without waiting for more. This function never closes the file.
    """
    read = getattr(file, "read1", file.read)
    while data := read(chunk_bytes):
        yield reader.feed(data)
    yield reader.close()
