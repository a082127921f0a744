"""Key files, and stream numbers that let no recorded packet in again; see docs/link.md."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from fcs_edge.errors import FcsError
from fcs_edge.files import replacing
from fcs_edge.link.packets import KEY_BYTES, MAX_SEQUENCES, MAX_STREAM

SAVE_SECONDS = 5.0
"""The time between two savings of what a receiver has seen."""

_COMMENT = "# fcs-edge link key: whoever has this file can listen and speak\n"
_MAX_FILE = 4096


def new_key(path: Path) -> None:
    """Make a key file that only its owner can read.

    Parameters
    ----------
    path : Path
        Where; nothing may be there.

    Raises
    ------
    FcsError
        If there is something, or the file cannot be written.
    """
    line = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FcsError(f"{path} exists, and keys are not overwritten: choose a new name") from error
    except OSError as error:
        raise FcsError(f"cannot write {path}: {error.strerror}") from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{_COMMENT}{line}\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise FcsError(f"cannot write {path}: {error.strerror}") from error


def read_key(path: Path) -> bytes:
    """Read a key file.

    Parameters
    ----------
    path : Path
        The file: one line of base64; empty lines and lines that begin with ``#`` are skipped.

    Returns
    -------
    bytes
        The key, 32 bytes.

    Raises
    ------
    FcsError
        If there is no such file, it cannot be read, or it is not a key file.
    """
    data = _read(path)
    if data is None:
        raise FcsError(f"there is no key file {path}: make one, and copy it to the other end")
    lines = [line.strip() for line in data.splitlines()]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    try:
        key = base64.b64decode(b"\n".join(lines), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise FcsError(f"{path} is not a key file: it must be 32 bytes as one line of base64")
    return key


def key_warning(path: Path) -> str | None:
    """Return a warning, one line, if others than its owner can read or change a key file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return f"others can read or change the key {path} (mode {mode:o}): chmod 600 it"


def new_stream(key_path: Path | None, now: int | None = None) -> tuple[int, str | None]:
    """Return the number of a stream that begins now, and write down that it is used.

    It is the clock, in nanoseconds since 1970, or one more than the last number if the clock
    went back. The last number is kept in ``<key>.sent``, which is on disk before this returns.

    Parameters
    ----------
    key_path : Path, optional
        The key file; without one nothing is written.
    now : int, optional
        The clock, instead of the system's.

    Returns
    -------
    stream : int
        The number, 0..2**64 - 1.
    warning : str or None
        One line, if the number could not be written down.

    Raises
    ------
    FcsError
        If what was written down is damaged or cannot be read, or no number is left; or if the
        clock went back and the number cannot be written down, as it would be used again.
    """
    clock = max(0, time.time_ns() if now is None else now)
    if key_path is None:
        return clock, None
    sidecar = _beside(key_path, ".sent")
    with _locked(key_path):
        last = _read_numbers(sidecar, [MAX_STREAM])
        stream = max(clock, last[0] + 1 if last else 0)
        if stream > MAX_STREAM:
            raise FcsError(f"no stream number is left for {key_path}: make a new key")
        problem = _write_numbers(sidecar, [stream])
    if problem is None:
        return stream, None
    if stream != clock:
        raise FcsError(
            f"the clock is behind the last stream, and {problem}: set the clock, or let it write"
        )
    return stream, f"{problem}: set no clock back, or this key's secrecy is gone"


class Seen:
    """What a receiver has seen of a key, so that recorded packets are not taken again.

    A stream greater than the last one is new. The last one goes on behind the highest sequence
    that was written down when this began. Older ones are replays. Within one run, the jitter
    buffer does the rest: it never goes back in a stream that is authenticated.

    Parameters
    ----------
    key_path : Path
        The key file; what was seen is kept in ``<key>.seen``.

    Attributes
    ----------
    warning : str or None
        One line, if what was seen could not be written down when last tried.

    Raises
    ------
    FcsError
        If what was written down is damaged or cannot be read.
    """

    def __init__(self, key_path: Path) -> None:
        self.warning: str | None = None
        self._path = _beside(key_path, ".seen")
        numbers = _read_numbers(self._path, [MAX_STREAM, MAX_SEQUENCES - 1])
        self._stream, self._highest = numbers or [-1, -1]
        self._floor = self._highest
        self._unsaved = False
        self._saved_at = 0.0

    def admit(self, stream: int, sequence: int, now: float) -> bool:
        """Tell whether a packet is none that was recorded, and remember it.

        Writes ``<key>.seen`` at a new stream, then every 5 s at most; each time the disk is
        waited for.

        Parameters
        ----------
        stream, sequence : int
            Of a packet that is authentic; nothing else may come here.
        now : float
            Seconds, of any clock that only rises.

        Returns
        -------
        bool
            False for a replay, which is to be thrown away.
        """
        if stream < self._stream or (stream == self._stream and sequence <= self._floor):
            return False
        new = stream > self._stream
        if new:
            self._stream, self._highest, self._floor = stream, sequence, -1
        self._highest = max(self._highest, sequence)
        self._unsaved = True
        if new or now - self._saved_at >= SAVE_SECONDS:
            self._saved_at = now
            self.save()
        return True

    def save(self) -> None:
        """Write down what was seen, if that is news; to be called at the end too."""
        if not self._unsaved:
            return
        problem = _write_numbers(self._path, [self._stream, self._highest])
        self._unsaved = problem is not None
        self.warning = problem and f"{problem}: recorded packets are refused in this run only"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other senders of the same key out."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise FcsError(f"cannot lock {path}: {error.strerror}") from error


def _read(path: Path) -> bytes | None:
    """Return a file's bytes; none of what cannot be a file of ours; None if there is no file."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE:
            return b""
        with path.open("rb") as file:
            return file.read(_MAX_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FcsError(f"cannot read {path}: {error.strerror}") from error


def _read_numbers(path: Path, limits: list[int]) -> list[int] | None:
    data = _read(path)
    if data is None:
        return None
    # The newline tells a whole file from a cut one.
    if re.fullmatch(rb"\d{1,20}( \d{1,20})*\n", data):
        numbers = [int(word) for word in data.split()]
        pairs = list(zip(numbers, limits, strict=False))
        if len(numbers) == len(limits) and all(number <= limit for number, limit in pairs):
            return numbers
    raise FcsError(
        f"{path} is damaged, so used stream numbers are not known: make a new key for both ends"
    )


def _write_numbers(path: Path, numbers: list[int]) -> str | None:
    """Write numbers as one line, to last through a power cut; return what went wrong."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(" ".join(map(str, numbers)) + "\n", encoding="ascii")
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        return f"cannot write {path} ({error.strerror})"
    return None
