"""Reads a protected ``.fcs`` file group by group, and corrects it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol, cast

import numpy as np

from fcs_edge.bitstream.cell_layout import (
    GROUP_HEAD_BYTES,
    MAGIC,
    MARK_BYTES,
    MAX_CELL_BYTES,
    MAX_GROUP_BYTES,
    MIN_CELL_BYTES,
    Layout,
)
from fcs_edge.bitstream.cell_search import (
    INTACT,
    MISSING,
    FoundGroup,
    find_layout,
    place_cells,
    words_of,
)
from fcs_edge.bitstream.crc import crc_bytes, crc_holds
from fcs_edge.bitstream.header import MAGIC as PLAIN_MAGIC
from fcs_edge.bitstream.header import MIN_HEADER_BYTES, VERSION, header_size
from fcs_edge.bitstream.reed_solomon import Patience, correct, has_library
from fcs_edge.errors import BitstreamError
from fcs_edge.files import is_regular
from fcs_edge.text import counted

_ALL_SIZES = range(MIN_CELL_BYTES, MAX_CELL_BYTES + 1)
_SLACK_BYTES = 4096
"""Bytes after a group that are searched for its last cells."""
_WINDOW_BYTES = MAX_GROUP_BYTES + _SLACK_BYTES
_FIRST_BYTES = 1024
_PIPE_BYTES = 4096
"""Bytes of a pipe that are read before it counts as not protected."""
_PLAIN_START = PLAIN_MAGIC + bytes([VERSION])
_WRONG_MAGIC_BITS = 4
_MOST_MESSAGES = 20
_MOST_SEARCHES = 8
"""Magics of protected files among other bytes that may be wrong before they count no more."""


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""


@dataclass
class Repairs:
    """What was found in a protected file, so far.

    Attributes
    ----------
    groups : int
        Groups.
    cells : int
        Cells of these groups.
    cell_bytes : int
        Bytes of a cell.
    lost_cells : int
        Cells that were missing.
    corrected : int
        Bytes that were wrong or missing, and are right now.
    n_data, n_bytes : int
        Bytes of the file, and of its groups.
    n_failures : int
        Places that could not be corrected.
    failures : list of str
        One line for each of the first ones.
    lacks_library : bool
        Whether something was not corrected because the library is not installed.
    """

    groups: int = 0
    cells: int = 0
    cell_bytes: int = 0
    lost_cells: int = 0
    corrected: int = 0
    n_data: int = 0
    n_bytes: int = 0
    n_failures: int = 0
    failures: list[str] = field(default_factory=list)
    lacks_library: bool = False

    @property
    def share(self) -> float:
        """Bytes added for each byte of the file."""
        return (self.n_bytes + len(MAGIC)) / max(1, self.n_data) - 1

    def __str__(self) -> str:
        """Return what was corrected, in words."""
        lost = f", {self.lost_cells} of {counted(self.cells, 'cell')} missing"
        return f"{counted(self.corrected, 'byte')} corrected{lost if self.lost_cells else ''}"


class _Corrected(NamedTuple):
    """The data of a group."""

    data: bytes
    n_corrected: int
    problem: str
    """Empty if all of it is right."""
    correctable: bool = False
    """Whether the library, which is not there, may correct it."""


class ProtectedReader:
    """The bytes of a ``.fcs`` file, corrected where it is protected, as they are where it is not.

    It stores the largest group at most, 36 KB. What cannot be corrected passes on as it is, with
    zeros for cells that are missing, or without these where less than half are intact. The records
    in it have checks of their own. Without the library of Reed-Solomon codes nothing is corrected.
    It hands out twice the bytes of the source at most.
    Protected files and others may follow one another.

    Parameters
    ----------
    source : object with read
        The bytes of a file or pipe, in blocking mode.
    seekable : bool
        Whether the source ends by itself, as a file does. A group is then searched for even where
        nothing at the start says that there is one.
    strict : bool, optional
        Raise an error at the first bytes that cannot be corrected.

    Attributes
    ----------
    repairs : Repairs or None
        What was found so far; None while nothing says that the file is protected.
    n_read : int
        Bytes handed out so far.
    """

    def __init__(self, source: Readable, *, seekable: bool, strict: bool = False) -> None:
        self.repairs: Repairs | None = None
        self.n_read = 0
        self._unreported: list[str] = []
        self._read = getattr(source, "read1", source.read)
        self._search = seekable
        self._strict = strict
        self._opened = self._plain = self._ended = False
        self._n_source = 0
        self._buffer = bytearray()
        self._expected = 0
        self._ready = b""
        self._layout: Layout | None = None
        self._group = 0
        self._patience = Patience()
        self._n_searches = 0

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end.

        Raises
        ------
        BitstreamError
            With `strict`, if bytes cannot be corrected.
        """
        if not self._opened:
            self._opened = True
            self._plain = not self._is_protected()
        while not self._ready and self._has_more(size):
            if self._plain:
                self._next_plain()
            else:
                self._next_group()
        data, self._ready = self._ready[:size], self._ready[size:]
        # Groups that overlap, as only crafted or repeated bytes do, would otherwise multiply.
        most = 2 * self._n_source - self.n_read
        if len(data) > most:
            self._fail("cells are those of several groups; the rest of the file is left out")
            data, self._ready = data[:most], b""
        self.n_read += len(data)
        return data

    def problems(self) -> list[str]:
        """Return what could not be corrected since the last call, one line each."""
        new, self._unreported = self._unreported, []
        return new

    def _fill(self, size: int) -> bool:
        """Read until the buffer has `size` bytes; return whether it has."""
        while len(self._buffer) < size and not self._ended:
            data = self._read(size - len(self._buffer))
            self._buffer += data
            self._n_source += len(data)
            self._ended = not data
        return len(self._buffer) >= size

    def _is_protected(self) -> bool:
        """Return whether the source has groups, as far as its start allows that."""
        self._fill(len(MAGIC))
        start = bytes(self._buffer[: len(MAGIC)])
        near = len(start) == len(MAGIC) and _wrong_bits(start) <= _WRONG_MAGIC_BITS
        if start == PLAIN_MAGIC and self._has_plain_header():
            return False
        size, limit = _FIRST_BYTES, _WINDOW_BYTES if self._search else _PIPE_BYTES
        while near or self._search:
            more = self._fill(min(size, limit))
            self._layout = find_layout(words_of(self._buffer), _ALL_SIZES)
            if self._layout is not None:
                self.repairs = self.repairs or Repairs(cell_bytes=self._layout.cell_bytes)
                return True
            if not more or size >= limit:
                break
            size *= 4
        return False

    def _has_plain_header(self, at: int = 0) -> bool:
        """Return whether an intact header of a file that is not protected is there."""
        if not self._fill(at + MIN_HEADER_BYTES) or not self._buffer.startswith(_PLAIN_START, at):
            return False
        size = header_size(self._buffer, at)
        return self._fill(at + size) and crc_holds(self._buffer, at, size)

    def _has_more(self, size: int) -> bool:
        """Read what the next step needs; return whether there is anything."""
        if not self._plain:
            return self._fill(1)
        if self._search:
            self._fill(size + len(MAGIC) - 1)
        elif not self._buffer:
            data = self._read(size)
            self._buffer += data
            self._n_source += len(data)
        return bool(self._buffer)

    def _next_plain(self) -> None:
        """Hand out bytes that are not protected, up to the next protected file."""
        if self._buffer.startswith(MAGIC) and self._n_searches < _MOST_SEARCHES:
            if self._is_protected():
                self._plain, self._group, self._expected = False, 0, 0
                return
            self._n_searches += 1
        end = self._buffer.find(MAGIC, 1)
        if end < 0:
            # A magic may begin in the last bytes. A pipe may be live, so it does not wait.
            end = len(self._buffer) - (len(MAGIC) - 1) * (self._search and not self._ended)
        self._ready = bytes(self._buffer[:end])
        del self._buffer[:end]

    def _plain_follows(self, places: Iterable[int]) -> bool:
        """Return whether a file that is not protected begins at a place; drop what is before it."""
        at = next((at for at in places if self._has_plain_header(at)), None)
        if at is None:
            return False
        if at > self._expected:
            self._lose_strange(at - self._expected)
        self._drop(at, 0)
        self._plain = True
        return True

    def _next_group(self) -> None:
        """Correct the next group, or drop bytes that belong to none."""
        assert self.repairs is not None
        if self._plain_follows(sorted({0, self._expected})):
            return
        found = self._found_group()
        if found is None:
            starts = re.finditer(re.escape(_PLAIN_START), bytes(self._buffer))
            if self._plain_follows([start.start() for start in starts]):
                return
            size = len(self._buffer) if self._ended else len(self._buffer) // 2
            # A group's last cells may stand before the place of the next one.
            strange = size - self._expected
            if strange > 0:
                self._lose_strange(strange)
            self._drop(size, -strange)
            return
        layout = found.layout
        missing = (layout.group - self._group) % 4
        if missing == 3:
            self._fail(f"group {layout.group} is repeated, or out of order")
        else:
            if missing:
                self._fail(f"{counted(missing, 'group')} before group {layout.group} missing")
            self._take(found)
        # The cells before the first of the next group may be missing.
        last = np.flatnonzero(found.states == INTACT)[-1:]
        end = int(found.starts[last].sum()) + layout.cell_bytes if last.size else found.end
        self._drop(end, found.end - end)
        self._group = (layout.group + 1) % 4

    def _found_group(self) -> FoundGroup | None:
        """Return the next group, with the bytes that may belong to it in the buffer."""
        typical = _FIRST_BYTES if self._layout is None else self._layout.size
        for size in (self._expected + typical, _WINDOW_BYTES):
            self._fill(size)
            layout = self._voted()
            if layout is not None:
                break
        else:
            return None
        self._layout = layout
        # The last cells of the file before it may be missing.
        for at in (self._expected, 0):
            if _wrong_bits(self._buffer[at : at + len(MAGIC)]) <= 2:
                self._expected = at + len(MAGIC)
                self._group = 0
                break
        self._fill(self._expected + layout.size)
        found = self._placed(layout)
        whole = (found.states == INTACT).all() and found.starts[0] == self._expected
        if not whole and not self._ended:
            self._fill(self._expected + layout.size + _SLACK_BYTES)
            found = self._placed(layout)
        return found

    def _voted(self) -> Layout | None:
        words = words_of(self._buffer)
        known = () if self._layout is None else (self._layout.cell_bytes,)
        return find_layout(words, known) or find_layout(words, _ALL_SIZES)

    def _placed(self, layout: Layout) -> FoundGroup:
        """Return where the cells are; one of zeros stands for one that did not arrive."""
        stop = self._expected + layout.size + _SLACK_BYTES
        found = place_cells(words_of(self._buffer[:stop]), layout, self._expected)
        for cell in np.flatnonzero((found.starts >= 0) & (layout.marks != 0)).tolist():
            start = int(found.starts[cell])
            if not any(self._buffer[start : start + layout.cell_bytes]):
                found.states[cell] = MISSING
        return found

    def _take(self, found: FoundGroup) -> None:
        """Hand out the data of a group."""
        assert self.repairs is not None
        self._patience.grow(found.layout.size)
        result = _corrected(bytes(self._buffer), found, self._patience)
        self.repairs.groups += 1
        self.repairs.cells += found.layout.cells
        self.repairs.lost_cells += int((found.states == MISSING).sum())
        self.repairs.corrected += result.n_corrected
        self.repairs.n_data += len(result.data)
        self.repairs.n_bytes += found.layout.size
        if result.problem:
            advice = "; to correct them: pip install reedsolo"
            needed = result.correctable and not self.repairs.lacks_library
            self.repairs.lacks_library |= result.correctable
            self._fail(f"group {self.repairs.groups}: {result.problem}{advice * needed}")
        self._ready = result.data

    def _drop(self, size: int, expected: int) -> None:
        """Remove bytes from the buffer; the next group is expected so many bytes later."""
        del self._buffer[:size]
        self._expected = max(0, expected)

    def _lose_strange(self, count: int) -> None:
        self._fail(f"{counted(count, 'byte')} of a protected file belong to no group")

    def _fail(self, problem: str) -> None:
        assert self.repairs is not None
        if self._strict:
            raise BitstreamError(problem)
        self.repairs.n_failures += 1
        self._unreported.append(problem)
        if self.repairs.n_failures <= _MOST_MESSAGES:
            self.repairs.failures.append(problem)


def protected(file: Readable, *, strict: bool = False) -> ProtectedReader:
    """Return the bytes of a ``.fcs`` file, corrected where it is protected.

    Parameters
    ----------
    file : object with read
        A file or pipe, in blocking mode. It is never closed.
    strict : bool, optional
        Raise an error at the first bytes that cannot be corrected.
    """
    on_disk = isinstance(file, io.IOBase) and is_regular(cast(BinaryIO, file))
    return ProtectedReader(file, seekable=on_disk, strict=strict)


def _corrected(buffer: bytes, found: FoundGroup, patience: Patience) -> _Corrected:
    """Return the data of a group, corrected as far as possible."""
    layout = found.layout
    cells = np.zeros((layout.cells, layout.payload), np.uint8)
    for cell, start in zip(cells, found.starts.tolist(), strict=True):
        if start >= 0:
            own = np.frombuffer(buffer[start + MARK_BYTES : start + layout.cell_bytes], np.uint8)
            cell[: own.size] = own
    lost = int((found.states == MISSING).sum())
    size = f"{lost} of {layout.cells} cells are missing, and " if lost else ""
    intact = int((found.states == INTACT).sum())
    if 2 * intact < layout.cells:
        rest = cells[found.states != MISSING].tobytes()
        problem = f"{intact} of {layout.cells} cells are intact, which is too few to correct them"
        return _Corrected(rest[: len(buffer)], 0, problem)
    received = cells.reshape(-1)
    group = received.copy()
    failed = correct(group, found.states, layout, patience)
    n_corrected = int((group != received).sum())
    data = group[: layout.capacity + GROUP_HEAD_BYTES].tobytes()
    count = min(int.from_bytes(data[:2], "little"), layout.capacity)
    body = data[GROUP_HEAD_BYTES : GROUP_HEAD_BYTES + count]
    if crc_bytes(data[:2] + body) == data[2:GROUP_HEAD_BYTES]:
        return _Corrected(body, n_corrected, "")
    if not failed:
        return _Corrected(body, n_corrected, f"{size}the CRC does not match")
    if min(failed) < 2 and layout.capacity - count >= layout.codewords:
        # The count is wrong, or the group is a short one.
        body = data[GROUP_HEAD_BYTES:]
    size += f"{len(failed)} of {counted(layout.codewords, 'codeword')} "
    if has_library():
        return _Corrected(body, n_corrected, f"{size}have too many errors")
    return _Corrected(body, n_corrected, f"{size}have errors", correctable=True)


def _wrong_bits(start: bytes | bytearray) -> int:
    """Return by how many bits four bytes differ from the magic of a protected file."""
    value = int.from_bytes(start, "little") ^ int.from_bytes(MAGIC, "little")
    return bin(value).count("1")
