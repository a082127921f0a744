"""Models that a run sent to this machine, by the hash of what they hold."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from fcs_edge.errors import CorpusError, FcsError
from fcs_edge.modelfile import catalogue

PART_BYTES = 8 << 20
"""Bytes of a model that travel at a time."""

_ABANDONED_SECONDS = 3600.0
"""That nobody writes to a part before it counts as abandoned."""
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9a-f]{8,64}")


def folder() -> Path:
    """Return the folder of models that runs have sent here."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.expanduser("~/.cache")
    return Path(cache) / "fcs-edge" / "models"


def find_here(model: str, sha256: str) -> str | None:
    """Return what loads a model on this machine: its name, its path, or that of a copy; or None.

    Parameters
    ----------
    model : str
        The model's name or path on the machine that leads the run.
    sha256 : str
        The hash of what it holds, `ModelFile.sha256`.
    """
    for text in (model, str(_copy(sha256))):
        with suppress(FcsError, OSError):
            if catalogue.referenced(text).sha256 == sha256:
                return text
    return None


def receive(sha256: str, sender: str, offset: int, data: bytes) -> None:
    """Take bytes of a model's file.

    Parameters
    ----------
    sha256 : str
        The hash of what the model holds.
    sender : str
        Who sends it, hexadecimal: copies of several senders do not mix.
    offset : int
        Where in the file the bytes belong. The first ones create it anew.
    data : bytes
        The bytes.
    """
    part = _part(sha256, sender)
    part.parent.mkdir(parents=True, exist_ok=True)
    if not offset:
        _remove_abandoned(part.parent)
    with part.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)


def complete(sha256: str, sender: str, file_sha256: str) -> None:
    """Give a received file its name, once its bytes are found to be the sender's.

    Raises
    ------
    CorpusError
        They are others.
    """
    part = _part(sha256, sender)
    digest = hashlib.sha256()
    try:
        with part.open("rb") as file:
            while data := file.read(PART_BYTES):
                digest.update(data)
            os.fsync(file.fileno())
        if digest.hexdigest() != file_sha256:
            raise CorpusError(f"{part}: the model was damaged on its way; run the command again")
        part.replace(_copy(sha256))
    finally:
        part.unlink(missing_ok=True)


def _remove_abandoned(parts: Path) -> None:
    """Remove what senders that died left."""
    latest = time.time() - _ABANDONED_SECONDS
    for left in parts.glob(".*.part"):
        with suppress(OSError):
            if left.stat().st_mtime < latest:
                left.unlink()


def _copy(sha256: str) -> Path:
    if not _HEX.fullmatch(sha256):
        raise CorpusError("a model's hash has 64 hexadecimal digits")
    return folder() / f"{sha256}.safetensors"


def _part(sha256: str, sender: str) -> Path:
    if not _NAME.fullmatch(sender):
        raise CorpusError("a sender's name is hexadecimal")
    return _copy(sha256).with_name(f".{sha256[:16]}-{sender}.part")
