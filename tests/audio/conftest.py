"""Reads bytes as a file, and as a pipe on standard input."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from audio_cases import Read, read_all
from fcs_edge.audio.reader import open_input


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Read]:
    """Return a function that reads bytes from a pipe, in pieces."""

    def call(data: bytes, step: int = 1000, **options: object) -> Read:
        read_end, write_end = os.pipe()

        def write() -> None:
            try:
                for at in range(0, len(data), step):
                    os.write(write_end, data[at : at + step])
            except BrokenPipeError:
                pass
            os.close(write_end)

        writer = threading.Thread(target=write)
        writer.start()
        with os.fdopen(read_end, "rb") as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(file))
            try:
                with open_input("-", None, 0, 0, **options) as sound:  # type: ignore[arg-type]
                    return read_all(sound)
            finally:
                sys.stdin.detach()
                file.close()
                writer.join()

    return call


@pytest.fixture
def filed(tmp_path: Path) -> Callable[..., Read]:
    """Return a function that reads bytes from a file."""

    def call(data: bytes, **options: object) -> Read:
        path = tmp_path / "sound"
        path.write_bytes(data)
        with open_input(str(path), None, 0, 0, **options) as sound:  # type: ignore[arg-type]
            return read_all(sound)

    return call
