"""Inputs of a corpus to its items: folders, globs, files, manifests, archives, lists of paths."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import BinaryIO

from fcs_edge.corpus import manifests, tars
from fcs_edge.corpus.file_items import Naming, absolute, fault, file_item, is_sound
from fcs_edge.corpus.folder_trees import FolderTrees
from fcs_edge.corpus.items import Item
from fcs_edge.errors import CorpusError
from fcs_edge.text import printable

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_OWN_NAMES = ("_errors.tsv", "README.md", "dataset.json")
_OWN_FOLDERS = {"data": ".parquet", "stale": ".parquet", "npz": ".npz", "fcs": ".fcs"}
_PATH_BYTES = 1 << 16


def scan(
    inputs: Sequence[str],
    *,
    root: str | None = None,
    out: str | None = None,
    keep_text: bool = False,
    names: BinaryIO | None = None,
    nul: bool = False,
) -> Iterator[Item]:
    """Yield the items of inputs, in a fixed order.

    Memory does not grow with their number, but for the names of one folder. A folder gives the
    files in it that have a suffix of sound, and tars, in the order of their paths. Hidden files and
    folders are left out. A link to a folder is followed once; see `FolderTrees`.

    Parameters
    ----------
    inputs : sequence of str
        Folders, globs, files, manifests, tars; ``-`` for the paths in `names`.
    root : str or None
        The folder that ids are relative to. None: a folder or a glob's first folders themselves,
        the folder that a file or a manifest lies in, for `names` the current one.
    out : str or None
        The dataset, whose own files are never items.
    keep_text : bool
        Whether items have the further columns of manifests.
    names : binary file or None
        Paths, a line each; of files as `inputs` may have them.
    nul : bool
        Whether NUL ends the paths in place of line ends.

    Raises
    ------
    CorpusError
        An input is missing or gives no item, or a line of a manifest is malformed.
    """
    top = None if root is None else absolute(root)
    own = None if out is None or "://" in out else absolute(out)
    search = _Search(top, own, keep_text)
    for given in inputs:
        n = 0
        found = _listed(search, names, nul) if given == "-" else _input(search, os.fspath(given))
        for n, item in enumerate(found, 1):  # noqa: B007 - the count is read below
            yield item
        if n == 0:
            what = "standard input" if given == "-" else printable(given)
            raise CorpusError(f"{what}: gives no sound to encode; {_advice(given)}")


def _advice(given: str) -> str:
    if os.path.isdir(given):
        return "of a folder files with a suffix such as .wav count; FOLDER/* takes all files"
    return "name a folder, file, manifest or tar that has some"


@dataclass(frozen=True)
class _Search:
    """What all inputs of a scan share."""

    root: str | None
    own: str | None
    """The dataset's absolute path."""
    keep_text: bool

    def naming(self, base: str) -> Naming:
        return Naming(base, self.root)

    def owns(self, path: str) -> bool:
        """Return whether an absolute path is a file of the dataset itself."""
        if self.own is None or not path.startswith(f"{self.own}/"):
            return False
        first, *rest = path[len(self.own) + 1 :].split("/")
        if first.startswith(".") or (not rest and first in _OWN_NAMES):
            return True
        return bool(rest) and first in _OWN_FOLDERS and path.endswith(_OWN_FOLDERS[first])


def _input(search: _Search, given: str) -> Iterator[Item]:
    """Yield the items of one input that the user names."""
    path = absolute(given)
    if given and os.path.isdir(path):
        yield from _folder(path, search, search.naming(path))
    elif given and os.path.exists(path):
        yield from _file(path, search, search.naming(os.path.dirname(path)))
    elif glob.has_magic(given):
        yield from _glob(given, search)
    else:
        raise CorpusError(f"{printable(given) or 'an empty input'}: no such file or folder")


def _file(path: str, search: _Search, naming: Naming) -> Iterator[Item]:
    """Yield the items of a file, whatever its suffix; one that is missing is a row."""
    name = path.lower()
    if search.owns(path):
        return
    if name.endswith(_COMPRESSED):
        raise CorpusError(
            f"{printable(path)}: members of a compressed archive cannot be read in place; "
            "decompress it to a .tar first"
        )
    if name.endswith(".tar"):
        yield from tars.tar_items(path, naming.id(path))
    elif name.endswith(manifests.SUFFIXES):
        yield from manifests.manifest_items(path, naming, keep_text=search.keep_text)
    else:
        yield file_item(path, naming.id(path))


def _folder(top: str, search: _Search, naming: Naming) -> Iterator[Item]:
    """Yield the items of a folder and all below."""
    for path, error in _walk(top, _is_listed):
        if error is not None:
            yield Item(f"{naming.id(path)}/", path, error=error)
        elif path.lower().endswith(".tar"):
            yield from tars.tar_items(path, naming.id(path))
        else:
            yield file_item(path, naming.id(path))


def _is_listed(name: str) -> bool:
    return is_sound(name) or name[-4:].lower() == ".tar"


def _walk(top: str, wants: Callable[[str], bool]) -> Iterator[tuple[str, str | None]]:
    """Yield the paths of files in the order of paths, and folders that cannot be read, and why."""
    trees = FolderTrees(top)
    stack = [(top, trees.top, _names(top, wants))]
    while stack:
        folder, real, names = stack[-1]
        try:
            name = next(names, None)
        except OSError as cause:
            stack.pop()
            if not stack:
                raise CorpusError(f"{printable(folder)}: {fault(cause)}") from cause
            yield folder, fault(cause)
            continue
        if name is None:
            stack.pop()
        elif not name.endswith("/"):
            yield os.path.join(folder, name), None
        else:
            path = os.path.join(folder, name[:-1])
            if (below := trees.enter(path, real)) is not None:
                stack.append((path, below, _names(path, wants)))


def _names(folder: str, wants: Callable[[str], bool]) -> Iterator[str]:
    """Yield the names in a folder that are not hidden, sorted; those of folders end in a slash."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                names.append(f"{entry.name}/")
            elif wants(entry.name):
                names.append(entry.name)
    names.sort()
    names.reverse()
    while names:
        yield names.pop()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def _glob(pattern: str, search: _Search) -> Iterator[Item]:
    """Yield the items of the files that match, and of all in the folders that match."""
    parts = absolute(pattern).split("/")
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    base = "/".join(parts[:fixed]) or "/"
    naming = search.naming(base)
    n = 0
    for n, (path, error) in enumerate(_matches(base, parts[fixed:]), 1):  # noqa: B007 - see below
        if error is not None:
            yield Item(f"{naming.id(path)}/", path, error=error)
        elif os.path.isdir(path):
            yield from _folder(path, search, naming)
        else:
            yield from _file(path, search, naming)
    if n == 0:
        raise CorpusError(f"{printable(pattern)}: no file matches")


def _matches(base: str, parts: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the paths below a folder that match the parts of a pattern, as `_walk` does."""
    if "**" not in parts:
        for path in sorted(glob.glob(os.path.join(glob.escape(base), *parts))):
            yield path, None
        return
    for path, error in _walk(base, _all):
        if error is not None or _fits(os.path.relpath(path, base).split("/"), parts):
            yield path, error


def _all(_: str) -> bool:
    return True


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a pattern; ``**`` is any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        rest = pattern[1:]
        return not rest or any(_fits(parts[n:], rest) for n in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _listed(search: _Search, names: BinaryIO | None, nul: bool) -> Iterator[Item]:
    """Yield the items of the files that a list names."""
    if names is None:
        raise CorpusError("standard input is closed")
    current = os.getcwd()
    naming = search.naming(current)
    for data in _paths(names, b"\0" if nul else b"\n"):
        path = absolute(os.fsdecode(data), current)
        if os.path.isdir(path):
            yield from _folder(path, search, naming)
        else:
            yield from _file(path, search, naming)


def _paths(names: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Yield what stands before each end, but for empty paths."""
    rest = b""
    while data := names.read1(_PATH_BYTES) if hasattr(names, "read1") else names.read(_PATH_BYTES):
        *whole, rest = (rest + data).split(end)
        yield from _plain(whole, end)
        if len(rest) > _PATH_BYTES:
            between = "-0" if end == b"\n" else "-"
            raise CorpusError(
                f"standard input: a path has over {_PATH_BYTES} bytes; "
                f"{between} reads paths that end otherwise"
            )
    yield from _plain([rest], end)


def _plain(paths: list[bytes], end: bytes) -> Iterator[bytes]:
    """Yield paths without the second half of a line end of Windows; leave out what is empty."""
    for path in paths:
        if name := path.removesuffix(b"\r") if end == b"\n" else path:
            yield name
