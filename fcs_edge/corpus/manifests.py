"""Manifests to items: lines of JSON, tables, Kaldi's lists.

A line that is malformed raises an error before any work, as the manifest is then not what its user
takes it for. A file that is missing is a row with an error: the others are encoded.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

from fcs_edge.corpus.file_items import Naming, absolute, fault, file_item, open_regular
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.lhotse_cuts import is_lhotse, lhotse_entry
from fcs_edge.corpus.manifest_entries import PATH_KEYS, Entry, Malformed, row_entry
from fcs_edge.errors import CorpusError, reason, shown
from fcs_edge.text import counted, printable

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".csv", ".tsv", ".scp")
"""Suffixes of manifests. NeMo calls its lines of JSON ``.json``."""

_LINE_BYTES = 1 << 22
_BOM = b"\xef\xbb\xbf"


def manifest_items(path: str, naming: Naming, *, keep_text: bool) -> Iterator[Item]:
    """Yield the items of a manifest, in its order.

    Paths in it are relative to its folder. An item without an id is called by its path, and a part
    of a file by its place too: ``a.wav@1.5+2.0`` begins at 1.5 s and lasts 2 s.

    Parameters
    ----------
    path : str
        The manifest's absolute path.
    naming : Naming
        How files are called that have no id.
    keep_text : bool
        Whether items have the further columns.

    Raises
    ------
    CorpusError
        The manifest cannot be read, or a line is malformed.
    """
    folder = os.path.dirname(path)
    for entry in _entries(_Lines(path), keep_text):
        if entry.error is not None:
            yield _refused(entry)
            continue
        place = absolute(entry.path, folder)
        id = printable(entry.id) if entry.id else _part_id(naming.id(place), entry)
        yield file_item(
            *(place, id),
            offset=entry.offset,
            duration=entry.duration,
            columns=entry.columns,
            channel=entry.channel,
            seconds=entry.seconds,
        )


def _refused(entry: Entry) -> Item:
    """Return the item of an entry that is not read, and whose path need not be one."""
    return Item(
        printable(entry.id or entry.path),
        entry.path,
        offset=entry.offset,
        duration=entry.duration,
        error=entry.error,
        columns=entry.columns,
    )


def _part_id(id: str, entry: Entry) -> str:
    if entry.offset is None:
        return id
    return f"{id}@{entry.offset}" + ("" if entry.duration is None else f"+{entry.duration}")


class _Lines:
    """The lines of a manifest, none longer than 4 MiB.

    Parameters
    ----------
    path : str
        The manifest.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.number = 0
        """Of the line that was read last, from 1."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines, without their ends and without the mark that begins a UTF-8 file."""
        try:
            with open_regular(self.path) as file:
                lines = self._read(_unzipped(file) if self.path.lower().endswith(".gz") else file)
                yield from lines
        except OSError as cause:
            raise CorpusError(f"{printable(self.path)}: {fault(cause)}") from cause
        except (EOFError, zlib.error) as cause:
            raise CorpusError(f"{printable(self.path)}: is damaged ({reason(cause)})") from cause

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        while line := file.readline(_LINE_BYTES + 1):
            self.number += 1
            if len(line) > _LINE_BYTES:
                raise self.error(f"has over {_LINE_BYTES >> 20} MiB")
            yield (line.removeprefix(_BOM) if self.number == 1 else line).rstrip(b"\r\n")

    def texts(self) -> Iterator[str]:
        """Yield the lines as text."""
        for line in self:
            try:
                yield line.decode()
            except UnicodeDecodeError:
                raise self.error("is not UTF-8") from None

    def error(self, problem: str) -> CorpusError:
        """Return an error of the line that was read last."""
        return CorpusError(f"{printable(self.path)}:{self.number}: {problem}")


def _unzipped(file: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=file))


def _entries(lines: _Lines, keep_text: bool) -> Iterator[Entry]:
    """Yield the entries of a manifest by its suffix."""
    name = lines.path.lower()
    if name.endswith(".scp"):
        yield from _kaldi_entries(lines)
        return
    rows = _json_rows(lines) if ".json" in name[-9:] else _table_rows(lines, name[-4:])
    for row in rows:
        try:
            read = lhotse_entry if is_lhotse(row) else row_entry
            yield read(row, keep_text=keep_text)
        except Malformed as problem:
            raise lines.error(str(problem)) from None


def _json_rows(lines: _Lines) -> Iterator[Mapping[str, Any]]:
    for text in lines.texts():
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except RecursionError:
            raise lines.error("is nested too deeply") from None
        except ValueError as cause:
            raise lines.error(f"is no JSON ({reason(cause)})") from None
        if not isinstance(row, dict):
            raise lines.error("is no JSON object; one object a line is expected")
        yield row


def _table_rows(lines: _Lines, suffix: str) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a table by the names of its columns, which its first line has."""
    rows = _tabbed(lines) if suffix == ".tsv" else _csv_rows(lines)
    header = [name.strip() for name in next(rows, [])]
    if len(set(header)) < len(header):
        raise lines.error("names a column twice")
    if header and not set(header) & set(PATH_KEYS):
        names = shown(", ".join(header), 80)
        raise lines.error(f"has no column {' or '.join(PATH_KEYS)} in a header, but {names}")
    for row in rows:
        if len(row) != len(header):
            raise lines.error(f"has {counted(len(row), 'field')}, and the header {len(header)}")
        yield dict(zip(header, row, strict=True))


def _tabbed(lines: _Lines) -> Iterator[list[str]]:
    """Yield the fields of lines; in a .tsv a quote is a character like others."""
    return (text.split("\t") for text in lines.texts() if text.strip())


def _csv_rows(lines: _Lines) -> Iterator[list[str]]:
    """Yield the fields of rows; a field in quotes may have several lines."""
    size = 0

    def limited() -> Iterator[str]:
        nonlocal size
        for text in lines.texts():
            size += len(text)
            if size > _LINE_BYTES:
                raise lines.error("ends a row that is too long; is a quote missing?")
            yield f"{text}\n"

    try:
        for row in csv.reader(limited(), strict=True):
            size = 0
            if any(field.strip() for field in row):
                yield row
    except csv.Error as cause:
        raise lines.error(f"is no row of a table ({reason(cause)})") from None


def _kaldi_entries(lines: _Lines) -> Iterator[Entry]:
    """Yield the entries of a wav.scp; commands in it are not run."""
    for line in lines:
        text = os.fsdecode(line).strip()
        key, *rest = text.split(maxsplit=1) if text else [""]
        if not key:
            continue
        if not rest:
            raise lines.error("has a key and no path")
        piped = rest[0].endswith("|") or rest[0].startswith("|")
        yield Entry(rest[0], key, error="is a command, which is not run" if piped else None)
