"""Recordings that do not wait for a slow disk, and that are intact however they end."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import BinaryIO

from fcs_edge import wav
from fcs_edge.bitstream.writer import BitstreamWriter, Header
from fcs_edge.errors import AudioError
from fcs_edge.model.layers import F32, U16

_QUEUE_CHUNKS = 1000
"""Chunks that may wait for the disk: 80 s of audio."""


class WavFile:
    """A 16-bit mono WAV file whose header is correct after each write: it may end at any time."""

    def __init__(self, file: BinaryIO, rate: int) -> None:
        self._file, self._rate = file, rate
        self._n_bytes = 0
        self._finish()

    def write(self, samples: F32) -> None:
        """Append (n,) float32 in [-1, 1]: first the samples, then the header that counts them."""
        data = wav.to_pcm16(samples).astype("<i2").tobytes()
        self._file.seek(0, 2)
        self._file.write(data)
        self._file.flush()
        self._n_bytes += len(data)
        self._finish()

    def _finish(self) -> None:
        # A header counts a day of samples at most; a longer file is read up to its end.
        size = min(self._n_bytes, wav.MAX_SIZE - 36)
        self._file.seek(0)
        self._file.write(wav.header(self._rate, size + 36, size))
        self._file.flush()


class Recorder:
    """Writes the worker's chunks on its own thread.

    Parameters
    ----------
    bitstream, sound_in, sound_out : Path or None
        Where tokens, the encoder's input and the decoder's output go; None writes no file.
    header : Header
        Of the bitstream.
    rate_in, rate_out : int
        Hz.

    Raises
    ------
    OSError
        A file is not writable.
    """

    def __init__(
        self,
        bitstream: Path | None,
        sound_in: Path | None,
        sound_out: Path | None,
        header: Header,
        rate_in: int,
        rate_out: int,
    ) -> None:
        self._files: list[BinaryIO] = []
        self._error: OSError | None = None
        self._tokens: BitstreamWriter | None = None
        self._in = self._out = None
        try:
            if bitstream is not None:
                self._tokens = BitstreamWriter(self._open(bitstream), header)
            if sound_in is not None:
                self._in = WavFile(self._open(sound_in), rate_in)
            if sound_out is not None:
                self._out = WavFile(self._open(sound_out), rate_out)
        except OSError:
            self._close_files()
            raise
        self._queue: queue.SimpleQueue[tuple[F32, U16, F32 | None] | None] = queue.SimpleQueue()
        self._n_samples = 0
        self.n_lost = 0
        """Chunks that were not recorded, because the disk was too slow."""
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, samples: F32, tokens: U16, sound: F32 | None) -> None:
        """Record a chunk: input samples, tokens and, where present, decoded samples.

        Raises
        ------
        AudioError
            Writing an earlier chunk failed.
        """
        if self._error is not None:
            raise AudioError(f"recording: {self._error.strerror}; is the disk full?")
        if not self._files:
            return
        if self._queue.qsize() >= _QUEUE_CHUNKS:
            self.n_lost += 1
            return
        self._queue.put((samples.copy(), tokens.copy(), None if sound is None else sound.copy()))

    def close(self) -> None:
        """Write what waits, then finish and close the files."""
        self._queue.put(None)
        self._thread.join()
        try:
            if self._error is None and self._tokens is not None:
                self._tokens.close(self._n_samples)
        finally:
            self._close_files()
        if self._error is not None:
            raise AudioError(f"recording: {self._error.strerror}; is the disk full?")

    def _close_files(self) -> None:
        for file in self._files:
            try:
                file.close()
            except OSError as error:
                self._error = self._error or error

    def _open(self, path: Path) -> BinaryIO:
        # At its final path from the start: the file must remain if this process is killed.
        file = path.open("wb")
        self._files.append(file)
        return file

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(*item)
                except OSError as error:
                    self._error = error

    def _write(self, samples: F32, tokens: U16, sound: F32 | None) -> None:
        if self._tokens is not None:
            self._tokens.write(tokens)
            self._n_samples += samples.size
        if self._in is not None:
            self._in.write(samples)
        if self._out is not None and sound is not None:
            self._out.write(sound)
