"""Paths of files that are named by the ids of a corpus, which are foreign text."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from fcs_edge.corpus.file_items import is_sound

_MOST_BYTES = 240
"""Bytes of a component: file systems allow 255, and a hidden file needs a few more."""

_MOST_PATH_BYTES = 2000
"""Bytes of a path: Linux allows 4,095 with the folder's own."""


def safe_path(id: str, suffix: str, *, keep_suffix: bool = False) -> str:
    """Return an id as a relative path with another suffix.

    The path stays below its folder: parts of the id that are empty, ``.`` or ``..``, and
    characters that a file name cannot hold, are written with underscores. Where that
    changes the id, or a part is too long, a hash of the id keeps the path unlike others.
    An id with too many parts has one part, and the hash.

    Parameters
    ----------
    id : str
        Any text.
    suffix : str
        The suffix of the path, with its dot.
    keep_suffix : bool
        Whether a suffix of sound stays in front of the new one.
    """
    parts = id.split("/")
    safe = [_safe_part(part) for part in parts]
    # A folder of this suffix may have the name of another id's file.
    safe[:-1] = [f"{part}_" if part.endswith(suffix) else part for part in safe[:-1]]
    is_changed = safe != parts
    if not keep_suffix:
        stem = PurePosixPath(safe[-1]).stem
        if stem != safe[-1] and is_sound(safe[-1]):
            safe[-1] = stem
    if is_changed or _is_long(safe[-1] + suffix):
        safe[-1] = f"{_cut(safe[-1])}-{_digest(id)}"
    path = "/".join([*safe[:-1], safe[-1] + suffix])
    if len(path.encode()) > _MOST_PATH_BYTES:
        return f"{_cut(safe[0])}-{_digest(id)}{suffix}"
    return path


def _safe_part(part: str) -> str:
    clean = "".join("_" if c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" else c for c in part)
    # A hidden file may be a writer's, and dots alone lead elsewhere.
    if not clean or clean[0] == ".":
        clean = f"_{clean[1:]}"
    return clean if not _is_long(clean) else f"{_cut(clean)}-{_digest(part)}"


def _is_long(text: str) -> bool:
    return len(text.encode()) > _MOST_BYTES


def _cut(text: str) -> str:
    return text.encode()[: _MOST_BYTES - 40].decode("utf-8", "ignore")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
