"""Recordings that do not wait for a slow disk, and that are intact however they end."""

from __future__ import annotations

import io
import os
import queue
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from fcs_edge.audio import wav
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions

RECORDINGS_REMAIN = "recordings hold what came before"
"""What an interruption of live sound leaves."""

_QUEUE_CHUNKS = 1000
"""Chunks that may wait for the disk: 80 s of audio."""


class WavFile:
    """A 16-bit mono WAV file whose header is correct after each write: it may end at any time."""

    def __init__(self, file: BinaryIO, rate: int, limit: int = wav.MAX_SIZE) -> None:
        self._writer = wav.WavWriter(file, rate, limit=limit)
        self._writer.finish()

    def write(self, samples: F32) -> None:
        """Append (n,) float32 in [-1, 1]: first the samples, then the header that counts them."""
        self._writer.write(wav.to_pcm16(samples))
        self._writer.finish()


class _DirectFile(io.FileIO):
    """A file without a buffer: the write that finds the disk full is the one that fails."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += self._write_some(view[written:])
        return written

    def _write_some(self, data: memoryview) -> int:
        return super().write(data) or 0


class _Track:
    """One file of a recording, at its final path from the start: it remains after a kill.

    After a write that fails, the file ends where the last whole write ended.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path = path
        in_place = overwrite or (path.exists() and not stat.S_ISREG(path.stat().st_mode))
        self.file = cast(BinaryIO, _DirectFile(path, "w" if in_place else "x"))
        self.is_new = not in_place
        self.failed = False
        self._size = 0

    def write(self, append: Callable[[], None]) -> OSError | None:
        """Call what appends to the file, unless an earlier call failed; return its error."""
        if self.failed:
            return None
        try:
            append()
            self.mark()
        except OSError as error:
            self.failed = True
            self._cut()
            return error
        return None

    def mark(self) -> None:
        """Note that all that was written so far is whole."""
        self._size = os.fstat(self.file.fileno()).st_size

    def _cut(self) -> None:
        # A pipe has no length, and a device may be gone.
        with suppress(OSError):
            self.file.truncate(self._size)


class Recorder:
    """Writes the worker's chunks on its own thread.

    A file that cannot be written, as on a full disk, ends with what it holds. There is one warning
    for it; the other files and the sound go on.

    Parameters
    ----------
    bitstream, sound_in, sound_out : Path or None
        Where tokens, the encoder's input and the decoder's output go; None writes no file.
    codec : Codec
        The model of the tokens: its rates, and the coder of the bitstream's blocks.
    warn : callable
        Takes the text of a warning, on the recorder's thread.
    overwrite : bool, optional
        Whether existing files are replaced.
    options : FcsOptions, optional
        How the bitstream is written. A kill loses at most its last, incomplete block.

    Raises
    ------
    OSError
        A file does not open, or takes no header; `FileExistsError` without `overwrite`. Then no new
        file remains.
    """

    def __init__(
        self,
        bitstream: Path | None,
        sound_in: Path | None,
        sound_out: Path | None,
        codec: Codec,
        warn: Callable[[str], None],
        overwrite: bool = False,
        options: FcsOptions | None = None,
    ) -> None:
        self._tracks: list[_Track] = []
        self._rate_in, self._warn = codec.sample_rate_in, warn
        self._overwrite = overwrite
        self._crash: BaseException | None = None
        self._tokens: tuple[_Track, BitstreamWriter] | None = None
        self._in: tuple[_Track, WavFile] | None = None
        self._out: tuple[_Track, WavFile] | None = None
        self._n_samples = 0
        self.n_lost = 0
        """Chunks that were not recorded, because the disk was too slow."""
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        try:
            if bitstream is not None:
                track = self._open(bitstream)
                self._tokens = track, fcs_writer(track.file, codec, options)
            if sound_in is not None:
                track = self._open(sound_in)
                self._in = track, WavFile(track.file, codec.sample_rate_in)
            if sound_out is not None:
                track = self._open(sound_out)
                self._out = track, WavFile(track.file, codec.sample_rate_out)
        except OSError as error:
            self._close_files()
            for track in self._tracks:
                if track.is_new:
                    track.path.unlink(missing_ok=True)
            if error.filename is None and self._tracks:
                error.filename = str(self._tracks[-1].path)
            raise
        for track in self._tracks:
            track.mark()
        self._queue: queue.SimpleQueue[tuple[F32, U16, F32 | None] | None] = queue.SimpleQueue()
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether a file lacks sound: its disk was full, or too slow."""
        return self.n_lost > 0 or any(track.failed for track in self._tracks)

    def put(self, samples: F32, tokens: U16, sound: F32 | None) -> None:
        """Record a chunk: input samples, tokens and, where present, decoded samples.

        Any exception of the recorder's thread but one of writing is raised here.
        """
        self._raise_crash()
        if all(track.failed for track in self._tracks):
            return
        if self._queue.qsize() >= _QUEUE_CHUNKS:
            self.n_lost += 1
            return
        self._queue.put((samples.copy(), tokens.copy(), None if sound is None else sound.copy()))

    def close(self) -> None:
        """Write what waits, then finish and close the files."""
        self._queue.put(None)
        self._thread.join()
        if self._tokens is not None and self._crash is None:
            track, writer = self._tokens
            self._write_track(track, lambda: writer.close(self._n_samples))
        self._close_files()
        self._raise_crash()

    def _raise_crash(self) -> None:
        if self._crash is not None:
            raise self._crash

    def _close_files(self) -> None:
        for track in self._tracks:
            try:
                track.file.close()
            except OSError as error:
                track.failed = True
                self._report(track, error)

    def _open(self, path: Path) -> _Track:
        track = _Track(path, self._overwrite)
        self._tracks.append(track)
        return track

    def _work(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._write(*item)
        except BaseException as error:
            self._crash = error

    def _write(self, samples: F32, tokens: U16, sound: F32 | None) -> None:
        if self._tokens is not None:
            track, writer = self._tokens
            self._write_track(track, lambda: writer.write(tokens))
        if self._in is not None:
            track, file = self._in
            self._write_track(track, lambda: file.write(samples))
        if self._out is not None and sound is not None:
            track, file = self._out
            self._write_track(track, lambda: file.write(sound))
        self._n_samples += samples.size

    def _write_track(self, track: _Track, append: Callable[[], None]) -> None:
        error = track.write(append)
        if error is not None:
            self._report(track, error)

    def _report(self, track: _Track, error: OSError) -> None:
        seconds = self._n_samples / self._rate_in
        going = "; the sound goes on" if self._thread.is_alive() else ""
        self._warn(
            f"{track.path}: {error.strerror}; this recording ends after {seconds:.2f} s{going}"
        )
