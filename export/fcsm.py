"""The layout of a model file of C, ``.fcsm``: every constant of it; docs/program.md.

All numbers are little endian. The C library has the same constants in ``native/fcs.c``.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime.program import Parameter, Patch, Tail

MAGIC = b"FCSMODEL"
VERSION = 1
ALIGNMENT = 64
"""Of each section's start in the file."""

WEIGHTS, ENCODER, DECODER, FACTS, PRIOR, ACCEPTS = range(1, 7)
"""Kinds of sections. The index of a plan is its number of chunks, that of a prior its number."""

HEAD = struct.Struct("<8sII8s8sQ12I64s40x")
"""magic, version, CRC-32 of all that follows it, kernels, fingerprint, bytes of the file;
sample_rate_in, sample_rate_out, samples_per_token, samples_out_per_token, chunk_samples,
chunk_tokens, decoder_chunk_tokens, bits_per_token, settings, sections, 0, 0; name."""
CRC_AT = 12
"""Offset of the CRC-32; what it covers begins behind it."""
ENTRY = struct.Struct("<IIQQ")
"""kind, index, offset, bytes of a section; the table follows the head."""
NAME_BYTES = 64
"""Bytes of the name, UTF-8, cut where it is longer, with a zero behind it."""

PLAN_VERSION = 1
(
    PLAN_VERSION_AT,
    MAX_CHUNKS,
    STATE_BYTES,
    HISTORY_BYTES,
    NOT_FINITE,
    N_INITIAL,
    INITIAL,
    N_PROGRAMS,
    PROGRAMS,
    N_PARAMETERS,
    PARAMETERS,
    N_PATCHES,
    PATCHES,
    TAIL_WORDS,
    TAIL,
    PLAN_WORDS,
    PLAN_HEAD,
) = range(17)
"""Words of a plan's head, and their number. NOT_FINITE is -1 where the stream counts no samples.
INITIAL, PROGRAMS, PARAMETERS, PATCHES and TAIL are words of the plan, counted from its head."""
WORD = np.dtype("<i4")
"""A word of a plan."""
MAX_WEIGHTS = 1 << 31
"""Bytes of weights at most: words hold their offsets."""
INITIAL_WORDS, PROGRAM_WORDS, PARAMETER_WORDS, PATCH_WORDS = 2, 3, 3, 3
"""Words of an entry: (offset, value); (chunks, first word, words); (from, factor, divisor);
(word of the tail, parameter, factor). Parameter 0 is (0, 1, 1): what a chunk lacks."""
MAX_CALL_WORDS = 128
"""Words of a call at most: kernel, number of words, and these."""


class Section(NamedTuple):
    """A part of the file."""

    kind: int
    number: int
    """Its index in the table: of a plan its chunks, of a prior its number."""
    data: bytes | memoryview | list[bytes]
    """Its bytes, or pieces of them."""


class Head(NamedTuple):
    """What a file states beside its sections."""

    kernels: bytes
    """Which kernels the programs call: 8 bytes."""
    fingerprint: bytes
    sample_rate_in: int
    sample_rate_out: int
    samples_per_token: int
    samples_out_per_token: int
    chunk_samples: int
    chunk_tokens: int
    decoder_chunk_tokens: int
    bits_per_token: int
    settings: int
    """The code in the header of a bitstream."""
    name: str


class Plan(NamedTuple):
    """How a stream of up to `max_chunks` chunks a call runs."""

    max_chunks: int
    state_bytes: int
    history_bytes: int
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
    """Return the bytes of a plan's section.

    Raises
    ------
    ValueError
        A word does not fit.
    """
    tail = plan.tail or Tail(np.zeros(0, np.int64), [], [])
    # A tail has the words of one chunk: they lie there once.
    is_there = np.array_equal(tail.words, plan.programs.get(1, tail.words[:0]))
    own = tail.words[:0] if is_there else tail.words
    parameters = [Parameter(0, 1, 1), *tail.parameters]
    tables: list[Sequence[Any]] = [plan.initial, [], parameters, tail.patches]
    sizes = INITIAL_WORDS, PROGRAM_WORDS, PARAMETER_WORDS, PATCH_WORDS
    counts = len(plan.initial), len(plan.programs), len(parameters), len(tail.patches)
    starts, at = [], int(PLAN_HEAD)
    for n, size in zip((*counts, own.size), (*sizes, 1), strict=True):
        starts.append(at)
        at += n * size
    programs = sorted(plan.programs.items())
    for chunks, words in programs:
        tables[1] = [*tables[1], (chunks, at, words.size)]
        if chunks == 1 and not own.size:
            starts[-1] = at
        at += words.size
    head = [PLAN_VERSION, plan.max_chunks, plan.state_bytes, plan.history_bytes, plan.not_finite]
    for n, start in zip((*counts, tail.words.size), starts, strict=True):
        head += [n, start]
    numbers = [*head, at, *(n for table in tables for entry in table for n in entry)]
    pieces = (np.array(numbers, np.int64), own, *(words for _, words in programs))
    words = np.concatenate(pieces)
    # The bits of a float below 0 are those of an int32 below 0.
    if words.min() < -(1 << 31) or words.max() >= 1 << 32:
        raise ValueError("a word of a plan has more than 32 bits")
    return words.astype(WORD).tobytes()


def unpacked_plan(data: bytes) -> Plan:
    """Return the plan of a section."""
    words = np.frombuffer(data, WORD).astype(np.int64)

    def entries(count: int, size: int) -> list[Any]:
        n, start = words[count : count + 2].tolist()
        return [tuple(row) for row in words[start : start + n * size].reshape(n, size).tolist()]

    tail = None
    parameters = [Parameter(*p) for p in entries(N_PARAMETERS, PARAMETER_WORDS)]
    patches = [Patch(*p) for p in entries(N_PATCHES, PATCH_WORDS)]
    if words[TAIL_WORDS]:
        template = words[words[TAIL] : words[TAIL] + words[TAIL_WORDS]]
        tail = Tail(template, parameters[1:], patches)
    rows = entries(N_PROGRAMS, PROGRAM_WORDS)
    programs = {chunks: words[first : first + n] for chunks, first, n in rows}
    _, max_chunks, state_bytes, history_bytes, not_finite = (int(n) for n in words[:5])
    initial = entries(N_INITIAL, INITIAL_WORDS)
    return Plan(max_chunks, state_bytes, history_bytes, not_finite, initial, programs, tail)


def write(file: BinaryIO, head: Head, sections: Sequence[Section]) -> None:
    """Write a file; the pieces of a section are never joined in memory."""
    at = HEAD.size + ENTRY.size * len(sections)
    entries, pieces = bytearray(), list[bytes | memoryview]()
    for kind, number, data in sections:
        parts = data if isinstance(data, list) else [data]
        start, n_bytes = -(-at // ALIGNMENT) * ALIGNMENT, sum(len(part) for part in parts)
        entries += ENTRY.pack(kind, number, start, n_bytes)
        pieces += [bytes(start - at), *parts]
        at = start + n_bytes
    size = -(-at // ALIGNMENT) * ALIGNMENT
    pieces.append(bytes(size - at))
    kernels, fingerprint, *numbers, name = head
    text = name.encode()[: NAME_BYTES - 1].decode(errors="ignore").encode()
    facts = size, *numbers, len(sections), 0, 0, text
    first = bytearray(HEAD.pack(MAGIC, VERSION, 0, kernels, fingerprint, *facts)) + entries
    crc = zlib.crc32(first[CRC_AT + 4 :])
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    first[CRC_AT : CRC_AT + 4] = crc.to_bytes(4, "little")
    file.write(first)
    for piece in pieces:
        file.write(piece)


def pack(head: Head, sections: Sequence[Section]) -> bytes:
    """Return the bytes of a file."""
    file = io.BytesIO()
    write(file, head, sections)
    return file.getvalue()


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
    _, version, crc, kernels, fingerprint, size, *numbers, n_sections, _, _, text = fields
    if version != VERSION or size != len(data) or crc != zlib.crc32(data[CRC_AT + 4 :]):
        raise ValueError("a .fcsm file of another version, or a damaged one")
    facts: list[Any] = [kernels, fingerprint, *numbers, text.rstrip(b"\0").decode()]
    head = Head(*facts)
    sections = []
    for i in range(n_sections):
        kind, number, start, n_bytes = ENTRY.unpack_from(data, HEAD.size + i * ENTRY.size)
        sections.append(Section(kind, number, data[start : start + n_bytes]))
    return head, sections
