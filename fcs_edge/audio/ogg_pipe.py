"""Ogg from a pipe: libsndfile reads a pipe of its own, while the pages are followed here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import soundfile

from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.endings import OggPages
from fcs_edge.audio.library import open_library, read_blocks
from fcs_edge.model.layers import F32

_BYTES = 1 << 16
_SECONDS = 0.02
_PATIENCE = 0.02


class OggPipe:
    """A sound that arrives as Ogg.

    A thread decodes. The caller's thread reads the input, so that a signal can end its wait.

    Parameters
    ----------
    source : ByteSource
        The pipe.
    label : str
        Its name in messages.
    """

    def __init__(self, source: ByteSource, label: str) -> None:
        self._source, self._label = source, label
        self._decoded: SimpleQueue[soundfile.SoundFile | F32 | Exception | None] = SimpleQueue()
        read_end, self._write_end = os.pipe()
        self._thread = threading.Thread(target=self._decode, args=(read_end,), daemon=True)
        self._thread.start()
        self.pages = OggPages()
        self._is_open = True

    def open(self) -> soundfile.SoundFile:
        """Read on until the headers are there; return what they state.

        Raises
        ------
        AudioError
            The stream holds no sound that libsndfile reads.
        """
        while True:
            try:
                first = self._decoded.get(timeout=_PATIENCE if self._is_open else None)
            except Empty:
                self._pump()
                continue
            if isinstance(first, Exception):
                raise first
            return first

    def blocks(self) -> Iterator[F32]:
        """Yield (n, channels) float32.

        Raises
        ------
        Damage
            The decoder stops early.
        """
        try:
            while self._is_open:
                self._pump()
                while not self._decoded.empty():
                    if (block := self._next()) is None:
                        return
                    yield block
            while (block := self._next()) is not None:
                yield block
        finally:
            self.close()

    def close(self) -> None:
        """End the thread."""
        if self._is_open:
            self._is_open = False
            os.close(self._write_end)

    def _next(self) -> F32 | None:
        block = self._decoded.get()
        if isinstance(block, Exception):
            raise block
        return block

    def _pump(self) -> None:
        """Pass on the bytes that have arrived; wait for one."""
        data = self._source.read_some(_BYTES)
        self.pages.feed(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._write_end, view) :]
        except BrokenPipeError:
            data = b""
        if not data:
            self.close()

    def _decode(self, read_end: int) -> None:
        try:
            with open_library(read_end, self._label, quiet=False) as sound:
                self._decoded.put(sound)
                for block in read_blocks(sound, max(round(_SECONDS * sound.samplerate), 1)):
                    self._decoded.put(block)
            self._decoded.put(None)
        except Exception as error:
            self._decoded.put(error)
        finally:
            os.close(read_end)
