"""One line for whatever a reader or writer raises: it names the file and the cause."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fcs_edge.whole_files import write_fcs
from helpers import COMMAND, WRITERS, limited_file_size

READERS = [
    ("fcs_edge.audio.byte_source.ByteSource.peek", ("encode", "in.wav", "out.fcs")),
    ("soundfile.SoundFile.read", ("encode", "in.flac", "out.npz")),
    ("fcs_edge.audio.reader.open", ("encode", "--raw", "s16le", "in.wav", "out.fcs")),
    ("fcs_edge.bitstream.reader.BitstreamReader.feed", ("decode", "in.fcs", "out.wav")),
    ("fcs_edge.bitstream.reader.BitstreamReader.feed", ("decode", "in.fcs", "out.npy")),
    ("fcs_edge.bitstream.reader.BitstreamReader.feed", ("info", "in.fcs")),
    ("numpy.lib.format.read_magic", ("decode", "in.npy", "out.wav")),
]
ERRORS: list[tuple[Exception, str]] = [
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    (OSError("odd"), "odd"),
    (MemoryError(), "memory"),
    (EOFError(), ""),
    (RecursionError(), ""),
]


@pytest.fixture
def folder(
    golden: Callable,
    speech: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The current folder, with a second of sound and its tokens."""
    codec = golden("tiny").codec
    sound = speech[20000:36000]
    for name in ("in.wav", "in.flac"):
        soundfile.write(tmp_path / name, sound, 16000, "PCM_16")
    tokens = codec.encode(sound)
    np.save(tmp_path / "in.npy", tokens)
    write_fcs(tmp_path / "in.fcs", tokens, sound.size, codec)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complete(command: Sequence[str], golden: Callable) -> list[str]:
    """Return a command with its model."""
    if command[0] == "convert":
        return [command[0], str(golden("tiny").checkpoint), command[2]]
    model = [] if command[0] == "info" else ["-m", str(golden("tiny").model)]
    return [command[0], *model, *command[1:]]


@pytest.mark.parametrize(("target", "command"), READERS)
def test_readers(
    target: str,
    command: Sequence[str],
    folder: Path,
    run: Callable,
    golden: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only Ctrl-C is an interrupt."""
    before = sorted(os.listdir(folder))
    source = next(part for part in command if part.startswith("in."))
    for error, cause in ERRORS:

        def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise type(error)(*error.args)

        with monkeypatch.context() as patch:
            patch.setattr(target, fail, raising=False)
            line = run(*complete(command, golden)).failed()
        assert line.startswith(f"fcs-edge: error: {source}: "), line
        assert cause in line
        assert "interrupted" not in line
        assert sorted(os.listdir(folder)) == before


def test_ctrl_c(
    folder: Path, run: Callable, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("soundfile.SoundFile.read", interrupt)
    line = run(*complete(("encode", "in.flac", "out.fcs"), golden)).failed()
    assert line == "fcs-edge: error: interrupted; no output was written"


@pytest.mark.parametrize("command", WRITERS, ids=lambda command: f"{command[0]} {command[2]}")
def test_writers(
    command: Sequence[str],
    folder: Path,
    run: Callable,
    golden: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up at the first byte, within a file, or when all of it goes to the disk."""
    before = sorted(os.listdir(folder))
    arguments = complete(command, golden)
    # Kernels are written to a cache, which has limits of its own.
    assert run(*arguments).code == 0
    half = (folder / command[2]).stat().st_size // 2
    (folder / command[2]).unlink()
    for size in (0, 60, half):
        with limited_file_size(size):
            result = run(*arguments)
        assert result.failed() == f"fcs-edge: error: {command[2]}: File too large"
        assert sorted(os.listdir(folder)) == before

    def fill(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fcs_edge.files.os.fsync", fill)
    line = run(*arguments).failed()
    assert line == f"fcs-edge: error: {command[2]}: No space left on device"
    assert sorted(os.listdir(folder)) == before


def test_little_address_space(folder: Path) -> None:
    """Libraries that cannot be loaded, or would end the process, are one line."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))

    command = [*COMMAND, "encode", "in.wav", "out.fcs"]
    done = subprocess.run(
        command, preexec_fn=limit, capture_output=True, cwd=folder, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "out of memory" in done.stderr
    assert not (folder / "out.fcs").exists()


def test_standard_error_is_full(folder: Path, golden: Callable) -> None:
    """Messages that cannot be written change no result."""
    command = [*COMMAND, *complete(("encode", "in.wav", "out.fcs"), golden)]
    with Path("/dev/full").open("wb") as full:
        assert subprocess.run(command, stderr=full, cwd=folder, timeout=120).returncode == 0
    assert (folder / "out.fcs").stat().st_size > 100


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_escape_codes_outside_terminals(
    name: str, folder: Path, run: Callable, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (("encode", "in.wav", "out.fcs"), ("info", "in.fcs")):
        monkeypatch.setenv(name, "1")
        result = run(*complete(command, golden))
        assert result.code == 0
        assert "\x1b" not in result.out + result.err
