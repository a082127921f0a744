"""The layout of a model file of C, ``.fcsm``: every constant of it; docs/program.md.

All numbers are little endian. The C library has the same constants in ``native/fcs.c``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime.program import Parameter, Patch, Tail

MAGIC = b"FCSMODEL"
VERSION = 1
ALIGNMENT = 64
"""Of each section's start in the file."""

WEIGHTS, ENCODER, DECODER, FACTS, PRIOR, ACCEPTS = range(1, 7)
"""Kinds of sections. The index of a plan is its number of chunks, that of a prior its number."""

HEAD = struct.Struct("<8sII8s8s10I64sII")
"""magic, version, CRC-32 of all that follows it, kernels, fingerprint; sample_rate_in,
sample_rate_out, samples_per_token, samples_out_per_token, bits_per_token, chunk_samples,
chunk_tokens, decoder_chunk_tokens, settings, 0; name, number of sections, 0."""
CRC_AT = 12
"""Offset of the CRC-32; what it covers begins behind it."""
ENTRY = struct.Struct("<IIQQ")
"""kind, index, offset, bytes of a section; the table follows the head."""
NAME_BYTES = 64
"""Bytes of the name, UTF-8, cut where it is longer, with a zero behind it."""

(
    MAX_CHUNKS,
    STATE_BYTES,
    CARRIED_BYTES,
    NOT_FINITE,
    N_INITIAL,
    N_PROGRAMS,
    N_PARAMETERS,
    N_PATCHES,
    TAIL_WORDS,
) = range(9)
"""Words of a plan's head, which has `PLAN_HEAD` words; the others are 0. NOT_FINITE is -1 where
the stream counts no samples."""
PLAN_HEAD = 16
"""Behind it lie the entries of each kind, in this order, then the tail, then the programs."""
INITIAL_WORDS, PROGRAM_WORDS, PARAMETER_WORDS, PATCH_WORDS = 2, 3, 3, 3
"""Words of an entry: (offset, value); (chunks, first word behind all entries, words);
(from, factor, divisor); (word, parameter, factor). Parameter 0 is (0, 1, 1): the length."""
MAX_CALL_WORDS = 128
"""Words of a call at most: kernel, number of words, and these."""


class Section(NamedTuple):
    """A part of the file."""

    kind: int
    number: int
    """Its index in the table: of a plan its chunks, of a prior its number."""
    data: bytes | bytearray | memoryview


class Head(NamedTuple):
    """What a file states beside its sections."""

    kernels: bytes
    """Which kernels the programs call: 8 bytes."""
    fingerprint: bytes
    sample_rate_in: int
    sample_rate_out: int
    samples_per_token: int
    samples_out_per_token: int
    bits_per_token: int
    chunk_samples: int
    chunk_tokens: int
    decoder_chunk_tokens: int
    settings: int
    """The code in the header of a bitstream."""
    name: str


class Plan(NamedTuple):
    """How a stream of up to `max_chunks` chunks a call runs."""

    max_chunks: int
    state_bytes: int
    carried_bytes: int
    """The first bytes of the state, which later chunks read."""
    not_finite: int
    """Offset in the state of the number of samples that were not finite; -1: there is none."""
    initial: list[tuple[int, int]]
    """Offsets and values of the words of a new state that are not 0."""
    programs: dict[int, I64]
    """By the number of chunks."""
    tail: Tail | None
    """Of a last, partial chunk; None where a chunk is one token."""


def packed_plan(plan: Plan) -> bytes:
    """Return the bytes of a plan's section."""
    tail = plan.tail or Tail(np.zeros(0, np.int64), [], [])
    parameters = [Parameter(0, 1, 1), *tail.parameters] if plan.tail else []
    head = [0] * PLAN_HEAD
    head[: TAIL_WORDS + 1] = (
        *(plan.max_chunks, plan.state_bytes, plan.carried_bytes, plan.not_finite),
        *(len(plan.initial), len(plan.programs), len(parameters), len(tail.patches)),
        tail.words.size,
    )
    entries, at = [], tail.words.size
    for chunks, words in sorted(plan.programs.items()):
        entries.append((chunks, at, words.size))
        at += words.size
    tables = (plan.initial, entries, parameters, tail.patches)
    numbers = [*head, *(n for table in tables for entry in table for n in entry)]
    programs = [words for _, words in sorted(plan.programs.items())]
    pieces = (np.array(numbers, np.int64), tail.words, *programs)
    return np.concatenate(pieces).astype("<i8").tobytes()


def unpacked_plan(data: bytes) -> Plan:
    """Return the plan of a section."""
    words = np.frombuffer(data, "<i8").astype(np.int64)
    counts = words[[N_INITIAL, N_PROGRAMS, N_PARAMETERS, N_PATCHES]].tolist()
    sizes = INITIAL_WORDS, PROGRAM_WORDS, PARAMETER_WORDS, PATCH_WORDS
    tables, at = [], PLAN_HEAD
    for n, size in zip(counts, sizes, strict=True):
        tables.append([tuple(row) for row in words[at : at + n * size].reshape(n, size).tolist()])
        at += n * size
    initial, entries, parameters, patches = tables
    rest = words[at:]
    tail = None
    if words[TAIL_WORDS]:
        own = [Parameter(*p) for p in parameters[1:]]
        tail = Tail(rest[: words[TAIL_WORDS]], own, [Patch(*p) for p in patches])
    programs = {chunks: rest[first : first + n] for chunks, first, n in entries}
    first = (int(n) for n in words[: NOT_FINITE + 1])
    max_chunks, state_bytes, carried_bytes, not_finite = first
    return Plan(max_chunks, state_bytes, carried_bytes, not_finite, initial, programs, tail)


def pack(head: Head, sections: Sequence[Section]) -> bytes:
    """Return the bytes of a file."""
    at = HEAD.size + ENTRY.size * len(sections)
    entries, pieces = [], []
    for section in sections:
        start = -(-at // ALIGNMENT) * ALIGNMENT
        pieces += [bytes(start - at), section.data]
        entries.append(ENTRY.pack(section.kind, section.number, start, len(section.data)))
        at = start + len(section.data)
    pieces.append(bytes(-at % ALIGNMENT))
    kernels, fingerprint, *numbers, name = head
    text = name.encode()[: NAME_BYTES - 1].decode(errors="ignore").encode()
    facts = *numbers, 0, text, len(sections), 0
    packed = bytearray(HEAD.pack(MAGIC, VERSION, 0, kernels, fingerprint, *facts))
    packed += b"".join(entries)
    crc = zlib.crc32(packed[CRC_AT + 4 :])
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    packed[CRC_AT : CRC_AT + 4] = crc.to_bytes(4, "little")
    return b"".join((packed, *pieces))


def unpack(data: bytes) -> tuple[Head, list[Section]]:
    """Return what a file of `pack` holds.

    Raises
    ------
    ValueError
        The bytes are no such file.
    """
    if len(data) < HEAD.size or data[: len(MAGIC)] != MAGIC:
        raise ValueError("no .fcsm file")
    fields = HEAD.unpack_from(data)
    _, version, crc, kernels, fingerprint, *numbers, _, text, n_sections, _ = fields
    if version != VERSION or crc != zlib.crc32(data[CRC_AT + 4 :]):
        raise ValueError("a .fcsm file of another version, or a damaged one")
    facts: list[Any] = [kernels, fingerprint, *numbers, text.rstrip(b"\0").decode()]
    head = Head(*facts)
    sections = []
    for i in range(n_sections):
        kind, number, start, n_bytes = ENTRY.unpack_from(data, HEAD.size + i * ENTRY.size)
        sections.append(Section(kind, number, data[start : start + n_bytes]))
    return head, sections
