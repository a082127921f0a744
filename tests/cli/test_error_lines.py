"""One line for whatever a reader or writer raises: it names the file and the cause."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from safetensors import SafetensorError

from fcs_edge.tokens.npz import NpzWriter, origin_of
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
    ("zipfile.ZipFile._RealGetContents", ("decode", "in.npz", "out.wav")),
    ("zipfile.ZipExtFile.read", ("info", "in.npz")),
    ("fcs_edge.modelfile.tensors.mmap.mmap", ("info", "in.safetensors")),
]
LIBRARIES = [
    ("soundfile.SoundFile.__init__", soundfile.LibsndfileError(2), ("encode", "in.flac", "o.fcs")),
    ("soundfile.SoundFile.read", soundfile.LibsndfileError(2), ("encode", "in.flac", "o.fcs")),
    ("soundfile.SoundFile.__init__", soundfile.LibsndfileError(2), ("decode", "in.fcs", "o.ogg")),
    ("soundfile.SoundFile.write", soundfile.LibsndfileError(2), ("decode", "in.fcs", "o.flac")),
    ("soundfile.SoundFile.close", soundfile.LibsndfileError(2), ("decode", "in.fcs", "o.flac")),
    ("zipfile.ZipFile._RealGetContents", BadZipFile("odd"), ("decode", "in.npz", "o.wav")),
    ("zipfile.ZipExtFile.read", zlib.error("odd"), ("decode", "in.npz", "o.wav")),
    ("zipfile.ZipExtFile.read", NotImplementedError("odd"), ("info", "in.npz")),
    ("numpy.lib.format.read_magic", TokenError("odd"), ("decode", "in.npy", "o.wav")),
    ("fcs_edge.modelfile.tensors.mmap.mmap", ValueError("odd"), ("info", "in.safetensors")),
    ("safetensors.safe_open", SafetensorError("odd"), ("convert", "CHECKPOINT", "o.safetensors")),
]
"""What other libraries raise for a file, and the command that reads or writes it."""
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
    with (tmp_path / "in.npz").open("wb") as file:
        NpzWriter(file, origin_of(codec)).close(sound.size, tokens)
    (tmp_path / "in.safetensors").write_bytes(golden("tiny").model.read_bytes())
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


@pytest.mark.parametrize(("target", "error", "command"), LIBRARIES)
def test_libraries(
    target: str,
    error: Exception,
    command: Sequence[str],
    folder: Path,
    run: Callable,
    golden: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sorted(os.listdir(folder))

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(target, fail)
    line = run(*complete(command, golden)).failed()
    named = command[2] if target.startswith("soundfile") and command[0] == "decode" else command[1]
    if named == "CHECKPOINT":
        named = str(golden("tiny").checkpoint)
    assert line.startswith(f"fcs-edge: error: {named}"), line
    # A TokenError's text means nothing to a user.
    cause = "its header is damaged" if isinstance(error, TokenError) else str(error).strip(".")
    assert cause in line
    assert sorted(os.listdir(folder)) == before


def test_ctrl_c(
    folder: Path, run: Callable, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("soundfile.SoundFile.read", interrupt)
    line = run(*complete(("encode", "in.flac", "out.fcs"), golden)).failed()
    assert line == "fcs-edge: error: interrupted; no output was written"


def test_an_early_end_is_no_interrupt(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no reader of a file met: click turns it into its own exception."""

    def end(*_: Any) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr("fcs_edge.cli.models._print", end)
    for options in ((), ("--debug",)):
        result = run("models", *options)
        assert result.code == 1
        assert "EOFError: Ran out of input" in result.err.splitlines()[-1]
        assert "interrupted" not in result.err
        assert ("Traceback" in result.err) == bool(options)


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
    assert (folder / "out.fcs").stat().st_size > 60


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_no_escape_codes_outside_terminals(
    name: str, folder: Path, run: Callable, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (("encode", "in.wav", "out.fcs"), ("info", "in.fcs")):
        monkeypatch.setenv(name, "1")
        result = run(*complete(command, golden))
        assert result.code == 0
        assert "\x1b" not in result.out + result.err
