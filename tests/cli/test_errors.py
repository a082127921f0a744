"""Errors of users and of machines: one line, and the right exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.audio.reader import open_input
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli.main import COMMANDS
from fcs_edge.tokens.fcs import header_of
from helpers import COMMAND


@pytest.fixture
def bitstream(wav: Path, tmp_path: Path, run: Callable) -> Path:
    path = tmp_path / "speech.fcs"
    assert run("encode", "--block", "0.4", wav, path).code == 0
    return path


def test_usage(run: Callable, wav: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("encode",), "Missing argument 'IN'"),
        (("encode", wav), "Missing argument 'OUT'"),
        (("encode", wav, "out.mp3"), "OUT must end in .fcs, .npz or .npy"),
        (("decode", "x.fcs", "out.mp3"), "OUT must end in .wav, .flac or .ogg"),
        (("encode", "--rate", "x", wav, "a.fcs"), "'x' is not a valid integer"),
        (("encode", "--raw", "u8", wav, "a.fcs"), "'u8' is not one of"),
        (("frobnicate",), "No such command"),
        (("--frobnicate",), "No such option"),
    ):
        assert message in run(*arguments).failed(2)


def test_no_command_is_the_help(run: Callable) -> None:
    result = run()
    assert (result.code, result.out) == (2, "")
    assert result.err == run("--help").out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_holds_an_example(command: str, run: Callable) -> None:
    result = run(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    examples = result.out.split("Example", 1)[-1] if command else result.out.split("Try it:")[1]
    assert examples.splitlines()[1].startswith(f"    fcs-edge {command}".rstrip())


def test_version(run: Callable) -> None:
    assert run("--version").out == f"fcs-edge, version {fcs_edge.__version__}\n"


def test_missing_files(run: Callable, wav: Path, tmp_path: Path) -> None:
    gone, out = tmp_path / "gone", tmp_path / "out"
    for arguments in (
        ("encode", gone, f"{out}.fcs"),
        ("encode", "--raw", "s16le", gone, f"{out}.fcs"),
        ("decode", f"{gone}.fcs", f"{out}.wav"),
        ("decode", f"{gone}.npy", f"{out}.wav"),
        ("info", gone),
        ("convert", gone, f"{out}.safetensors"),
        ("encode", "--model", gone, wav, f"{out}.fcs"),
        ("encode", wav, tmp_path / "no" / "folder" / "out.fcs"),
        ("demo", "--out", tmp_path / "nowhere"),
    ):
        assert "no such" in run(*arguments).failed()
    assert not any(tmp_path.glob("*out*"))


def test_nothing_is_overwritten(run: Callable, wav: Path, bitstream: Path, tmp_path: Path) -> None:
    for name, arguments in (
        ("a.fcs", ("encode", wav)),
        ("a.npy", ("encode", wav)),
        ("a.wav", ("decode", bitstream)),
    ):
        out = tmp_path / name
        out.write_bytes(b"precious")
        assert "--force overwrites it" in run(*arguments, out).failed()
        assert out.read_bytes() == b"precious"
        assert run(*arguments, out, "--force").code == 0
        assert out.read_bytes() != b"precious"


def test_a_folder_is_no_file(run: Callable, wav: Path, tmp_path: Path) -> None:
    (tmp_path / "d.fcs").mkdir()
    assert "is a folder" in run("encode", wav, tmp_path / "d.fcs").failed()
    assert "is a folder" in run("encode", tmp_path, tmp_path / "a.fcs").failed()
    assert run("decode", tmp_path / "d.fcs", tmp_path / "a.wav").failed()


@pytest.mark.parametrize("content", [b"", b"x", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", bytes(5000)])
def test_not_a_sound(content: bytes, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "in.wav").write_bytes(content)
    line = run("encode", tmp_path / "in.wav", tmp_path / "a.fcs").failed()
    assert "not a readable sound file" in line
    assert not any(tmp_path.glob("*.fcs"))


@pytest.mark.parametrize("rate", [1, 999, 1_000_001])
def test_a_rate_that_no_sound_has(rate: int, run: Callable, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(100, np.int16), rate)
    line = run("encode", tmp_path / "in.wav", tmp_path / "a.fcs").failed()
    assert f"a sample rate of {rate} Hz is not supported" in line


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    """1024 channels at 1 MHz would be 4 GB a second."""
    path = tmp_path / "in.wav"
    soundfile.write(path, np.zeros((10, 1024), np.int16), 1_000_000)
    with open_input(str(path), None, 0, 0) as sound:
        tracemalloc.start()
        mono = np.concatenate(list(sound.blocks))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert mono.size == 10
    assert peak < 50_000_000


def test_not_a_sound_on_standard_input(shell: Callable) -> None:
    done = shell("encode", "-", "-", data=b"")
    assert done.returncode == 1
    assert done.stderr.endswith(b"standard input: not a readable sound file: it is empty\n")


def test_an_input_without_sound(run: Callable, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(0, np.int16), 16000)
    for name in ("a.fcs", "a.npy"):
        assert "holds no sound" in run("encode", tmp_path / "in.wav", tmp_path / name).failed()
        assert not (tmp_path / name).exists()


def test_no_tokens(run: Callable, tmp_path: Path) -> None:
    with (tmp_path / "a.fcs").open("wb") as file:
        BitstreamWriter(file, header_of(fcs_edge.load())).close(0)
    np.save(tmp_path / "a.npy", np.zeros(0, np.uint16))
    assert run("info", tmp_path / "a.fcs").code == 0
    assert run("decode", tmp_path / "a.fcs", tmp_path / "a.wav").code == 0
    assert soundfile.info(tmp_path / "a.wav").frames == 0
    assert run("decode", tmp_path / "a.npy", tmp_path / "b.wav").code == 0


def test_silence(run: Callable, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(40000, np.int16), 16000)
    assert run("encode", tmp_path / "in.wav", tmp_path / "a.fcs").code == 0
    assert run("decode", tmp_path / "a.fcs", tmp_path / "a.wav").code == 0
    sound, _ = soundfile.read(tmp_path / "a.wav")
    assert sound.size == 60000


@pytest.mark.parametrize("rate", [16000, 48000])
def test_nan_samples(rate: int, run: Callable, tmp_path: Path) -> None:
    samples = np.sin(np.arange(rate) / 20).astype(np.float32) * 0.3
    zeroed = samples.copy()
    samples[100:110] = np.nan
    samples[200] = np.inf
    zeroed[[*range(100, 110), 200]] = 0
    soundfile.write(tmp_path / "nan.wav", samples, rate, "FLOAT")
    soundfile.write(tmp_path / "zero.wav", zeroed, rate, "FLOAT")
    result = run("encode", tmp_path / "nan.wav", tmp_path / "a.npy")
    assert result.code == 0
    assert "11 samples are NaN or infinite; they are encoded as 0" in result.err
    assert "warning" not in run("encode", tmp_path / "zero.wav", tmp_path / "b.npy").err
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


def test_samples_beyond_full_scale(run: Callable, tmp_path: Path) -> None:
    samples = 3 * np.sin(np.arange(16000) / 20).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", samples, 16000, "FLOAT")
    assert run("encode", tmp_path / "in.wav", tmp_path / "a.fcs").code == 0
    assert run("decode", tmp_path / "a.fcs", tmp_path / "a.wav").code == 0
    assert np.abs(soundfile.read(tmp_path / "a.wav")[0]).max() <= 1


def test_a_full_disk(wav: Path, bitstream: Path, shell: Callable) -> None:
    done = shell("encode", wav, "/dev/full")
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    with Path("/dev/full").open("wb") as full:
        for arguments in (("encode", wav, "-"), ("decode", bitstream, "-"), ("info", bitstream)):
            command = [*COMMAND, *map(str, arguments)]
            process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
            assert process.returncode == 1
            assert os.strerror(errno.ENOSPC).encode() in process.stderr
            assert b"Traceback" not in process.stderr


def test_closed_output(bitstream: Path) -> None:
    """As under `| head`: exit code 1, and no message."""
    command = [*COMMAND, "decode", "--quiet", str(bitstream), "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(50)[:4] == b"RIFF"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


def test_another_model(
    golden: Callable, floats: Path, run: Callable, bitstream: Path, wav: Path, tmp_path: Path
) -> None:
    line = run("decode", "--model", floats, bitstream, tmp_path / "a.wav").failed()
    assert "encoded with another model (" in line
    assert "--model" in line
    assert not (tmp_path / "a.wav").exists()
    forced = ("decode", "--any-model", "--model", floats, bitstream, tmp_path / "a.wav")
    assert run(*forced).code == 0
    assert soundfile.info(tmp_path / "a.wav").frames == 50000
    eleven_bits = golden("tiny").model
    line = run(*forced[:2], "--model", eleven_bits, bitstream, tmp_path / "b.wav").failed()
    assert "tokens of 16 bits" in line
    assert "do not fit tiny" in line
    narrow = tmp_path / "narrow.fcs"
    assert run("encode", "--model", eleven_bits, wav, narrow).code == 0
    line = run("decode", "--any-model", narrow, tmp_path / "b.wav").failed()
    assert "tokens of 11 bits" in line
    assert "samples at 16000 Hz, do not fit edge-65k" in line
    assert not (tmp_path / "b.wav").exists()


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"FCS", b"FCS\x1a", b"x" * 100, b"FCS\x1a\x01" + bytes(40), b"FCS\x1a\x03" + bytes(40)],
)
def test_not_a_bitstream(content: bytes, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "in.fcs").write_bytes(content)
    for arguments in (
        ("decode", tmp_path / "in.fcs", tmp_path / "a.wav"),
        ("info", tmp_path / "in.fcs"),
    ):
        run(*arguments).failed()
    assert not (tmp_path / "a.wav").exists()


def test_live_damage_is_reported(bitstream: Path, shell: Callable) -> None:
    damage(bitstream, 60)
    done = shell("decode", "-", "-", "--raw", "s16le", data=bitstream.read_bytes())
    assert done.returncode == 1
    assert b"warning" in done.stderr
    assert len(done.stdout) == 50000 * 2


@pytest.mark.parametrize(
    "array", [np.zeros((3, 3), np.uint16), np.zeros(4), np.array([65536]), np.array([-1])]
)
def test_bad_tokens(array: NDArray, run: Callable, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", array)
    run("decode", tmp_path / "in.npy", tmp_path / "a.wav").failed()
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04N."])
def test_bad_npy_files(content: bytes, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "in.npy").write_bytes(content)
    run("decode", tmp_path / "in.npy", tmp_path / "a.wav").failed()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_gives_sound_or_one_line(
    data: st.DataObject, bitstream: Path, tmp_path: Path, run: Callable
) -> None:
    content = bytearray(bitstream.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    (tmp_path / "fuzz.fcs").write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    out = tmp_path / "fuzz.wav"
    result = run("decode", "--force", "--any-model", tmp_path / "fuzz.fcs", out)
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    if out.exists():
        assert soundfile.info(out).frames <= (180_000 + len(content)) * 480
        out.unlink()


def test_unknown_kernels(wav: Path, tmp_path: Path, shell: Callable) -> None:
    environment = {**os.environ, "FCS_EDGE_KERNELS": "magic"}
    done = shell("encode", wav, tmp_path / "a.fcs", env=environment)
    assert done.returncode == 1
    assert b"FCS_EDGE_KERNELS is 'magic' in the environment; this CPU has" in done.stderr
    assert b"internal" not in done.stderr


def test_debug_shows_the_traceback(run: Callable, tmp_path: Path) -> None:
    result = run("info", "--debug", tmp_path / "gone.fcs")
    assert result.code == 1
    assert "Traceback" in result.err
