from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from helpers import COMMAND


def test_info_of_a_bitstream(wav: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "a.fcs"
    run("encode", wav, out)
    result = run("info", "--json", out)
    assert result.code == 0
    facts = json.loads(result.out)
    assert facts["kind"] == "bitstream"
    assert facts["model"] == "edge-65k"
    assert facts["samples"] == 33333
    assert facts["seconds"] == pytest.approx(33333 / 16000)
    assert (facts["tokens"], facts["tokens_lost"], facts["bitrate"]) == (105, 0, 800)
    assert facts["bytes"] == out.stat().st_size < 19 + 4 + 2 * 8 + 210 + 8
    assert facts["intact"] is facts["sound"] is True
    table = run("info", out)
    assert table.code == 0
    for text in ("edge-65k", "2.08 s", "0.80 kbps", "all pass"):
        assert text in table.out


def test_info_of_a_damaged_bitstream(wav: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "a.fcs"
    run("encode", wav, out)
    data = bytearray(out.read_bytes())
    data[100] ^= 1
    out.write_bytes(data)
    result = run("info", "--json", out)
    facts = json.loads(result.out)
    assert result.code == 1
    assert (facts["tokens"], facts["tokens_lost"], facts["sound"]) == (5, 100, False)
    assert facts["intact"] is False
    assert len(facts["problems"]) == 1
    assert "warning" in result.err


def test_info_of_the_built_in_model_says_what_it_is_good_for(run: Callable) -> None:
    result = run("info", "edge-65k")
    assert result.code == 0
    text = " ".join(result.out.replace("│", " ").split())
    assert "Raspberry Pi Zero 2 W" in text
    assert "docs/model-card.md" in text
    assert "7.56 M" in text
    facts = json.loads(run("info", "--json", "edge-65k").out)
    assert facts["fingerprint"] == fcs_edge.load().fingerprint.hex()


def test_info_of_a_model_file(
    golden: Callable, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(golden("options").model.read_bytes())
    facts = json.loads(run("info", "--json", path).out)
    assert (facts["model"], facts["bits_per_token"], facts["sample_rate_out"]) == (
        "options",
        16,
        16000,
    )
    monkeypatch.setenv("COLUMNS", "40")
    table = run("info", path).out
    # Whole, to be copied, on any terminal.
    assert f" {facts['sha256']}\n" in table
    assert f" {path.stat().st_size:,} bytes\n" in table
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = run("info", path)
    assert result.code == 1
    assert "SHA-256" in result.err


def test_demo(run: Callable, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("demo", "--out", tmp_path)
    assert result.code == 0
    size = (tmp_path / "fcs-edge-demo.fcs").stat().st_size
    rate = f"{8 * size / (125723 / 16000) / 1000:.2f} kbps: {size} bytes in all"
    for text in ("docs/model-card.md", rate, "80 ms", "compute time / audio time"):
        assert text in " ".join(result.out.split())
    names = sorted(os.listdir(tmp_path))
    assert names == [f"fcs-edge-demo.{s}" for s in ("fcs", "original.wav", "png", "wav")]
    assert (tmp_path / "fcs-edge-demo.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    clip, rate = soundfile.read(Path(fcs_edge.__file__).parent / "data" / "demo.flac")
    assert rate == 16000
    assert soundfile.info(tmp_path / "fcs-edge-demo.wav").frames == round(clip.size * 1.5)
    original, rate = soundfile.read(tmp_path / "fcs-edge-demo.original.wav")
    assert rate == 16000
    np.testing.assert_allclose(original, clip, atol=1 / 32768)
    assert run("decode", tmp_path / "fcs-edge-demo.fcs", tmp_path / "again.wav").code == 0
    sound = [soundfile.read(tmp_path / n)[0] for n in ("again.wav", "fcs-edge-demo.wav")]
    assert np.array_equal(*sound)
    assert "--force" in run("demo", "--out", tmp_path).failed()
    assert run("demo", "--out", tmp_path, "--force").code == 0


def test_demo_draws_in_the_terminal_without_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        f"from fcs_edge.cli.main import main; main(['demo', '--out', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names = ["fcs-edge-demo.fcs", "fcs-edge-demo.original.wav", "fcs-edge-demo.wav"]
    assert sorted(os.listdir(tmp_path)) == names
    assert "16 kHz in" in done.stdout
    assert "24 kHz out, 0.80 kbps" in done.stdout


def test_demo_of_ones_own_file(
    run: Callable, shell: Callable, tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    own, folder = tmp_path / "my voice.flac", tmp_path / "out"
    folder.mkdir()
    stereo = np.repeat(soxr.resample(speech[:32000], 16000, 44100)[:, None], 2, axis=1)
    soundfile.write(own, stereo, 44100)
    result = run("demo", own, "--out", folder)
    assert result.code == 0, result.err
    assert "2.00 s" in result.out
    original, rate = soundfile.read(folder / "fcs-edge-demo.original.wav", dtype="float32")
    assert (original.size, rate) == (32000, 16000)
    assert soundfile.info(folder / "fcs-edge-demo.wav").frames == 48000
    tokens = fcs_edge.load().encode(original)
    out = tmp_path / "a.npy"
    assert run("encode", folder / "fcs-edge-demo.original.wav", out).code == 0
    np.testing.assert_array_equal(np.load(out), tokens)
    assert "no such file" in run("demo", tmp_path / "gone.wav", "--out", folder, "--force").failed()


def test_the_next_steps_of_the_demo_run_as_typed(run: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    result = run("demo", "--out", folder)
    steps = [shlex.split(line) for line in result.out.split("Try next:")[1].splitlines()[1::2]]
    assert [step[:2] for step in steps] == [
        ["fcs-edge", name] for name in ("demo", "demo", "encode", "decode", "mic")
    ]
    assert "--play" in steps[0]
    soundfile.write(tmp_path / "MY.wav", np.zeros(16000), 16000)
    own = [str(tmp_path / "MY.wav") if part == "MY.wav" else part for part in steps[1]]
    for step in (own, steps[2], steps[3]):
        assert run(*step[1:]).code == 0
    assert sorted(p.name for p in folder.iterdir() if "demo" not in p.name) == [
        "decoded.wav",
        "speech.fcs",
    ]


@pytest.mark.parametrize("suffix", [".original.wav", ".fcs", ".wav", ".png"])
def test_demo_overwrites_nothing(suffix: str, run: Callable, tmp_path: Path) -> None:
    present = tmp_path / f"fcs-edge-demo{suffix}"
    present.write_bytes(b"precious")
    assert "--force overwrites it" in run("demo", "--out", tmp_path).failed()
    assert present.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == [present.name]


def test_demo_writes_all_or_nothing(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BitstreamWriter, "close", fail)
    assert "No space left on device" in run("demo", "--out", tmp_path).failed()
    assert os.listdir(tmp_path) == []


def test_demo_without_a_sound_system_plays_nothing(tmp_path: Path) -> None:
    fake, folder = tmp_path / "fake", tmp_path / "out"
    fake.mkdir()
    folder.mkdir()
    (fake / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    command = [*COMMAND, "demo", "--play", "--quiet", "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(fake)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "--play is skipped: the PortAudio library is missing" in done.stderr
    assert (folder / "fcs-edge-demo.original.wav").exists()
    assert (folder / "fcs-edge-demo.wav").exists()


def test_convert(golden: Callable, tmp_path: Path, run: Callable) -> None:
    case = golden("tiny")
    out = tmp_path / "tiny.safetensors"
    result = run("convert", case.checkpoint, out, "--name", "tiny")
    assert (result.code, result.out) == (0, "")
    assert fcs_edge.load(out).fingerprint == case.codec.fingerprint
    assert "--force" in run("convert", case.checkpoint, out).failed()
    assert run("convert", case.checkpoint, out, "--force", "--quiet").err == ""
    assert "no such" in run("convert", tmp_path / "x", tmp_path / "y.safetensors").failed()
    assert sorted(os.listdir(tmp_path)) == ["tiny.safetensors"]
