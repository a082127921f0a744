"""Outputs that appear meanwhile, are one file twice, links, pipes, devices, or odd names."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fcs_edge import files
from fcs_edge.cli import bench_run
from fcs_edge.cli import output_files as output_files_module
from fcs_edge.whole_files import write_fcs
from helpers import WRITERS

OLD = b"appeared meanwhile"


@pytest.fixture
def model(golden: Callable) -> Path:
    return golden("tiny").model


@pytest.fixture
def source(golden: Callable, speech: NDArray[np.float32], tmp_path: Path) -> Path:
    """A second of sound, in.wav, and its bitstream in.fcs beside it."""
    codec = golden("tiny").codec
    sound = speech[20000:36000]
    folder = tmp_path / "source"
    folder.mkdir()
    soundfile.write(folder / "in.wav", sound, 16000, "PCM_16")
    write_fcs(folder / "in.fcs", codec.encode(sound), sound.size, codec)
    return folder


def arguments_of(
    writer: Sequence[str], out: Path, source: Path, golden: Callable
) -> list[str | Path]:
    command, name, _ = writer
    if command == "convert":
        return [command, golden("tiny").checkpoint, out]
    return [command, "-m", golden("tiny").model, source / name, out]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: f"{writer[0]} {writer[2]}")
def test_each_writer(
    writer: Sequence[str],
    source: Path,
    golden: Callable,
    tmp_path: Path,
    run: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that appears midway stays; links are followed."""
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / writer[2]
    arguments = arguments_of(writer, out, source, golden)
    assert run(*arguments).code == 0
    whole = out.read_bytes()

    assert "exists already" in run(*arguments).failed()
    link = folder / f"link{out.suffix}"
    link.symlink_to(out.name)
    assert "exists already" in run(*arguments[:-1], link).failed()
    out.write_bytes(OLD)
    assert run(*arguments[:-1], link, "--force").code == 0
    assert link.is_symlink()
    # Each Ogg stream has a number of its own.
    assert out.read_bytes() == whole or (out.suffix, out.stat().st_size) == (".ogg", len(whole))
    out.unlink()
    assert run(*arguments[:-1], link).code == 0
    assert sorted(os.listdir(folder)) == sorted([link.name, out.name])
    out.unlink()

    opened = files._opened

    def slow(path: Path, overwrite: bool) -> object:
        context = opened(path, overwrite)
        out.write_bytes(OLD)
        return context

    with monkeypatch.context() as patch:
        patch.setattr(files, "_opened", slow)
        line = run(*arguments).failed()
    other = out.with_name(f"out-1{out.suffix}")
    assert line.endswith(f"{out}: another program created it meanwhile; the result is in {other}")
    assert (out.read_bytes(), other.stat().st_size) == (OLD, len(whole))


def test_one_file_twice(
    source: Path, model: Path, tmp_path: Path, run: Callable, golden: Callable
) -> None:
    """Other spellings, symbolic and hard links lead to one file; nothing is read or written."""
    fcs, wav = source / "in.fcs", source / "in.wav"
    os.link(fcs, tmp_path / "hard.wav")
    (tmp_path / "soft.npz").symlink_to(fcs)
    bitstream, checkpoint = fcs.read_bytes(), golden("tiny").checkpoint
    for arguments in (
        ("decode", "-f", "-m", model, fcs, tmp_path / "hard.wav"),
        ("decode", "-f", "-m", model, fcs, tmp_path / "soft.npz"),
        ("encode", "-f", "-m", model, tmp_path / "hard.wav", f"{source}/../source/./in.fcs"),
        ("convert", "-f", model, model),
        ("convert", "-f", checkpoint, checkpoint / "model.safetensors"),
        ("bench", "--json", tmp_path / "b.png", "--plot", tmp_path / "source/../b.png"),
    ):
        result = run(*arguments)
        assert result.code == 2, result.err
        assert "the same file; give each its own" in result.err
    assert fcs.read_bytes() == bitstream
    (tmp_path / "fcs-edge-demo.original.wav").symlink_to(wav)
    result = run("demo", "-f", "-m", model, "-o", tmp_path, wav)
    assert (result.code, "the same file" in result.err) == (2, True)


def test_identity_of_recordings(tmp_path: Path) -> None:
    """What live commands call: new names count too, devices may be used twice."""
    check = output_files_module.check_distinct
    check([str(tmp_path / "a"), None, str(tmp_path / "b"), "/dev/null", "/dev/null"])
    (tmp_path / "there").symlink_to(tmp_path)
    for other in (tmp_path / "there/a", os.path.relpath(tmp_path / "a")):
        with pytest.raises(Exception, match="the same file"):
            check([str(tmp_path / "a"), str(other)])


@pytest.mark.parametrize(
    ("command", "out"),
    [("encode", "f.fcs"), ("encode", "f.npy"), ("decode", "f.wav"), ("decode", "f")],
)
def test_a_pipe_with_a_name(
    command: str, out: str, source: Path, model: Path, tmp_path: Path, run: Callable
) -> None:
    """It receives what standard output would."""
    path = tmp_path / out
    os.mkfifo(path)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    name = "in.wav" if command == "encode" else "in.fcs"
    assert run(command, "-m", model, source / name, path).code == 0
    reader.join()
    assert path.is_fifo()
    assert received[0][:4] == {"f.fcs": b"FCS\x1a", "f.npy": b"\x93NUM"}.get(out, b"RIFF")
    assert len(received[0]) > (48000 if command == "decode" else 80)


def test_what_a_pipe_does_not_take(
    source: Path, model: Path, tmp_path: Path, run: Callable
) -> None:
    os.mkfifo(tmp_path / "f.flac")
    result = run("decode", "-m", model, source / "in.fcs", tmp_path / "f.flac")
    assert (result.code, ".flac needs a file; give .wav" in result.err) == (2, True)


def test_names_of_standard_output(
    source: Path, model: Path, tmp_path: Path, shell: Callable
) -> None:
    wav = shell("decode", "-q", "-m", model, source / "in.fcs", "/dev/stdout")
    assert (wav.returncode, wav.stderr, wav.stdout[:4]) == (0, b"", b"RIFF")
    assert len(wav.stdout) == 44 + 48000
    assert output_files_module.standard("/dev/fd/../fd/1") == "-"
    assert output_files_module.standard("stdout") == "stdout"


def test_names_that_are_not_utf_8(source: Path, model: Path, tmp_path: Path, run: Callable) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    fcs, npz = tmp_path / f"{odd}.FCS", tmp_path / f"{odd}.NPZ"
    (tmp_path / f"{odd}.WAV").write_bytes((source / "in.wav").read_bytes())
    assert run("encode", "-m", model, tmp_path / f"{odd}.WAV", fcs).code == 0
    assert run("decode", "-m", model, fcs, npz).code == 0
    for suffix in (".WAV", ".FLAC", ".OGG"):
        assert run("decode", "-m", model, npz, tmp_path / f"out{odd}{suffix}").code == 0
    assert run("info", fcs).code == 0
    line = run("decode", "-m", model, fcs, npz).failed()
    assert r"\xff\xfe.NPZ: exists already" in line


def test_a_link_to_itself(source: Path, model: Path, tmp_path: Path, run: Callable) -> None:
    (tmp_path / "a.wav").symlink_to("a.wav")
    line = run("decode", "-m", model, source / "in.fcs", tmp_path / "a.wav").failed()
    assert "a symbolic link that leads to itself" in line


def test_remains_are_mentioned(source: Path, model: Path, tmp_path: Path, run: Callable) -> None:
    left = tmp_path / ".a-0123abcd.wav"
    left.write_bytes(bytes(1234))
    result = run("decode", "-m", model, source / "in.fcs", tmp_path / "a.wav")
    assert result.code == 0
    assert f"{left}: 1,234 bytes that a killed run left; delete it" in result.err
    assert left.exists()


def test_files_of_bench_and_demo_that_appear(
    model: Path, tmp_path: Path, run: Callable, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b.json"

    def measure(*_: object) -> dict[str, object]:
        out.write_bytes(OLD)
        return {}

    monkeypatch.setattr(bench_run, "measure_layers", measure)
    monkeypatch.setattr("fcs_edge.cli.ui.bench_report.show", lambda facts: None)
    line = run("bench", "--layer", "gelu:4x8", "--json", out).failed()
    assert "the result is in" in line
    assert out.read_bytes() == OLD
    assert (tmp_path / "b-1.json").read_bytes() == b"{}\n"
