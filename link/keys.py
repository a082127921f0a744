"""Key files, and stream numbers against replays; see docs/reference/link-protocol.md."""

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
"""Time between two writes of a receiver's record."""

_COMMENT = "# fcs-edge link key: whoever has this file can listen and speak\n"
_MAX_FILE = 4096


def new_key(path: Path) -> None:
    """Create a key file that only its owner can read.

    Parameters
    ----------
    path : Path
        The file to create.

    Raises
    ------
    FcsError
        The file exists, or is not writable.
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
        The file is missing, not readable, or no key file.
    """
    data = _read(path)
    if data is None:
        raise FcsError(
            f"{path}: no such key file; create one with fcs-edge key, and copy it to the other end"
        )
    lines = [line.strip() for line in data.splitlines()]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    try:
        key = base64.b64decode(b"\n".join(lines), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise FcsError(f"{path} is not a key file: it must hold 32 bytes as one line of base64")
    return key


def key_warning(path: Path) -> str | None:
    """Return a warning, one line, if other users can read or change a key file."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if not mode & 0o077:
        return None
    return f"other users can read or change the key {path} (mode {mode:o}): run chmod 600 {path}"


def new_stream(key_path: Path | None, now: int | None = None) -> tuple[int, str | None]:
    """Return the number of a stream that starts now, and record that it is used.

    The number is the clock, in nanoseconds since 1970, or one more than the last number if the
    clock went back. ``<key>.sent`` holds the last number; it is on disk before this returns.

    Parameters
    ----------
    key_path : Path, optional
        The key file; without one, nothing is written.
    now : int, optional
        The clock, in place of the system's.

    Returns
    -------
    stream : int
        The number, 0..2**64 - 1.
    warning : str or None
        One line, if the number could not be recorded.

    Raises
    ------
    FcsError
        The record is damaged or not readable, or no number remains. Or the clock went back and
        the record is not writable: the number would be used again.
    """
    clock = max(0, time.time_ns() if now is None else now)
    if key_path is None:
        return clock, None
    sidecar = _sidecar(key_path, ".sent")
    with _locked(key_path):
        last = _read_numbers(sidecar, [MAX_STREAM])
        stream = max(clock, last[0] + 1 if last else 0)
        if stream > MAX_STREAM:
            raise FcsError(f"no stream number remains for {key_path}: create a new key")
        problem = _write_numbers(sidecar, [stream])
    if problem is None:
        return stream, None
    if stream != clock:
        raise FcsError(
            f"the clock is behind the last stream, and {problem}: set the clock, or allow the write"
        )
    return stream, f"{problem}: do not set the clock back, or the key no longer protects"


class ReplayGuard:
    """A receiver's record of the streams of a key, which rejects replayed packets.

    A stream greater than the last one is new. The last one continues after the highest sequence
    that was recorded at the start. Older streams are replays. Within one run, the jitter buffer
    prevents replays: it never goes back in an authenticated stream.

    Parameters
    ----------
    key_path : Path
        The key file; ``<key>.seen`` holds the record.

    Attributes
    ----------
    warning : str or None
        One line, if the last write of the record failed.

    Raises
    ------
    FcsError
        The record is damaged or not readable.
    """

    def __init__(self, key_path: Path) -> None:
        self.warning: str | None = None
        self._path = _sidecar(key_path, ".seen")
        numbers = _read_numbers(self._path, [MAX_STREAM, MAX_SEQUENCES - 1])
        self._stream, self._highest = numbers or [-1, -1]
        self._floor = self._highest
        self._unsaved = False
        self._saved_at = 0.0

    def admit(self, stream: int, sequence: int, now: float) -> bool:
        """Return whether a packet is no replay, and record it.

        Writes ``<key>.seen`` at a new stream, then every 5 s at most. Each write waits for the
        disk.

        Parameters
        ----------
        stream, sequence : int
            Of an authentic packet.
        now : float
            Seconds of a monotonic clock.

        Returns
        -------
        bool
            False for a replay, which must be discarded.
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
        """Write the record if it changed; call this at the end too."""
        if not self._unsaved:
            return
        problem = _write_numbers(self._path, [self._stream, self._highest])
        self._unsaved = problem is not None
        self.warning = problem and f"{problem}: replayed packets are rejected in this run only"


def _sidecar(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other senders with the same key."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise FcsError(f"cannot lock {path}: {error.strerror}") from error


def _read(path: Path) -> bytes | None:
    """Return a small file's bytes, b"" for anything else, None if there is no file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
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
    # The newline marks an intact file.
    if re.fullmatch(rb"\d{1,20}( \d{1,20})*\n", data):
        numbers = [int(word) for word in data.split()]
        pairs = list(zip(numbers, limits, strict=False))
        if len(numbers) == len(limits) and all(number <= limit for number, limit in pairs):
            return numbers
    raise FcsError(
        f"{path} is damaged, so the used stream numbers are unknown: create a new key for both ends"
    )


def _write_numbers(path: Path, numbers: list[int]) -> str | None:
    """Write numbers as one line that survives a power cut; return the error, or None."""
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
