"""What ``fcs-edge info`` finds in a bitstream: its parts, and its records one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from fcs_edge.bitstream.events import Damage, End, HeaderRead, Metadata, Tokens
from fcs_edge.bitstream.header import Header, is_magic, is_repeated
from fcs_edge.bitstream.reader import BitstreamReader, read_batches
from fcs_edge.bitstream.records import (
    BLOCK_TAGS,
    END_TAG,
    METADATA_TAG,
    PAUSES,
    block_at,
)
from fcs_edge.cli.ui.messages import MOST_OF_A_KIND, Capped
from fcs_edge.codec import load
from fcs_edge.entropy import TokenCoder
from fcs_edge.errors import FcsError
from fcs_edge.modelfile import catalogue
from fcs_edge.modelfile.catalogue import find
from fcs_edge.tokens.event_decoder import labelled, missing_start, refuse_others
from fcs_edge.tokens.fcs import header_of
from fcs_edge.tokens.settings import settings_of

Facts = dict[str, Any]

_CODINGS = ("raw", "neutral", "prior", "streamed")


class Record(NamedTuple):
    """A record of a bitstream, or bytes that belong to none."""

    offset: int
    kind: str
    size: int
    position: int | None = None
    """Of its first token, as stored: modulo 2 ** 24, or 65,536 blocks."""
    tokens: int | None = None
    coding: str | None = None
    payload: int = 0
    """Bytes that hold tokens."""
    intact: bool = True


class _NoCoder(TokenCoder):
    """Reads no tokens: facts need their number only, and no model."""

    def __init__(self, header: Header) -> None:
        super().__init__(header.bits, header.prior)

    def _run(self, *_: object) -> None:
        pass


class _Part:
    """One part of a bitstream, as far as it was read."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.tokens = self.lost = self.payload = self.n_bytes = 0
        self.n_samples: int | None = None
        self.blocks: Counter[str] = Counter()
        self.metadata: dict[str, str] = {}

    @property
    def seconds(self) -> float:
        """Duration, by the end record where there is one."""
        samples = (self.tokens + self.lost) * self.header.samples_per_token
        return (samples if self.n_samples is None else self.n_samples) / self.header.input_rate

    def add(self, record: Record) -> None:
        """Count a record."""
        self.n_bytes += record.size
        self.payload += record.payload
        if record.coding is not None:
            self.blocks[record.coding] += 1

    def facts(self) -> Facts:
        """Return what a person wants to know of the part."""
        header, seconds = self.header, self.seconds
        named = catalogue.by_fingerprint(header.fingerprint)
        token_rate = header.input_rate / header.samples_per_token
        framing = self.n_bytes - self.payload
        prior = None
        if header.prior:
            priors = () if named is None else find(named.path).priors
            known = any(own.check == header.prior for own in priors)
            prior = {"check": f"{header.prior:08x}", "known": known}
        return {
            "model": None if named is None else named.name,
            "fingerprint": header.fingerprint.hex(),
            "settings": settings_of(header.settings),
            "prior": prior,
            "metadata": self.metadata,
            "sample_rate_in": header.input_rate,
            "sample_rate_out": header.output_rate,
            "bits_per_token": header.bits,
            "token_rate": token_rate,
            "bitrate": header.bits * token_rate,
            "seconds": seconds,
            "samples": self.n_samples,
            "tokens": self.tokens,
            "tokens_lost": self.lost,
            "blocks": dict(sorted(self.blocks.items())),
            "bytes": self.n_bytes,
            "stored_bits": 8 * self.payload / self.tokens if self.tokens else None,
            "overhead": framing / self.payload if self.payload else None,
            "rates": {
                "file": 8 * self.n_bytes / seconds if seconds else None,
                "tokens": 8 * self.payload / seconds if seconds else None,
                "framing": 8 * framing / seconds if seconds else None,
            },
        }


class _Records:
    """Turns valid records into facts, and what lies between them into skipped bytes."""

    def __init__(self) -> None:
        self._end = 0
        self.waiting: list[Record] = []
        try:
            join = header_of(load(), settings={})
        except FcsError:
            # Only a bitstream whose start is missing needs a model.
            join = None
        self.reader = BitstreamReader(join=join, coders=_NoCoder, records=self.take)

    def take(self, offset: int, data: bytes) -> None:
        """Take a valid record."""
        self._skip(offset)
        self.waiting.append(self._record(offset, data))
        self._end = offset + len(data)

    def close(self, n_bytes: int) -> None:
        """End at the input's end."""
        self._skip(n_bytes)

    def taken(self) -> Iterator[Record]:
        """Yield the records since the last call."""
        waiting, self.waiting = self.waiting, []
        yield from waiting

    def _skip(self, offset: int) -> None:
        if offset > self._end:
            self.waiting.append(Record(self._end, "damaged", offset - self._end, intact=False))

    def _record(self, offset: int, data: bytes) -> Record:
        tag, size = data[0], len(data)
        if is_magic(data):
            return Record(offset, "repeated" if is_repeated(data) else "header", size)
        if tag in BLOCK_TAGS:
            header = self.reader.header
            assert header is not None
            block = block_at(data, 0, header.bits)
            assert block is not None
            coding = _CODINGS[block.coding] + (
                ", pauses" if not block.chunk and tag & PAUSES else ""
            )
            return Record(offset, "block", size, block.place, block.n_tokens, coding, block.length)
        names = {END_TAG: "end", METADATA_TAG: "metadata"}
        return Record(offset, names.get(tag, f"type {tag:02x}"), size)


class _Counted:
    """A file that counts the bytes read."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = getattr(file, "read1", file.read)
        self.n_bytes = 0

    def read(self, size: int, /) -> bytes:
        data: bytes = self._read(size)
        self.n_bytes += len(data)
        return data


class _Parts:
    """The parts of a bitstream: the first ones by themselves, the others as one."""

    def __init__(self) -> None:
        self.n = 0
        self._parts: list[_Part] = []
        self._of_records = -1

    def part(self, number: int) -> _Part:
        """Return a part by its number, from 0."""
        return self._parts[min(max(number, 0), len(self._parts) - 1)]

    def begin(self, header: Header) -> None:
        """Begin a part."""
        self.n += 1
        if len(self._parts) <= MOST_OF_A_KIND:
            self._parts.append(_Part(header))

    def take(self, event: object) -> None:
        """Take an event of the reader."""
        if isinstance(event, HeaderRead):
            self.begin(event.header)
            return
        part = self.part(self.n - 1)
        if isinstance(event, Tokens):
            part.tokens += event.tokens.size
        elif isinstance(event, Damage):
            part.lost += event.n_tokens
        elif isinstance(event, End):
            # Where parts are counted as one, their lengths add up.
            part.n_samples = (part.n_samples or 0) + event.n_samples
        elif isinstance(event, Metadata):
            part.metadata |= event.tags

    def add(self, record: Record) -> None:
        """Count a record in its part."""
        self._of_records += record.kind == "header"
        self.part(self._of_records).add(record)

    def facts(self) -> Facts:
        """Return the facts of all parts; sums are of all of them."""
        first, *others = self._parts
        facts = {"kind": "bitstream", "parts": self.n, **first.facts()}
        if not others:
            return facts
        whole = _Part(first.header)
        for part in self._parts:
            whole.tokens += part.tokens
            whole.lost += part.lost
            whole.payload += part.payload
            whole.n_bytes += part.n_bytes
            whole.blocks += part.blocks
        seconds = sum(part.seconds for part in self._parts)
        whole.n_samples = round(seconds * first.header.input_rate)
        sums = ("seconds", "samples", "tokens", "tokens_lost", "blocks", "bytes", "stored_bits")
        total = whole.facts()
        facts |= {key: total[key] for key in (*sums, "overhead", "rates")}
        return facts | {"further_parts": [part.facts() for part in others[:MOST_OF_A_KIND]]}


def bitstream(file: BinaryIO, label: str) -> tuple[Facts, list[str]]:
    """Read a bitstream to its end; return its facts and its problems."""
    found, parts = _Records(), _Parts()
    reader, counted = found.reader, _Counted(file)
    problems: list[str] = []
    damage = Capped(problems.append)
    with labelled(label):
        refuse_others(file)
        for events in read_batches(counted, reader):
            for event in events:
                parts.take(event)
                if isinstance(event, HeaderRead) and reader.joined and parts.n == 1:
                    damage.add(missing_start(load().name))
                if isinstance(event, Damage):
                    damage.add(event.message)
            for record in found.taken():
                parts.add(record)
    found.close(counted.n_bytes)
    for record in found.taken():
        parts.add(record)
    damage.close()
    return parts.facts() | {"intact": not problems}, problems


class RecordList:
    """The records of a bitstream, as they are read; iterate over it once.

    Raises
    ------
    BitstreamError
        While it is read: the file is no bitstream.
    """

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file, self._label = file, label
        self._found = _Records()

    def __iter__(self) -> Iterator[Record]:
        """Yield each record as it is read."""
        found, counted = self._found, _Counted(self._file)
        with labelled(self._label):
            refuse_others(self._file)
            for _ in read_batches(counted, found.reader):
                yield from found.taken()
        found.close(counted.n_bytes)
        yield from found.taken()

    @property
    def is_damaged(self) -> bool:
        """Whether anything is lost, cut or out of order, once all was read."""
        return self._found.reader.damaged > 0
