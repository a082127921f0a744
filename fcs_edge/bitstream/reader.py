"""Reads a ``.fcs`` bitstream piece by piece, checks its CRCs and continues after damage."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from fcs_edge.bitstream.bitpack import packed_size
from fcs_edge.bitstream.blocks import block_tokens, streamed_tokens
from fcs_edge.bitstream.crc import CRC_BYTES, crc_holds
from fcs_edge.bitstream.events import Damage, End, Event, HeaderRead, Metadata, Tokens
from fcs_edge.bitstream.header import (
    HEADER_SIZES,
    MAGIC,
    MAX_HEADER_BYTES,
    VERSION,
    Header,
    is_magic,
    is_near_magic,
    mended,
    refuse_version,
)
from fcs_edge.bitstream.metadata import tags_in
from fcs_edge.bitstream.protected_reader import ProtectedReader, Readable, Repairs, protected
from fcs_edge.bitstream.records import (
    GENERAL_HEAD,
    HEAD_SIZES,
    METADATA_TAG,
    NEUTRAL,
    PRIOR,
    STREAMED_TAG,
    Block,
    block_at,
)
from fcs_edge.bitstream.salvage import Salvage
from fcs_edge.bitstream.search import Found, RecordSearch
from fcs_edge.entropy import TokenCoder, neutral_coder
from fcs_edge.errors import BitstreamError
from fcs_edge.text import counted

__all__ = [
    "BitstreamReader",
    "Damage",
    "End",
    "Event",
    "HeaderRead",
    "Metadata",
    "Tokens",
    "read_batches",
    "read_events",
]

START_BYTES = 1 << 16
"""A file whose start is missing has a record in so many bytes, or is no ``.fcs`` file."""
SILENCE_TOKENS = 180_000
"""Silence of a file beyond what its bytes could hold."""
_RESTART_TOKENS = 100

Coders = Callable[[Header], TokenCoder | None]
Records = Callable[[int, bytes], None]
Steps = Generator[Event | None, None, bool]
"""Yields events, or None for more bytes; returns a truth."""


class _Attempt(NamedTuple):
    """The progress of a block whose tokens were handed out before its CRC arrived."""

    n_tokens: int = 0
    end: int = 0
    """Offset of the block's end if its damage was reported, else 0."""


class BitstreamReader:
    """Turns the bytes of a ``.fcs`` file into events, in constant memory.

    It stores one record at most, 4101 bytes. The events do not depend on how the bytes are cut
    into `feed` calls, except for the number of tokens per event if ``eager``.

    Silence does not outgrow the input but by an hour at 50 tokens a second. Where more is missing,
    `Damage` states the number.

    Parameters
    ----------
    eager : bool, optional
        Hand out tokens of streamed blocks as their chunks arrive, before the CRC of their block.
        Otherwise, hand out only the tokens of blocks whose CRC matches.
    strict : bool, optional
        Raise an error at the first damage. Other events of that call are lost.
    salvage : bool, optional
        Hand out the tokens of raw blocks whose CRC fails, as they are.
    join : Header, optional
        The header to assume if the input does not start with one. Without it, reading starts at
        the next header.
    coders : callable, optional
        Returns the coder of a header's prior, or None if it is unknown. Tokens coded with an
        unknown prior are lost.
    records : callable, optional
        Called with the offset and the bytes of each record that is accepted, in their order.

    Attributes
    ----------
    header : Header or None
        The header of the part that is being read, after it was read.
    ended : bool
        Whether the end record of the last part was read.
    damaged : int
        Number of `Damage` events so far.
    n_tokens : int
        Tokens handed out so far, silence included.
    joined : bool
        Whether the header is assumed, because a part has none or a damaged one.
    unknown_priors : set of int
        Checks of the priors that blocks used and `coders` did not have.
    repairs : Repairs or None
        What `read_batches` found in a protected file; None if it is not protected.
    """

    def __init__(
        self,
        *,
        eager: bool = False,
        strict: bool = False,
        salvage: bool = False,
        join: Header | None = None,
        coders: Coders | None = None,
        records: Records | None = None,
    ) -> None:
        self.joined = False
        self.ended = False
        self.damaged = 0
        self.n_tokens = 0
        self.unknown_priors: set[int] = set()
        self.repairs: Repairs | None = None
        self._records = records
        self._join = join
        self._eager = eager
        self._strict = strict
        self._coders = coders
        self._neutral: TokenCoder | None = None
        self._prior: TokenCoder | None = None
        self._prior_of: Header | None = None
        self._search = RecordSearch()
        self._salvage = Salvage(self._search) if salvage else None
        self._closed = False
        self._n_silence = 0
        self._n_failed = 0
        self._first = 0
        self._assumed = False
        self._last: Block | None = None
        self._mark: int | None = None
        """Where the search began that a copy of the header or a repeated block interrupts."""
        self._reported = 0
        """Where the bytes end of which damage is reported."""
        self._steps = self._read()

    @property
    def header(self) -> Header | None:
        """The header of the part that is being read, after it was read."""
        return self._search.header

    def feed(self, data: bytes) -> list[Event]:
        """Read the next bytes.

        Parameters
        ----------
        data : bytes-like
            Any number of bytes.

        Returns
        -------
        list of HeaderRead, Metadata, Tokens, Damage or End
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
        self._search.buf += data
        return self._advance()

    def close(self) -> list[Event]:
        """End the input.

        Returns
        -------
        list of HeaderRead, Metadata, Tokens, Damage or End
            The remaining events.

        Raises
        ------
        BitstreamError
            As for `feed`, and if the input was shorter than a header.
        """
        self._closed = self._search.closed = True
        return self._advance()

    def _advance(self) -> list[Event]:
        events = []
        for event in self._steps:
            if event is None:
                break
            events.append(event)
        else:
            raise BitstreamError("the .fcs reader cannot go on after an error")
        self._search.release()
        return events

    # The generators below are one coroutine with those of the search. They yield events, or None
    # to request more bytes; more bytes may come until the input is closed.

    def _read(self) -> Generator[Event | None, None, None]:
        yield from self._first_part()
        while (yield from self._part()) and (yield from self._next_part()):
            pass
        while True:
            self._search.pos = len(self._search.buf)
            yield None

    # The start of a part.

    def _first_part(self) -> Generator[Event | None, None, None]:
        search = self._search
        found = yield from search.record_here(0)
        if found is not None and found.header is not None:
            yield from self._take_header(found, 0)
            return
        yield from search.need(MAX_HEADER_BYTES)
        start = bytes(search.buf[:MAX_HEADER_BYTES])
        fixed = mended(start) if is_near_magic(start) else None
        if fixed is not None:
            yield from self._take_mended(fixed)
            return
        limit = START_BYTES
        if is_magic(start) and len(start) > len(MAGIC) and start[len(MAGIC)] != VERSION:
            # Where its CRC holds, nothing is damaged: a later version wrote it.
            whole = any(crc_holds(start, 0, n) for n in HEADER_SIZES if n <= len(start))
            if self._join is None or start[len(MAGIC)] == 1 or whole:
                refuse_version(start)
            limit = MAX_HEADER_BYTES + 1
        near = is_near_magic(start)
        search.header, search.expected = self._join, 0 if near else None
        if (found is not None and found.newer) or not (
            yield from self._assumed_part(near, 0, limit)
        ):
            Header.from_bytes(start)  # says what is wrong
            raise BitstreamError("the .fcs file holds nothing that can be read")

    def _next_part(self) -> Steps:
        """Begin the part that follows an end record; return False if none does."""
        search = self._search
        if not (yield from search.need(1)):
            return False
        start = search.offset
        found = yield from search.record_here(start)
        if found is not None and found.header is not None:
            yield from self._take_header(found, start)
            return True
        if found is not None and found.newer:
            yield self._damage(0, f"byte {start}: the rest needs a newer fcs-edge")
            return False
        yield from search.need(MAX_HEADER_BYTES)
        head = bytes(search.buf[search.pos : search.pos + MAX_HEADER_BYTES])
        near = is_near_magic(head)
        fixed = mended(head) if near else None
        if fixed is not None:
            yield from self._take_mended(fixed)
            return True
        search.expected = 0 if near else None
        if (yield from self._assumed_part(near, start, None)):
            return True
        size = search.offset - start
        yield self._damage(0, f"byte {start}: {counted(size, 'byte')} after the end record ignored")
        return False

    def _assumed_part(self, near: bool, start: int, limit: int | None) -> Steps:
        """Begin a part without a valid header at its start; return False if there is none.

        ``near`` says that a damaged header stands there, so that what follows it is the start.
        """
        search = self._search
        assumed = search.header
        salvaging = self._salvage if near else None
        if salvaging and assumed and (yield from salvaging.first(HEADER_SIZES)):
            yield from self._begin_assumed(assumed, 0)
            yield self._damage(0, f"byte {start}: the header is damaged")
            return True
        found = yield from search.find(start, limit)
        while found is not None and found.header is None and found.block is None:
            search.pos += found.size  # an end record of no part
            found = yield from search.find(start, limit)
        if found is None:
            return False
        if found.header is not None:
            yield from self._take_header(found, start, near)
            return True
        assert assumed is not None
        assert found.block is not None
        yield from self._begin_assumed(assumed, 0 if near else None)
        if near:
            self._mark, self._reported = start, search.offset
            yield self._damage(0, f"byte {start}: the header is damaged")
        else:
            seconds = assumed.seconds(found.block.place)
            yield self._damage(
                0,
                f"byte {start}: the header is missing; reading starts at byte {search.offset}, "
                f"{seconds:.2f} s after the start",
            )
        return True

    def _begin_assumed(self, header: Header, expected: int | None) -> Generator[Event, None, None]:
        self._begin(header, expected)
        self.joined = self._assumed = True
        yield HeaderRead(header)

    def _take_mended(self, fixed: bytes) -> Generator[Event, None, None]:
        start = self._search.offset
        self._search.pos += len(fixed)
        header = Header.from_record(fixed)
        self._begin(header, 0)
        yield HeaderRead(header)
        yield self._damage(0, f"byte {start}: one bit of the header was wrong; it is corrected")

    def _pass(self, size: int) -> None:
        """Move behind an accepted record."""
        search = self._search
        if self._records is not None:
            self._records(search.offset, bytes(search.buf[search.pos : search.pos + size]))
        search.pos += size

    def _begin(self, header: Header, expected: int | None) -> None:
        """Begin a part; its first token's position is ``expected``, if it is known."""
        self._search.header, self._search.expected = header, expected
        self.ended = self._assumed = False
        self._first = 0
        self._last = self._mark = None

    def _take_header(
        self, found: Found, start: int, near: bool = False
    ) -> Generator[Event, None, None]:
        """Begin a part with a valid header; report what was skipped before it."""
        assert found.header is not None
        skipped = self._search.offset - start
        whole = near or not found.is_copy
        self._pass(found.size)
        self._begin(found.header, 0 if whole else None)
        yield HeaderRead(found.header)
        if skipped or found.is_copy:
            what = "the header is missing; its copy" if found.is_copy else "a header"
            yield self._damage(
                0, f"byte {start}: {counted(skipped, 'byte')} skipped; {what} follows"
            )
        if near and found.is_copy:
            self._mark = start

    # The records of a part.

    def _part(self) -> Steps:
        """Read records to the part's end; return False if nothing can follow."""
        search = self._search
        while True:
            start = search.offset if self._mark is None else self._mark
            attempt = _Attempt(end=self._reported)
            if self._eager and self._mark is None:
                played = yield from self._play_block()
                if played is None:
                    continue
                attempt = played
            found = yield from search.record_here(start)
            salvaging = found is None and self._mark is None and not attempt.n_tokens
            if salvaging and self._salvage and (yield from self._salvage_block()):
                continue
            if found is None:
                found = yield from search.find(start)
            if found is None:
                yield self._cut(start)
                return False
            self._mark = None
            if found.newer or (found.general or 1) % 2 == 0:
                yield self._damage(0, f"byte {search.offset}: the rest needs a newer fcs-edge")
                return False
            if found.header is not None:
                yield from self._take_inner_header(found, start)
            elif found.general is not None:
                yield from self._take_general(found)
            elif found.n_samples is not None:
                yield from self._take_end(found, start, attempt)
                return True
            else:
                yield from self._take_block(found, start, attempt)

    def _take_general(self, found: Found) -> Generator[Event, None, None]:
        search = self._search
        body = bytes(search.buf[search.pos + GENERAL_HEAD : search.pos + found.size - CRC_BYTES])
        self._pass(found.size)
        if found.general == METADATA_TAG and (tags := tags_in(body)):
            yield Metadata(tags)

    def _take_inner_header(self, found: Found, start: int) -> Generator[Event, None, None]:
        """Pass a copy of the header, or begin a part whose forerunner has no end record."""
        search = self._search
        if found.is_copy and self._is_own(found.header):
            if found.header != search.header:
                search.header = found.header
                self._assumed = False
            if search.offset > start:
                self._mark = start
            self._pass(found.size)
            return
        yield self._damage(0, f"byte {search.offset}: the part before has no end record")
        yield from self._take_header(found, search.offset)

    def _is_own(self, header: Header | None) -> bool:
        """Return whether a copy of a header is that of this part, as far as it is known.

        What was assumed of prior and settings need not be right.
        """
        known = self._search.header
        if header is None or known is None or not self._assumed:
            return header == known
        return replace(header, prior=known.prior, settings=known.settings) == known

    def _play_block(self) -> Generator[Event | None, None, _Attempt | None]:
        """Hand out a streamed block's tokens as they arrive.

        Returns None once the block is done. Else it stays in the buffer, as its CRC fails or it is
        none.
        """
        search, header = self._search, self._search.header
        assert header is not None
        if not (yield from search.need(1)) or search.buf[search.pos] != STREAMED_TAG:
            return _Attempt()
        if not (yield from search.need(HEAD_SIZES[STREAMED_TAG])):
            return _Attempt()
        block = block_at(search.buf, search.pos, header.bits)
        if block is None or search.expected is None:
            return _Attempt()
        if block.place != search.expected % block.modulus:
            return _Attempt()
        end = search.offset + block.size
        # Without this limit, overlapping blocks in damaged ones would replay bytes forever.
        if self._n_failed + block.n_tokens > end * 8 // header.bits:
            return _Attempt()
        done = yield from self._play_chunks(block, header)
        complete = yield from search.need(block.size)
        if complete and crc_holds(search.buf, search.pos, block.size):
            search.expected += block.n_tokens
            self._pass(block.size)
            self._last = block
            return None
        self._n_failed += done
        if not complete:
            return _Attempt(done)
        start = search.offset
        yield self._damage(
            0,
            f"byte {start}: the CRC of a block does not match, "
            f"but its {counted(done, 'token')} were already played",
        )
        if self._salvage is None:
            return _Attempt(done, end)
        search.expected += block.n_tokens
        search.pos += block.size
        return None

    def _play_chunks(self, block: Block, header: Header) -> Generator[Event | None, None, int]:
        """Hand out the chunks of a block as they arrive; return their number of tokens."""
        search = self._search
        size, n_chunks = packed_size(block.chunk, header.bits), block.n_tokens // block.chunk
        done = 0
        while done < n_chunks:
            arrived = (len(search.buf) - search.pos - block.head) // size
            ready = min(n_chunks, arrived)
            if ready > done:
                payload = search.pos + block.head
                data = bytes(search.buf[payload + done * size : payload + ready * size])
                count = (ready - done) * block.chunk
                self.n_tokens += count
                yield Tokens(streamed_tokens(data, count, block.chunk, header.bits), block.chunk)
                done = ready
            elif search.closed:
                break
            else:
                yield None
        return done * block.chunk

    def _salvage_block(self) -> Steps:
        """Hand out the tokens of a raw block whose CRC fails, if there is one at this place."""
        assert self._salvage is not None
        search = self._search
        header = b"" if search.header is None else search.header.to_bytes()
        if (yield from self._salvage.header_here(len(header), self._last)):
            yield self._damage(0, f"byte {search.offset}: a copy of the header is damaged")
            search.pos += len(header)
            return True
        block = yield from self._salvage.block_here(self._last)
        if block is None or search.expected is None or search.header is None:
            return False
        there = yield from search.need(block.size)
        start, payload = search.offset, search.pos + block.head
        data = bytes(search.buf[payload : payload + block.length])
        block = self._salvage.shortened(block, data)
        if not block.n_tokens:
            return False
        search.pos = min(search.pos + block.size, len(search.buf))
        self._last = block
        search.expected += block.n_tokens
        what = "the CRC of a block does not match" if there else "a block is cut"
        yield self._damage(
            0,
            f"byte {start}: {what}; its {counted(block.n_tokens, 'token')} are played as they are",
        )
        self.n_tokens += block.n_tokens
        tokens = block_tokens(block, data, search.header.bits, None, None)
        yield Tokens(tokens, block.chunk)
        return True

    def _take_block(
        self, found: Found, start: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        search, block = self._search, found.block
        assert block is not None
        assert search.header is not None
        at, skipped = search.offset, search.offset - start
        payload = search.pos + block.head
        data = bytes(search.buf[payload : payload + block.length])
        self._pass(found.size)
        if search.expected is None:
            search.expected = self._first = block.place
        elif found.ahead < 0 and skipped and block.place <= _RESTART_TOKENS + 2 * skipped:
            yield from self._restart(start)
        elif found.ahead < 0:
            self._mark = start if skipped else None
            yield self._damage(
                0,
                f"byte {at}: a block of {search.header.seconds(block.place):.2f} s is repeated or "
                "out of order; it is left out",
            )
            return
        ahead = (block.place - search.expected) % block.modulus
        yield from self._skip(start, skipped, ahead, attempt)
        search.expected += ahead + block.n_tokens
        self._last = block
        yield self._tokens(found, block, data, at)

    def _restart(self, start: int) -> Generator[Event, None, None]:
        """Begin a part whose forerunner's end and whose own header are damaged."""
        search = self._search
        assert search.header is not None
        yield self._damage(0, f"byte {start}: the part before has no end record")
        yield from self._begin_assumed(search.header, 0)

    def _tokens(self, found: Found, block: Block, data: bytes, at: int) -> Event:
        """Return a block's tokens, or their loss where the prior is unknown."""
        header = self._search.header
        assert header is not None
        coder = self._coder(block.coding, header)
        if block.coding == PRIOR and coder is None:
            self.unknown_priors.add(header.prior)
            return self._damage(block.n_tokens, unknown_prior(header.prior))
        self.n_tokens += block.n_tokens
        return Tokens(block_tokens(block, data, header.bits, coder, found.pauses), block.chunk)

    def _coder(self, coding: int, header: Header) -> TokenCoder | None:
        if coding not in (NEUTRAL, PRIOR):
            return None
        if coding == NEUTRAL:
            if self._neutral is None or self._neutral.bits != header.bits:
                self._neutral = neutral_coder(header.bits)
            return self._neutral
        if self._prior_of is not header:
            named = self._coders if header.prior else None
            self._prior = None if named is None else named(header)
            self._prior_of = header
        return self._prior

    def _take_end(
        self, found: Found, start: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        search = self._search
        assert search.header is not None
        assert found.n_samples is not None
        skipped, spt = search.offset - start, search.header.samples_per_token
        missing = 0
        if search.expected is not None:
            beyond = found.n_samples - search.header.slack > search.expected * spt
            missing = -(-found.n_samples // spt) - search.expected if beyond else 0
        yield from self._skip(start, skipped, missing, attempt)
        self._pass(found.size)
        self.ended = True
        n_samples = found.n_samples - self._first * spt
        yield End(max(0, n_samples) if search.expected is not None else 0)

    def _skip(
        self, start: int, skipped: int, ahead: int, attempt: _Attempt
    ) -> Generator[Event, None, None]:
        """Report skipped bytes and missing tokens, unless that is done and nothing is missing."""
        missing = max(0, ahead - attempt.n_tokens)
        silence = min(missing, self._affordable(start + skipped))
        if not missing and (not skipped or start + skipped == attempt.end):
            return
        self._n_silence += silence
        if not missing:
            text = f"byte {start}: {counted(skipped, 'byte')} skipped"
        elif skipped:
            text = f"byte {start}: {counted(skipped, 'byte')} damaged"
        else:
            text = f"byte {start}: {counted(missing, 'token')} missing"
        if silence:
            text += f", replaced by {counted(silence, 'token')} of silence"
        if missing > silence:
            text += f"; {counted(missing - silence, 'token')} more are missing"
        yield self._damage(silence, text)

    def _cut(self, start: int) -> Damage:
        end = self._search.offset
        if end == start:
            return self._damage(0, f"byte {end}: the stream ended without an end record")
        return self._damage(
            0, f"byte {end}: the stream is cut, no whole record from byte {start} on"
        )

    def _affordable(self, end: int) -> int:
        """Return the silence that is left, once the input was read up to ``end``."""
        header = self._search.header
        assert header is not None
        return max(0, SILENCE_TOKENS + end * 8 // header.bits - self._n_silence)

    def lose(self, message: str) -> Damage:
        """Count and return damage that costs no token for certain, found by who feeds the bytes.

        Raises
        ------
        BitstreamError
            With ``strict``.
        """
        return self._damage(0, message)

    def _damage(self, n_tokens: int, message: str) -> Damage:
        if self._strict:
            raise BitstreamError(message)
        self.damaged += 1
        self.n_tokens += n_tokens
        return Damage(n_tokens, message)


def unknown_prior(check: int) -> str:
    """Return the message about each block that is coded with an unknown prior."""
    return f"coded with the prior {check:08x}, which is unknown here; silence replaces its tokens"


def read_events(
    file: BinaryIO, *, eager: bool = False, strict: bool = False, chunk_bytes: int = 65536
) -> Iterator[Event]:
    """Read a ``.fcs`` file to its end, event by event; see `BitstreamReader` and `read_batches`.

    Yields
    ------
    HeaderRead, Metadata, Tokens, Damage or End
        The events. The caller stops at `End` if a pipe stays open.
    """
    reader = BitstreamReader(eager=eager, strict=strict)
    for events in read_batches(file, reader, chunk_bytes):
        yield from events


def read_batches(
    file: Readable, reader: BitstreamReader, chunk_bytes: int = 65536
) -> Iterator[list[Event]]:
    """Feed a file to a reader, and yield the events of each read.

    A protected file is corrected, and what cannot be corrected is damage. `file` is in blocking
    mode and may be a pipe. A file with ``read1``, or without a buffer, returns what has arrived
    without waiting for more. This function never closes the file.
    """
    source = file if isinstance(file, ProtectedReader) else protected(file)
    while data := source.read(chunk_bytes):
        reader.repairs = source.repairs
        events = reader.feed(data)
        if reader.header is not None:
            events += map(reader.lose, source.problems())
        yield events
    yield [*reader.close(), *map(reader.lose, source.problems())]
