"""Object files and archives of them, as a linker reads them, written with no compiler.

The same content gives the same bytes, whatever the machine and the time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

MACHINES = {"x86_64": 62, "aarch64": 183}
"""The number of an architecture in an ELF header."""

_MAGIC = b"!<arch>\n"
_MEMBER = 60
_INDEX = "/"
_LONGEST_NAME = 15
_SYMTAB, _PROGBITS, _STRTAB = 2, 1, 3
_ALLOCATED = 2
_GLOBAL_OBJECT, _HIDDEN, _WEAK = 1 << 4 | 1, 2, 2
_ALIGNMENT = 64


class Section(NamedTuple):
    """A section of an ELF file."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""Of an ELF file: identification, type, machine, version, entry, offsets of segments and sections,
flags, its own size, size and number of segments, of sections, index of the section of names."""
SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


def header_of(data: bytes) -> tuple[int, ...]:
    """Return the fields of an ELF file's header after its identification.

    Raises
    ------
    ValueError
        It is not a 64-bit little-endian ELF file.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < HEADER.size:
        raise ValueError("not a 64-bit little-endian ELF file")
    return HEADER.unpack_from(data)[1:]


def sections_of(data: bytes) -> list[Section]:
    """Return the sections of an ELF file."""
    at, size, n = (header_of(data)[i] for i in (5, 10, 11))
    return [Section(*SECTION.unpack_from(data, at + i * size)) for i in range(n)]


def data_object(architecture: str, symbol: str, data: bytes) -> bytes:
    """Return an object file whose read-only data is `data`, at a symbol that stays inside.

    Parameters
    ----------
    architecture : str
        One of `MACHINES`.
    symbol : str
        The name of its first byte, which stands on a multiple of 64 bytes. Other objects of the
        same library or program see it, and no other library does.
    data : bytes
        What it holds.
    """
    names = b"\0" + symbol.encode() + b"\0"
    symbols = bytes(_SYMBOL.size) + _SYMBOL.pack(1, _GLOBAL_OBJECT, _HIDDEN, 1, 0, len(data))
    # Name, kind, flags, link, number of local symbols, alignment, size of an entry, content.
    parts = [
        (".rodata", _PROGBITS, _ALLOCATED, 0, 0, _ALIGNMENT, 0, data),
        (".note.GNU-stack", _PROGBITS, 0, 0, 0, 1, 0, b""),
        (".symtab", _SYMTAB, 0, 4, 1, 8, _SYMBOL.size, symbols),
        (".strtab", _STRTAB, 0, 0, 0, 1, 0, names),
    ]
    texts = "".join(f"\0{part[0]}" for part in parts) + "\0.shstrtab\0"
    parts.append((".shstrtab", _STRTAB, 0, 0, 0, 1, 0, texts.encode()))
    body, table = bytearray(HEADER.size), [Section(*[0] * 10)]
    for name, kind, flags, link, info, alignment, entry, content in parts:
        body += bytes(-len(body) % alignment)
        at = texts.index(f"\0{name}\0") + 1
        table.append(
            Section(at, kind, flags, 0, len(body), len(content), link, info, alignment, entry)
        )
        body += content
    body += bytes(-len(body) % 8)
    body[: HEADER.size] = _object_header(MACHINES[architecture], len(body), len(table))
    return bytes(body) + b"".join(SECTION.pack(*section) for section in table)


def _object_header(machine: int, sections_at: int, n_sections: int) -> bytes:
    identification = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    sizes = HEADER.size, 0, 0, SECTION.size, n_sections, n_sections - 1
    return HEADER.pack(identification, 1, machine, 1, 0, 0, sections_at, 0, *sizes)


def defined_symbols(data: bytes) -> list[str]:
    """Return the global names that an object file defines."""
    return [name for name, is_defined in _symbols(data) if is_defined]


def undefined_symbols(data: bytes) -> list[str]:
    """Return the global names that an object file needs of others."""
    return [name for name, is_defined in _symbols(data) if not is_defined]


def _symbols(data: bytes) -> Iterator[tuple[str, bool]]:
    """Yield the global names of an object file, and whether it defines them."""
    sections = sections_of(data)
    for section in sections:
        if section.kind != _SYMTAB:
            continue
        names = sections[section.link].offset
        entries = data[section.offset : section.offset + section.size]
        for name, info, _, index, _, _ in _SYMBOL.iter_unpack(entries):
            if info >> 4 in (1, _WEAK):
                text = data[names + name : data.index(b"\0", names + name)]
                yield text.decode(), index != 0


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return an archive of object files, with the index of their symbols.

    Parameters
    ----------
    members : mapping of str to bytes
        The object files by name, of at most 15 characters, in the order of the archive.
    """
    symbols = [defined_symbols(data) for data in members.values()]
    names = "".join(f"{symbol}\0" for of_member in symbols for symbol in of_member).encode()
    n = sum(map(len, symbols))
    names += bytes(len(names) % 2)
    at, places = len(_MAGIC) + _MEMBER + 4 + 4 * n + len(names), []
    for of_member, data in zip(symbols, members.values(), strict=True):
        places += [at] * len(of_member)
        at += _MEMBER + len(data) + len(data) % 2
    index = struct.pack(f">I{n}I", n, *places) + names
    parts = [_MAGIC, _member(_INDEX, index)]
    parts += [_member(_stored_name(name), data) for name, data in members.items()]
    return b"".join(parts)


def _stored_name(name: str) -> str:
    if len(name) > _LONGEST_NAME or "/" in name:
        raise ValueError(f"a member's name has at most {_LONGEST_NAME} characters: {name}")
    return f"{name}/"


def _member(name: str, data: bytes) -> bytes:
    # Name, time, user, group, mode, size.
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(data):<10}`\n"
    return header.encode() + data + b"\n" * (len(data) % 2)


def members_of(data: bytes) -> dict[str, bytes]:
    """Return the object files of an archive that `archive` made.

    Raises
    ------
    ValueError
        It is no such archive.
    """
    return dict(_members(data))


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(_MAGIC):
        raise ValueError("not an archive of object files")
    at = len(_MAGIC)
    while at < len(data):
        header = data[at : at + _MEMBER].decode("ascii", "replace")
        if not header.endswith("`\n") or not header[48:58].strip().isdigit():
            raise ValueError(f"a damaged archive of object files: byte {at}")
        name, size = header[:16].rstrip(), int(header[48:58])
        at += _MEMBER
        if name != _INDEX:
            yield name.removesuffix("/"), data[at : at + size]
        at += size + size % 2


def architecture_of(objects: Iterable[bytes]) -> str:
    """Return the architecture of object files.

    Raises
    ------
    ValueError
        They are of several architectures, or of one that is not among `MACHINES`.
    """
    found = {header_of(data)[1] for data in objects}
    names = [name for name, machine in MACHINES.items() if {machine} == found]
    if not names:
        raise ValueError(f"object files for machines {sorted(found)}")
    return names[0]
