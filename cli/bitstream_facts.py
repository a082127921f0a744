"""What ``fcs-edge info`` finds in a bitstream: its parts, and its records one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from fcs_edge.bitstream.events import Damage, End, Event, HeaderRead, Metadata, Tokens
from fcs_edge.bitstream.header import Header, is_copy, is_magic
from fcs_edge.bitstream.pauses import read_pauses
from fcs_edge.bitstream.protected_reader import ProtectedReader, Repairs, protected
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
from fcs_edge.modelfile.catalogue import Named, find
from fcs_edge.tokens.event_decoder import labelled, missing_start, refuse_others
from fcs_edge.tokens.fcs import header_of
from fcs_edge.tokens.settings import settings_of, window_settings

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
    paused: int = 0
    """Tokens of pauses."""


def _no_coder(header: Header) -> TokenCoder:
    """Return a coder that reads no tokens: facts need their number only, and no model."""
    return TokenCoder(header.bits, header.prior, lambda *_: None, ())


class _Part:
    """One part of a bitstream, as far as it was read."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.tokens = self.lost = self.paused = 0
        self.payload = self.n_bytes = self.skipped = 0
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
        self.paused += record.paused
        self.skipped += 0 if record.intact else record.size
        if record.coding is not None:
            self.blocks[record.coding] += 1

    def facts(self, named: Named | None) -> Facts:
        """Return what a person wants to know of the part; `named` is its model, where known."""
        header, seconds = self.header, self.seconds
        token_rate = header.input_rate / header.samples_per_token
        framing = self.n_bytes - self.payload - self.skipped
        prior = None
        if header.prior:
            priors = () if named is None else find(named.path).priors
            known = any(own.check == header.prior for own in priors)
            prior = {"check": f"{header.prior:08x}", "known": known}
        return {
            "model": None if named is None else named.name,
            "fingerprint": header.fingerprint.hex(),
            "settings": settings_of(header.settings)
            | window_settings(self.metadata, header.input_rate),
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
            "pauses": self.paused / self.tokens if self.tokens else None,
            "blocks": dict(sorted(self.blocks.items())),
            "bytes": self.n_bytes,
            "bytes_skipped": self.skipped,
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
        self._waiting: list[Record] = []
        try:
            join = header_of(load(), settings={})
        except FcsError:
            # Only a bitstream whose start is missing needs a model.
            join = None
        self.reader = BitstreamReader(join=join, coders=_no_coder, records=self.take)

    def take(self, offset: int, data: bytes) -> None:
        """Take a valid record."""
        self._skip(offset)
        self._waiting.append(self._record(offset, data))
        self._end = offset + len(data)

    def close(self, n_bytes: int) -> None:
        """End at the input's end."""
        self._skip(n_bytes)

    def taken(self) -> list[Record]:
        """Return the records since the last call."""
        taken, self._waiting = self._waiting, []
        return taken

    def _skip(self, offset: int) -> None:
        if offset > self._end:
            self._waiting.append(Record(self._end, "damaged", offset - self._end, intact=False))

    def _record(self, offset: int, data: bytes) -> Record:
        tag, size = data[0], len(data)
        if is_magic(data):
            return Record(offset, "copy" if is_copy(data) else "header", size)
        if tag in BLOCK_TAGS:
            header = self.reader.header
            assert header is not None
            block = block_at(data, 0, header.bits)
            assert block is not None
            coding = _CODINGS[block.coding] + (
                " with pauses" if not block.chunk and tag & PAUSES else ""
            )
            place, count, length = block.place, block.n_tokens, block.length
            record = Record(offset, "block", size, place, count, coding, length)
            if block.chunk or not tag & PAUSES:
                return record
            payload = data[block.head : block.head + length]
            pauses = read_pauses(payload, count, header.bits)
            return record._replace(paused=0 if pauses is None else int(pauses.mask.sum()))
        names = {END_TAG: "end", METADATA_TAG: "metadata"}
        return Record(offset, names.get(tag, f"type {tag:02x}"), size)


class _Parts:
    """The parts of a bitstream: the first ones by themselves, the others as one."""

    def __init__(self) -> None:
        self.n = 0
        self._parts: list[_Part] = []
        self._named: dict[bytes, Named | None] = {}
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
        facts = {"kind": "bitstream", "parts": self.n, **self._facts(first)}
        if not others:
            return facts
        whole = _Part(first.header)
        for part in self._parts:
            whole.tokens += part.tokens
            whole.lost += part.lost
            whole.payload += part.payload
            whole.paused += part.paused
            whole.n_bytes += part.n_bytes
            whole.skipped += part.skipped
            whole.blocks += part.blocks
        seconds = sum(part.seconds for part in self._parts)
        whole.n_samples = round(seconds * first.header.input_rate)
        sums = ("seconds", "samples", "tokens", "tokens_lost", "pauses", "blocks", "bytes")
        total = self._facts(whole)
        facts |= {
            key: total[key] for key in (*sums, "bytes_skipped", "stored_bits", "overhead", "rates")
        }
        return facts | {"further_parts": [self._facts(part) for part in others[:MOST_OF_A_KIND]]}

    def _facts(self, part: _Part) -> Facts:
        fingerprint = part.header.fingerprint
        if fingerprint not in self._named:
            self._named[fingerprint] = catalogue.by_fingerprint(fingerprint)
        return part.facts(self._named[fingerprint])


def bitstream(file: BinaryIO, label: str) -> tuple[Facts, list[str]]:
    """Read a bitstream to its end; return its facts and its problems."""
    found, parts = _Records(), _Parts()
    source = protected(file)
    problems: list[str] = []
    damage = Capped(problems.append)
    for events, records in _read(found, source, file, label):
        for event in events:
            parts.take(event)
            if isinstance(event, HeaderRead) and found.reader.joined and parts.n == 1:
                damage.add(missing_start(load().name))
            if isinstance(event, Damage):
                damage.add(event.message)
        for record in records:
            parts.add(record)
    damage.close()
    facts = parts.facts() | {"protection": _protection(source.repairs)}
    return facts | {"intact": not problems}, problems


def _read(
    found: _Records, source: ProtectedReader, file: BinaryIO, label: str
) -> Iterator[tuple[list[Event], list[Record]]]:
    """Yield the events and records of each read of a file, and at its end the rest."""
    with labelled(label):
        refuse_others(file)
        for events in read_batches(source, found.reader):
            yield events, found.taken()
    found.close(source.n_read)
    yield [], found.taken()


def _protection(repairs: Repairs | None) -> Facts | None:
    """Return the facts of a protected file."""
    if repairs is None:
        return None
    names = ("share", "groups", "cells", "cell_bytes", "lost_cells", "corrected")
    return {name: getattr(repairs, name) for name in names}


class RecordList:
    """The records of a bitstream, as they are read; iterate over it once.

    Attributes
    ----------
    problems : list of str
        What is lost, cut or out of order, a line each, once all was read.

    Raises
    ------
    BitstreamError
        While it is read: the file is no bitstream.
    """

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._file, self._label = file, label
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        """Yield each record as it is read."""
        damage = Capped(self.problems.append)
        for events, records in _read(_Records(), protected(self._file), self._file, self._label):
            for event in events:
                if isinstance(event, Damage):
                    damage.add(event.message)
            yield from records
        damage.close()
