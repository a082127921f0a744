"""The headers of a tar: what its members are called, and where their bytes are.

References
----------
POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header". GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = 512
_MOST_EXTENDED = 1 << 20
_MOST_AFTER = 1 << 16
_MOST_SIZE = (1 << 63) - 1
_PLAIN = b"0\0" + b"7"
_WITHOUT_BYTES = {
    b"1": "is a link to another member",
    b"2": "is a link",
    b"3": "is a device",
    b"4": "is a device",
    b"5": "is a folder",
    b"6": "is a named pipe",
}
_SPARSE = "is a sparse file, whose bytes are not stored as they are"


class TarDamage(Exception):  # noqa: N818 - it does not leave the reading of tars
    """The tar cannot be read further; the text says why."""


@dataclass(frozen=True)
class Member:
    """A member of a tar."""

    name: str
    """As it is stored; bytes that are not UTF-8 are surrogates."""
    start: int
    """The place of its first byte in the tar."""
    size: int
    """As its header states it: the tar may end before."""
    problem: str | None = None
    """Why its bytes are no file; None if they are."""


@dataclass
class _Extended:
    """What headers state of the member that follows them."""

    name: bytes | None = None
    size: int | None = None
    is_sparse: bool = False


def tar_members(descriptor: int, n_bytes: int) -> Iterator[Member]:
    """Yield the members of a tar; memory does not grow with their number.

    Parameters
    ----------
    descriptor : int
        The open tar.
    n_bytes : int
        Its size.

    Raises
    ------
    TarDamage
        A header is damaged, or the tar is cut; the members before that have been yielded.
    """
    at, extended = 0, _Extended()
    while True:
        header = os.pread(descriptor, _BLOCK, at)
        if len(header) < _BLOCK:
            raise TarDamage(_end_problem(at, len(header)))
        if not any(header):
            _check_after(descriptor, at)
            return
        if not _has_checksum(header):
            raise TarDamage(_header_problem(header, at))
        size, kind, start = _number(header[124:136], at), header[156:157], at + _BLOCK
        if kind in b"xXgLK":
            data = _extended_data(descriptor, start, size)
            if kind == b"L":
                extended.name = data.rstrip(b"\0")
            elif kind in b"xX":
                _read_pax(data, extended, at)
            at = _after(start, size)
            continue
        member, at = _member(descriptor, header, kind, start, size, extended)
        yield member
        if at > n_bytes:
            raise TarDamage("is cut: it ends within a member")
        extended = _Extended()


def _member(
    descriptor: int, header: bytes, kind: bytes, start: int, size: int, extended: _Extended
) -> tuple[Member, int]:
    """Return a member and where the next header is."""
    name = (_name(header) if extended.name is None else extended.name).decode(
        "utf-8", "surrogateescape"
    )
    if extended.size is not None:
        size = extended.size
    if kind in _WITHOUT_BYTES:
        return Member(name, start, 0, _WITHOUT_BYTES[kind]), start
    if kind == b"S":
        start = _after_sparse_map(descriptor, header, start)
        problem: str | None = _SPARSE
    elif extended.is_sparse:
        problem = _SPARSE
    else:
        problem = None if kind in _PLAIN else "is of a kind that is not read"
    return Member(name, start, size, problem), _after(start, size)


def _end_problem(at: int, rest: int) -> str:
    if at + rest == 0:
        return "is empty"
    if rest:
        return "is cut: it ends within a header" if at else "is no tar: it is too short"
    return "is cut: the blocks that end a tar are missing"


def _header_problem(header: bytes, at: int) -> str:
    if at:
        return f"is damaged: there is no header at byte {at}"
    packed = header.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
    return "is compressed; decompress it first" if packed else "is no tar"


def _has_checksum(header: bytes) -> bool:
    """Return whether the sum of a header's bytes, signed or not, is what it states."""
    try:
        stated = int(header[148:156].split(b"\0")[0] or b"-", 8)
    except ValueError:
        return False
    others = header[:148] + header[156:]
    total = sum(others) + 8 * ord(" ")
    return stated == total or stated == total - 256 * sum(byte > 127 for byte in others)


def _number(data: bytes, at: int) -> int:
    """Return a number: octal digits, or bytes after a first bit that is set."""
    if data[0] & 0x80:
        number = int.from_bytes(bytes([data[0] & 0x7F]) + data[1:], "big")
    else:
        digits = data.split(b"\0")[0].strip()
        if not (digits or b"0").isdigit():
            raise TarDamage(f"is damaged: the header at byte {at} states no size")
        try:
            number = int(digits or b"0", 8)
        except ValueError:
            number = _MOST_SIZE + 1
    if number > _MOST_SIZE:
        raise TarDamage(f"is damaged: the header at byte {at} states no size")
    return number


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _after(start: int, size: int) -> int:
    """Return where the block after some bytes begins."""
    return start + -(-size // _BLOCK) * _BLOCK


def _after_sparse_map(descriptor: int, header: bytes, start: int) -> int:
    """Return where the bytes of a sparse file begin: after the blocks that continue its map."""
    more = header[482]
    while more:
        block = os.pread(descriptor, _BLOCK, start)
        start += _BLOCK
        more = block[504] if len(block) == _BLOCK else 0
    return start


def _extended_data(descriptor: int, start: int, size: int) -> bytes:
    if size > _MOST_EXTENDED:
        raise TarDamage(f"is damaged: the header at byte {start - _BLOCK} describes {size} bytes")
    data = os.pread(descriptor, size, start)
    if len(data) < size:
        raise TarDamage("is cut: it ends within a header")
    return data


def _read_pax(data: bytes, extended: _Extended, at: int) -> None:
    """Take what the records of a pax header state: ``LENGTH KEY=VALUE`` and a line end each."""
    place = 0
    while place < len(data) and data[place]:
        digits = data[place : place + 20].split(b" ")[0]
        end = place + (int(digits) if digits.isdigit() else 0)
        # A length that is too short leaves no place for what a record has, not even nothing.
        key, equals, value = data[place + len(digits) + 1 : max(end - 1, 0)].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise TarDamage(f"is damaged: the extended header at byte {at} is malformed")
        place = end
        if key == b"path":
            extended.name = value
        elif key == b"size":
            extended.size = _pax_size(value, at)
        elif key.startswith(b"GNU.sparse."):
            extended.is_sparse = True
            if key == b"GNU.sparse.name":
                extended.name = value


def _pax_size(value: bytes, at: int) -> int:
    size = int(value) if value.isdigit() and len(value) < 20 else _MOST_SIZE + 1
    if size > _MOST_SIZE:
        raise TarDamage(f"is damaged: the extended header at byte {at} states no size")
    return size


def _check_after(descriptor: int, at: int) -> None:
    """Refuse what follows the end: a second tar, whose members no reader finds."""
    if any(os.pread(descriptor, _MOST_AFTER, at)):
        raise TarDamage("holds more after its end, such as a second tar, which is not read")
