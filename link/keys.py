"""Key files, each with one half of a key; see docs/reference/link-protocol.md."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import cast

from fcs_edge.errors import FcsError
from fcs_edge.link.seal import KEY_BYTES, LinkKey, Side

MAX_FILE = 4096
"""Bytes of the largest key file or record."""
SENT, SEEN = ".sent", ".seen"
"""What the names of a half's records end with."""

_COMMENT = "# fcs-edge link key: whoever has this file can listen and speak; the other end has {}\n"


def peer_path(path: Path) -> Path:
    """Return where `new_key` writes the other half of a key."""
    return path.with_name(f"{path.stem}.peer{path.suffix}")


def new_key(path: Path) -> Path:
    """Create the two halves of a key, as files that only their owner can read, without records.

    Parameters
    ----------
    path : Path
        The file of this end's half.

    Returns
    -------
    Path
        The file of the other end's half: ``voice.peer.key`` beside ``voice.key``.

    Raises
    ------
    FcsError
        A file exists, or is not writable. Neither file is left.
    """
    peer = peer_path(path)
    secret = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    _create(path, _COMMENT.format("side b") + f"a {secret}\n")
    try:
        _create(peer, _COMMENT.format("side a") + f"b {secret}\n")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    _remove_records(path)
    _remove_records(peer)
    return peer


def _remove_records(path: Path) -> None:
    """Remove what a deleted key of the same name left, such as a damaged record."""
    for end in (SENT, SEEN):
        with suppress(OSError):
            path.with_name(path.name + end).unlink()


def read_key(path: Path) -> LinkKey:
    """Read a key file.

    Parameters
    ----------
    path : Path
        The file: one line with ``a`` or ``b``, a space, and base64; empty lines and lines that
        begin with ``#`` are skipped.

    Returns
    -------
    LinkKey
        The secret, and the side of this end.

    Raises
    ------
    FcsError
        The file is missing, not readable, or no key file.
    """
    data = read_small(path)
    if data is None:
        raise FcsError(
            f"{path}: no such key file; create one with fcs-edge key, and move its second half "
            "to the other end"
        )
    lines = [line.strip() for line in data.splitlines()]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    match = re.fullmatch(rb"(?:([ab]) )?([A-Za-z0-9+/=]+)", b"\n".join(lines))
    try:
        secret = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        secret = b""
    if match is None or len(secret) != KEY_BYTES:
        raise FcsError(
            f"{path} is not a key file: it must hold a side, a or b, and 32 bytes of base64 "
            "in one line"
        )
    if match[1] is None:
        raise FcsError(f"{path} names no side, a or b: create a new key with fcs-edge key")
    return LinkKey(secret, cast(Side, match[1].decode()))


def key_warning(path: Path) -> str | None:
    """Return a warning, one line, if other users can read or change a key file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return f"other users can read or change the key {path} (mode {mode:o}): run chmod 600 {path}"


def read_small(path: Path) -> bytes | None:
    """Return a small file's bytes, b"" for anything else, None if there is no file.

    Raises
    ------
    FcsError
        The file is not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
            return b""
        with path.open("rb") as file:
            return file.read(MAX_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FcsError(f"cannot read {path}: {error.strerror}") from error


def _create(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FcsError(f"{path} exists, and keys are not overwritten: choose a new name") from error
    except OSError as error:
        raise FcsError(f"cannot write {path}: {error.strerror}") from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FcsError(f"cannot write {path}: {error.strerror}") from error
        raise
