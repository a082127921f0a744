"""Put a model inside a library of C, with no compiler and no linker.

``libfcs.a`` has a member of its own that says where the model is; the exported one holds it. A
copy of ``libfcs.so`` gets a segment of read-only data behind its last one. Its program header
stands where the library has that of a note. `native/fcs_inside.c` is what both replace.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fcs_edge.export import object_files
from fcs_edge.export.object_files import HEADER, SECTION, Section

MARK = b"FCS model inside"
"""What `fcs_inside` begins with; offset and size of the model follow."""
SYMBOL = "fcs_inside"
MEMBER = "fcs_inside.o"
"""The member of ``libfcs.a`` that defines it."""

_PLACE = struct.Struct("<qQ")
_ALIGNMENT = 64
_NAME = b".fcs_model\0"
_SEGMENT = struct.Struct("<IIQQQQQQ")
_LOAD, _NOTE, _READ = 1, 4, 4
_PROGBITS, _ALLOCATED = 1, 2


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    in_file: int
    in_memory: int
    alignment: int


def archive_with_model(archive: bytes, model: bytes) -> bytes:
    """Return ``libfcs.a`` with a model inside.

    Parameters
    ----------
    archive : bytes
        The library without one.
    model : bytes
        The model file.

    Raises
    ------
    ValueError
        It is no archive with a place for a model.
    """
    members = object_files.members_of(archive)
    if MEMBER not in members:
        raise ValueError(f"an archive without {MEMBER}")
    architecture = object_files.architecture_of(members.values())
    place = MARK + _PLACE.pack(_ALIGNMENT, len(model))
    held = place.ljust(_ALIGNMENT, b"\0") + model
    members[MEMBER] = object_files.data_object(architecture, SYMBOL, held)
    return object_files.archive(members)


def library_with_model(library: bytes, model: bytes) -> bytes:
    """Return ``libfcs.so`` with a model inside.

    Parameters
    ----------
    library : bytes
        The library without one.
    model : bytes
        The model file.

    Raises
    ------
    ValueError
        It is no shared library with a place for a model.
    """
    segments = _segments(library)
    loaded = [segment for segment in segments if segment.kind == _LOAD]
    notes = [segment for segment in segments if segment.kind == _NOTE]
    if not notes or not loaded or library.count(MARK) != 1:
        raise ValueError("a library without a place for a model")
    offset = _up(len(library), _ALIGNMENT)
    page = max(segment.alignment for segment in loaded)
    # A page of the file is one of memory: both places leave the same remainder.
    address = _up(max(s.address + s.in_memory for s in loaded), page) + offset % page
    held = _Segment(_LOAD, _READ, offset, address, address, len(model), len(model), page)
    changed = bytearray(library.ljust(offset, b"\0")) + model
    _write_segments(changed, _with_model(segments, held))
    _write_sections(changed, library, held)
    at = library.index(MARK)
    distance = address - _address(loaded, at)
    _PLACE.pack_into(changed, at + len(MARK), distance, len(model))
    return bytes(changed)


def _up(value: int, alignment: int) -> int:
    return value + -value % alignment


def _segments(library: bytes) -> list[_Segment]:
    header = object_files.header_of(library)
    at, size, n = (header[i] for i in (4, 8, 9))
    return [_Segment(*_SEGMENT.unpack_from(library, at + i * size)) for i in range(n)]


def _with_model(segments: list[_Segment], held: _Segment) -> list[_Segment]:
    """Return the segments without the first note, and with the model's behind the last loaded."""
    note = next(i for i, segment in enumerate(segments) if segment.kind == _NOTE)
    left = segments[:note] + segments[note + 1 :]
    behind = max(i for i, segment in enumerate(left) if segment.kind == _LOAD) + 1
    return [*left[:behind], held, *left[behind:]]


def _write_segments(changed: bytearray, segments: list[_Segment]) -> None:
    (at,) = struct.unpack_from("<Q", changed, 32)
    for i, segment in enumerate(segments):
        _SEGMENT.pack_into(changed, at + i * _SEGMENT.size, *segment)


def _write_sections(changed: bytearray, library: bytes, held: _Segment) -> None:
    """Append the table of sections with one for the model: tools that copy a library read it."""
    sections = object_files.sections_of(library)
    fields = list(HEADER.unpack_from(library))
    named = fields[13]
    names = sections[named]
    texts = library[names.offset : names.offset + names.size]
    sections[named] = names._replace(offset=len(changed), size=len(texts) + len(_NAME))
    changed += texts + _NAME
    place = held.address, held.offset, held.in_file
    sections.append(Section(len(texts), _PROGBITS, _ALLOCATED, *place, 0, 0, _ALIGNMENT, 0))
    changed += bytes(-len(changed) % 8)
    fields[6], fields[12] = len(changed), len(sections)
    HEADER.pack_into(changed, 0, *fields)
    for section in sections:
        changed += SECTION.pack(*section)


def _address(loaded: list[_Segment], offset: int) -> int:
    """Return the address of a byte of the file."""
    for segment in loaded:
        if segment.offset <= offset < segment.offset + segment.in_file:
            return segment.address + offset - segment.offset
    raise ValueError("a library whose mark of a model is not loaded")
