"""Helpers that several test files share."""

from __future__ import annotations

import io
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.reader import BitstreamReader, Event, Tokens, read_batches
from fcs_edge.codec import Codec
from fcs_edge.tokens.fcs import PriorCoders
from fcs_edge.tokens.npy import open_npy

COMMAND = [sys.executable, "-m", "fcs_edge.cli"]
"""The command line of a separate process."""

FIRST_BLOCK = 24
"""Size of a recording that holds its first block, which is written whole: a header has 23 bytes."""

WRITERS = (
    ("encode", "in.wav", "out.fcs"),
    ("encode", "in.wav", "out.npy"),
    ("encode", "in.wav", "out.npz"),
    ("decode", "in.fcs", "out.wav"),
    ("decode", "in.fcs", "out.flac"),
    ("decode", "in.fcs", "out.ogg"),
    ("decode", "in.fcs", "out.npz"),
    ("convert", "CHECKPOINT", "out.safetensors"),
)
"""A command, an input and an output, for each code that writes a kind of file."""


@contextmanager
def limited_file_size(n_bytes: int) -> Iterator[None]:
    """Let files grow to a size only, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Recorded(io.RawIOBase):
    """A file that records each write, as the reader of a pipe receives them."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.writes.append(bytes(data))
        return len(data)


def writes_into(folder: Path, pid: int) -> bool:
    """Whether a process has a file open in a folder that has no name yet, or a hidden one."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = Path(os.readlink(link))
        except OSError:
            continue
        if target.parent == folder.resolve() and target.name[0] in "#.":
            return True
    return False


def read_npy(path: Path) -> list[NDArray[np.integer]]:
    """Return the blocks of tokens in an .npy file."""
    with open_npy(path) as array:
        return list(array.blocks)


def stream_events(path: Path, codec: Codec | None = None, **options: Any) -> list[Event]:
    """Return the events of a bitstream, whose model is `codec`, or one that has a name."""
    reader = BitstreamReader(coders=PriorCoders(codec), **options)
    with path.open("rb") as file:
        return [event for events in read_batches(file, reader) for event in events]


def stream_tokens(path: Path, codec: Codec | None = None, **options: Any) -> NDArray[np.uint16]:
    """Return the tokens of a bitstream that are intact."""
    events = stream_events(path, codec, **options)
    parts = [event.tokens for event in events if isinstance(event, Tokens)]
    return np.concatenate([np.zeros(0, np.uint16), *parts])


def merged(events: list[Event]) -> list[Any]:
    """Return events in a comparable form, with adjacent tokens joined."""
    out: list[Any] = []
    for event in events:
        if not isinstance(event, Tokens):
            out.append(event)
        elif out and isinstance(out[-1], list):
            out[-1] += event.tokens.tolist()
        else:
            out.append(event.tokens.tolist())
    return out


def rows_of_power(sound: NDArray[np.float32], size: int, hop: int) -> NDArray[np.float64]:
    """Return power spectra around each hop's centre, (rows, size / 2 + 1); a sine's peak is 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window *= 2 / window.sum()
    padded = np.pad(sound.astype(np.float64), (size - hop) // 2)
    rows = range(len(sound) // hop)
    return np.stack([np.abs(np.fft.rfft(padded[i * hop :][:size] * window)) ** 2 for i in rows])
