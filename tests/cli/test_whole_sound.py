"""Commands with models that need the whole sound: they write, or refuse in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.cli import encode as encode_command
from fcs_edge.live import devices
from fcs_edge.streams import whole_signal
from fcs_edge.streams.whole_signal import WholeEncoder
from fcs_edge.streams.whole_windows import WindowEncoder

F32 = NDArray[np.float32]


@pytest.fixture
def model(golden: Callable) -> Path:
    """A model of 25 Hz that needs the whole sound, and all tokens."""
    path: Path = golden("nc_25").model
    return path


@pytest.fixture
def sound(second_speech: F32, tmp_path: Path) -> Callable[[int], Path]:
    """Write the first samples of a recording, and return the file."""

    def write(n_samples: int) -> Path:
        path = tmp_path / f"{n_samples}.wav"
        soundfile.write(path, second_speech[:n_samples], 16000, "PCM_16")
        return path

    return write


@pytest.mark.parametrize("n_samples", [1, 721, 16001])
def test_files(
    n_samples: int, golden: Callable, sound: Callable, run: Callable, tmp_path: Path
) -> None:
    case = golden("nc_25")
    for suffix in (".fcs", ".npz", ".npy"):
        path, decoded = tmp_path / f"a{suffix}", tmp_path / f"a{suffix}.wav"
        assert run("encode", "-m", case.model, sound(n_samples), path).code == 0
        assert run("decode", "-m", case.model, path, decoded).code == 0
    with np.load(tmp_path / "a.npz") as arrays:
        tokens, settings = arrays["tokens"], json.loads(str(arrays["settings"]))
        assert arrays["n_samples"] == n_samples
    np.testing.assert_array_equal(tokens, case.expected[f"toks_{n_samples}"])
    assert settings["causal"] is False
    assert "window" not in settings
    samples, of_array = (soundfile.read(tmp_path / f"a{s}.wav")[0] for s in (".fcs", ".npz"))
    assert samples.size == n_samples
    np.testing.assert_array_equal(samples, of_array)
    assert soundfile.info(tmp_path / "a.npy.wav").frames == 640 * tokens.size
    # Without a model's help: the length stays, though tokens stand for fewer samples.
    assert run("decode", "-m", case.model, tmp_path / "a.fcs", tmp_path / "b.npz").code == 0
    assert run("encode", "-m", case.model, tmp_path / "b.npz", tmp_path / "b.fcs").code == 0
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "a.npz").read_bytes()
    assert (tmp_path / "b.fcs").read_bytes() == (tmp_path / "a.fcs").read_bytes()
    assert "causal False" in run("info", tmp_path / "a.fcs").out


def test_windows(model: Path, sound: Callable, run: Callable, tmp_path: Path) -> None:
    source = sound(80000)
    arguments = ("--window", 2, "--overlap", 1, source)
    for name in ("w.fcs", "w.npz"):
        assert run("encode", "-m", model, *arguments, tmp_path / name).code == 0
    codec = fcs_edge.load(model)
    expected = codec.encode(fcs_edge.read_audio(source), window=2, overlap=1)
    with np.load(tmp_path / "w.npz") as arrays:
        np.testing.assert_array_equal(arrays["tokens"], expected)
        settings = json.loads(str(arrays["settings"]))
    assert (settings["window"], settings["overlap"]) == (2.0, 1.0)
    facts = json.loads(run("info", "--json", tmp_path / "w.fcs").out)
    assert facts["metadata"] == {"window": "32000", "overlap": "16000"}
    assert (facts["settings"]["window"], facts["settings"]["overlap"]) == (2.0, 1.0)
    assert run("info", tmp_path / "w.fcs").out.count("window ") == 1
    # Settings go along from file to file.
    assert run("decode", "-m", model, tmp_path / "w.fcs", tmp_path / "c.npz").code == 0
    assert run("encode", "-m", model, tmp_path / "c.npz", tmp_path / "c.fcs").code == 0
    assert (tmp_path / "c.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()
    assert (tmp_path / "c.fcs").read_bytes() == (tmp_path / "w.fcs").read_bytes()
    # One window holds the sound.
    assert run("encode", "-m", model, source, tmp_path / "e.fcs").code == 0
    assert run("encode", "-m", model, "--window", 6, source, tmp_path / "s.fcs").code == 0
    assert (tmp_path / "s.fcs").read_bytes() == (tmp_path / "e.fcs").read_bytes()


def test_a_long_sound_is_refused(
    model: Path,
    sound: Callable,
    run: Callable,
    shell: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole_signal, "EXACT_LIMIT", 1.0)
    out = tmp_path / "out.fcs"
    with monkeypatch.context() as patched:
        # Before the weights are read.
        patched.setattr(encode_command, "prepare", None)
        line = run("encode", "-m", model, sound(16001), out).failed(2)
    assert "--exact" in line
    assert "--window 30" in line
    assert not out.exists()
    assert run("encode", "-m", model, sound(16000), out).code == 0
    assert run("encode", "-f", "-m", model, "--exact", sound(16001), out).code == 0
    # A file whose header does not tell its length: what is read so far is too long.
    raw = tmp_path / "noise.au"
    raw.write_bytes(b".snd" + bytes.fromhex("00000018ffffffff00000003") + b"\0\0\x3e\x80\0\0\0\1")
    with raw.open("ab") as file:
        file.write(bytes(2 * 40000))
    line = run("encode", "-m", model, raw, tmp_path / "raw.fcs").failed(2)
    assert "--exact" in line
    assert not (tmp_path / "raw.fcs").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "code", "text"),
    [
        ("tiny", ("encode", "--window", 5), 2, "--window is for models that need the whole"),
        ("tiny", ("encode", "--exact"), 2, "--exact is for models that need the whole"),
        ("nc_25", ("encode", "--exact", "--window", 5), 2, "give one"),
        ("nc_25", ("encode", "--overlap", 1), 2, "give --window"),
        ("nc_25", ("encode", "--window", 3, "--overlap", 2), 2, "twice"),
        ("nc_25", ("encode", "--window", "nan"), 2, "nan"),
        ("nc_25", ("encode", "--dtx"), 2, "--dtx is for models that stream"),
        ("nc_25", ("encode", "--mic"), 1, "stream: edge-65k"),
        ("nc_25", ("mic",), 1, "stream: edge-65k"),
        ("nc_25", ("send", "--from", "IN", "localhost:9"), 1, "stream: edge-65k"),
        ("nc_25", ("receive", "--monitor", "off", "9"), 1, "stream: edge-65k"),
        ("nc_25", ("bench", "--chunks", 8), 2, "--chunks is for models that stream"),
        ("nc_25", ("bench", "--threads", 2), 2, "--threads is for models that stream"),
        ("nc_25", ("bench", "--plot", "x.png"), 2, "--plot is for models that stream"),
        ("tiny", ("bench", "--sound", 5), 2, "--sound is for models that need the whole sound"),
    ],
)
def test_refusals(
    name: str,
    arguments: tuple[object, ...],
    code: int,
    text: str,
    golden: Callable,
    sound: Callable,
    run: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "find", lambda *_: devices)
    monkeypatch.setattr(devices, "name", "a device", raising=False)
    command, *rest = (sound(5000) if value == "IN" else value for value in arguments)
    if command == "encode":
        rest += ["out.fcs"] if "--mic" in rest else [sound(5000), "out.fcs"]
    line = run(command, "-m", golden(name).model, *rest).failed(code)
    assert text in line
    assert not Path("out.fcs").exists()


def test_an_interrupt_leaves_nothing(
    model: Path, sound: Callable, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sound(16000)
    before = set(tmp_path.iterdir())

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encode_command, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(WholeEncoder, "flush", interrupt)
    monkeypatch.setattr(WindowEncoder, "flush", interrupt)
    for options in ((), ("--window", 1)):
        assert run("encode", "-m", model, *options, source, tmp_path / "out.fcs").code == 1
        assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("n_lost", [20, 250])
def test_damaged_blocks(
    n_lost: int, golden: Callable, second_speech: F32, run: Callable, tmp_path: Path
) -> None:
    """Silence stands for lost tokens; what is before and after a long gap is decoded by itself."""
    case = golden("nc_tiny")
    path, out = tmp_path / "a.fcs", tmp_path / "a.wav"
    source = tmp_path / "in.wav"
    soundfile.write(source, second_speech[:160000], 16000)
    arguments = ("--block", 0.2, "--raw-tokens", source, path)
    assert run("encode", "-m", case.model, *arguments).code == 0
    records = json.loads(run("info", "--json", "--records", path).out)
    blocks = [r for r in records if r["kind"] == "block"]
    data = bytearray(path.read_bytes())
    for block in blocks[10 : 10 + n_lost // 10]:
        data[block["offset"] + block["size"] - 4] ^= 255
    path.write_bytes(data)
    assert run("decode", "-m", case.model, path, out).code == 1
    samples = soundfile.read(out)[0]
    assert samples.size == 160000
    silent = np.flatnonzero(samples.reshape(-1, 320).any(1) == 0)
    np.testing.assert_array_equal(silent[silent < 499], np.arange(100, 100 + n_lost))
    assert run("decode", "--strict", "-m", case.model, path, tmp_path / "s.wav").code == 1
    assert not (tmp_path / "s.wav").exists()


def test_bench(model: Path, run: Callable) -> None:
    result = run("bench", "-m", model, "--seconds", 0.2, "--sound", 2, "--json", "-")
    facts = json.loads(result.out)
    assert "chunk" not in result.out
    assert "latency" not in result.out
    (measured,) = facts["runs"]
    assert measured["sound_s"] == 2
    assert measured["memory_peak_bytes"] > measured["memory_before_load_bytes"]
    for mode, stages in {"encode": 2, "decode": 2, "both": 4}.items():
        times = measured["modes"][mode]
        assert times["real_time_factor"] == pytest.approx(times["s_p50"] / 2)
        assert times["runs"] >= stages // 2
    shown = run("bench", "-m", model, "--seconds", 0.2, "--sound", 2).out
    assert "chunk" not in shown
    assert "2 s of sound at once" in shown


def test_demo_and_info(model: Path, sound: Callable, run: Callable, tmp_path: Path) -> None:
    assert run("demo", "-m", model, "-o", tmp_path, sound(20000)).code == 0
    assert soundfile.info(tmp_path / "fcs-edge-demo.wav").frames == 20000
    facts = json.loads(run("info", "--json", model).out)
    assert facts["latency"] is None
    assert facts["settings"]["causal"] is False
    shown = run("info", model).out
    assert "chunk" not in shown
