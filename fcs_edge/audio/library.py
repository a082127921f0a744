"""Sound that libsndfile decodes: FLAC, MP3, Ogg, Opus, ADPCM and others."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile

from fcs_edge.audio.foreign import RAW_ADVICE
from fcs_edge.errors import AudioError, shown
from fcs_edge.model.layers import F32

Decoder: TypeAlias = soundfile.SoundFile

_NO_COUNT = 1 << 62
_NOISE = re.compile(rb"\[\S*libmpg123/|Note: |Warning: ")
"""How lines of libmpg123 begin."""
_PLACE = re.compile(r"^\[\S*?(libmpg123)/[^\]]*\]\s*(?:(?:error|warning):\s*)?", re.IGNORECASE)
"""The source file and line of a message of libmpg123."""
_PREFIX = re.compile(r"^(?:Note|Warning): ")
_MOST_REMARK = 120

_LOGGED_FRAMES = {
    "MAT4": r"Cols *: (\d+)",
    "MAT5": r"Cols *: (\d+)",
    "MPC2K": r"Frames *: (\d+)",
    "WVE": r"Data length (\d+) should be",
}
"""Where libsndfile's log has the samples that a header states; the count it gives is the file's."""

_stderr_lock = threading.Lock()


class Damage(Exception):  # noqa: N818 - it does not leave this package
    """The decoder stops here; the text is its reason."""


class PatchedFile(io.RawIOBase):
    """A file that reads as if some of its bytes were others, without a copy."""

    def __init__(self, file: BinaryIO | io.RawIOBase, at: int, patch: bytes) -> None:
        self._file, self._at, self._patch = file, at, patch
        file.seek(0)

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the number of bytes."""
        start = self._file.tell()
        data = bytearray(self._file.read(len(buffer)) or b"")
        for i, value in enumerate(self._patch):
            if 0 <= self._at + i - start < len(data):
                data[self._at + i - start] = value
        buffer[: len(data)] = data
        return len(data)


def open_library(
    file: int | io.RawIOBase, label: str, *, quiet: bool = True, printed: list[str] | None = None
) -> Decoder:
    """Open a descriptor or a file object with libsndfile, to be read once and in order.

    Parameters
    ----------
    file : int or file object
        The descriptor of a file or pipe, or an object that can seek.
    label : str
        Its name in messages.
    quiet : bool
        Whether standard error is withheld from the library.
    printed : list, optional
        Takes the lines that libmpg123 prints.

    Raises
    ------
    AudioError
        libsndfile does not read it.
    """
    try:
        with quiet_libraries(printed) if quiet else nullcontext(), _left_open(file):
            sound = soundfile.SoundFile(file, closefd=False)
    except (soundfile.LibsndfileError, TypeError) as error:
        raise AudioError(
            f"{label}: not a readable sound file ({libsndfile_reason(error)}); {RAW_ADVICE}"
        ) from None
    # soundfile seeks after each block of a file that can seek. An MP3 decoder then starts anew.
    sound.seekable = lambda: False
    return sound


@contextmanager
def _left_open(file: int | io.RawIOBase) -> Iterator[None]:
    """Open a descriptor again where the block fails: libsndfile 1.2.0 has then closed it."""
    if not isinstance(file, int):
        yield
        return
    copy = os.dup(file)
    try:
        yield
    except BaseException:
        os.dup2(copy, file)
        raise
    finally:
        os.close(copy)


def stated_frames(sound: Decoder) -> int | None:
    """Return the samples that the header states; None if it states none."""
    logged = re.findall(_LOGGED_FRAMES.get(sound.format, "$^"), sound.extra_info)
    n = int(logged[-1] if logged else sound.frames)
    return n if 0 < n < _NO_COUNT else None


def read_blocks(sound: Decoder, frames: int, printed: list[str] | None = None) -> Iterator[F32]:
    """Yield (n, channels) float32, at most `frames` at a time.

    A list `printed` takes the lines that libmpg123 prints.

    Raises
    ------
    Damage
        The decoder stops early; what it decoded before has been yielded.
    """
    noisy = "MPEG" in sound.subtype
    while True:
        block = np.full((frames, sound.channels), np.nan, np.float32)
        reason = None
        try:
            with quiet_libraries(printed) if noisy else nullcontext():
                n = len(sound.read(out=block))
        except soundfile.LibsndfileError as error:
            # The count is lost with the exception; what is still NaN was not decoded.
            reason = libsndfile_reason(error)
            decoded = np.flatnonzero(~np.isnan(block[:, 0]))
            n = int(decoded[-1]) + 1 if decoded.size else 0
        if n:
            yield block[:n]
        if reason is not None:
            raise Damage(reason)
        if n == 0:
            return


def libsndfile_reason(error: Exception) -> str:
    """Return the reason in an error of libsndfile, without the file's name."""
    text = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    # It also says so where no frame of a format is found in a file that is open.
    return "it holds no whole frame" if text.startswith("File does not exist") else text


@contextmanager
def quiet_libraries(printed: list[str] | None = None) -> Iterator[None]:
    """Withhold what libmpg123 prints on standard error from the user, and from an output file.

    A list `printed` takes its lines.

    It writes to descriptor 2, whatever that is. In the meantime the descriptor leads to memory.
    What others wrote there is passed on afterwards. One thread at a time is in such a block.
    """
    with _stderr_lock:
        held = _memory()
        try:
            before: int | None = os.dup(2)
        except OSError:
            before = None
        try:
            os.dup2(held, 2)
            yield
        finally:
            if before is None:
                os.close(2)
            else:
                os.dup2(before, 2)
                os.close(before)
            _pass_on(held, before is not None, printed)
            os.close(held)


def _memory() -> int:
    """Return a descriptor to write to, for which no folder needs to be writable."""
    try:
        held = os.memfd_create("stderr")
    except (AttributeError, OSError):
        held = os.open(os.devnull, os.O_RDWR)
    if held != 2:
        return held
    # Descriptor 2 was closed, and now it is this one.
    other = os.dup(held)
    os.close(held)
    return other


def _pass_on(held: int, is_open: bool, printed: list[str] | None) -> None:
    """Write to standard error what libmpg123 did not write, and to a list what it did."""
    size = os.lseek(held, 0, os.SEEK_END)
    if not size:
        return
    lines = os.pread(held, size, 0).splitlines(keepends=True)
    if printed is not None:
        printed += [line.decode(errors="replace") for line in lines if _NOISE.match(line)]
    others = b"".join(line for line in lines if not _NOISE.match(line))
    if others and is_open:
        os.write(2, others)


def printed_remark(lines: Sequence[str]) -> str | None:
    """Return a remark on lines that a decoder printed: the first one, and how many follow.

    `quiet_libraries` keeps them from descriptor 2, which belongs to the program.
    """
    texts = [text for line in lines if (text := _without_place(line))]
    if not texts:
        return None
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return f"the decoder prints: {shown(texts[0], _MOST_REMARK)}{more}"


def _without_place(line: str) -> str:
    return _PREFIX.sub("", _PLACE.sub("", line)).strip().rstrip(".")
