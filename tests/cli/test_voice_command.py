"""`voice make`, `info` of a voice, and `decode --voice`, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from voice_cases import drawn_voice

import fcs_edge
from fcs_edge.cli.voice_features import Collector, RowPool, levels
from fcs_edge.model.layers import F32

Run = Callable[..., Any]


@pytest.fixture
def voice(run: Run, wav: Path, tmp_path: Path) -> Path:
    path = tmp_path / "anna.voice"
    assert run("voice", "make", wav, path).code == 0
    return path


def test_rows_are_the_models_own(run: Run, wav: Path, voice: Path, tmp_path: Path) -> None:
    codec = fcs_edge.load()
    signal = fcs_edge.read_audio(wav)
    rows = codec.decompress(codec.codes(codec.encode(signal)))
    found = fcs_edge.load_voice(voice)
    assert (found.source, found.fingerprint) == ("decompressor", codec.fingerprint)
    own = {row.tobytes() for row in rows.astype(np.float16)}
    assert {row.tobytes() for row in found.rows} <= own
    assert 0.4 * len(rows) < len(found) < len(rows)
    assert found.seconds == pytest.approx(len(found) / 100, abs=0.01)


def test_silence_is_left_out(run: Run, speech: F32, tmp_path: Path) -> None:
    """Half a second of noise 60 dB below the speech gives no row."""
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 1e-4
    loud = speech[40000:56000]
    soundfile.write(tmp_path / "a.wav", loud, 16000, "FLOAT")
    soundfile.write(tmp_path / "b.wav", np.concatenate([loud, noise]), 16000, "FLOAT")
    sizes = []
    for name in ("a", "b"):
        assert run("voice", "make", tmp_path / f"{name}.wav", tmp_path / f"{name}.voice").code == 0
        sizes.append(len(fcs_edge.load_voice(tmp_path / f"{name}.voice")))
    # The last frames of speech ring on in the decompressor's rows of other frames.
    assert abs(sizes[1] - sizes[0]) <= 8


def test_rows_are_drawn_and_the_same_each_time(run: Run, wav: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.voice" for i in range(2)]
    for path in files:
        result = run("voice", "make", "--max-rows", 30, "--rows", "int8", wav, wav, path)
        assert result.code == 0
        assert "30 rows of" in result.err
    assert files[0].read_bytes() == files[1].read_bytes()
    assert fcs_edge.load_voice(files[0]).kind == "int8"


def test_info(run: Run, voice: Path) -> None:
    result = run("info", voice)
    assert result.code == 0
    for text in ("voice", "edge-65k", "the decompressor", "96", "f16"):
        assert text in result.out


def test_decode(run: Run, wav: Path, voice: Path, tmp_path: Path) -> None:
    assert run("encode", wav, tmp_path / "s.npy").code == 0
    assert run("decode", tmp_path / "s.npy", tmp_path / "o.wav", "--voice", voice).code == 0
    codec, tokens = fcs_edge.load(), np.load(tmp_path / "s.npy")
    expected = codec.decode(tokens, voice=fcs_edge.load_voice(voice))
    got, _ = soundfile.read(tmp_path / "o.wav", dtype="int16")
    assert np.abs(got - np.rint(expected * 32767)).max() <= 1


def test_another_models_voice_needs_a_word(
    run: Run, tiny: fcs_edge.Codec, golden: Callable[..., Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "t.npy", np.zeros(4, np.uint16))
    stranger = drawn_voice(tiny, 20)
    fcs_edge.Voice(stranger.rows, bytes(8), "other").save(tmp_path / "other.voice")
    model = golden("tiny").model
    arguments = ("decode", "-m", model, tmp_path / "t.npy", tmp_path / "o.wav")
    arguments += ("--voice", tmp_path / "other.voice")
    assert "--any-voice" in run(*arguments).failed()
    assert not (tmp_path / "o.wav").exists()
    assert run(*arguments, "--any-voice", "--topk", 1).code == 0
    narrow = run("decode", tmp_path / "t.npy", tmp_path / "p.wav", *arguments[-2:], "--any-voice")
    assert "rows of 48 values, and the model's have 96" in narrow.failed()


def test_half_a_model_names_what_decodes(
    run: Run, wav: Path, golden: Callable[..., Any], tmp_path: Path
) -> None:
    half, out = tmp_path / "half.safetensors", tmp_path / "half.voice"
    assert run("convert", "--part", "encoder", golden("tiny").model, half).code == 0
    built = run("voice", "make", "-m", half, wav, out)
    assert f"decode -m MODEL --voice {out}" in built.err
    assert "the whole model, or its decoder half" in built.err


def test_wrong_calls(run: Run, wav: Path, voice: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.zeros(4, np.uint16))
    decode = ("decode", tmp_path / "t.npy")
    assert "for --voice only" in run(*decode, tmp_path / "o.wav", "--topk", 3).failed(2)
    assert "sound only" in run(*decode, tmp_path / "u.npy", "--voice", voice).failed(2)
    assert "decoded only" in run("mic", "--monitor", "off", "--voice", voice).failed(2)
    assert "no voice; make" in run(*decode, tmp_path / "o.wav", "--voice", built_in()).failed()
    assert "no voice; make" in run(*decode, tmp_path / "o.wav", "--voice", wav).failed()
    assert "OUT must end in .voice" in run("voice", "make", wav, tmp_path / "o.wav").failed(2)
    assert "exists already" in run("voice", "make", wav, voice).failed()
    assert "no such file" in run("voice", "make", "-", tmp_path / "b.voice").failed()
    assert "is a folder; name" in run("voice", "make", tmp_path, tmp_path / "b.voice").failed()
    encoder = ("voice", "make", "--from", "encoder", wav, tmp_path / "b.voice")
    assert "use --from decompressor" in run(*encoder).failed()
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 16000)
    silent = run("voice", "make", tmp_path / "silent.wav", tmp_path / "b.voice")
    assert "holds silence only" in silent.failed()
    assert not (tmp_path / "b.voice").exists()


def built_in() -> Path:
    return fcs_edge.load().model.path


def test_ctrl_c_leaves_nothing(
    run: Run, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Collector, *arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Collector, "collect", interrupted)
    assert run("voice", "make", wav, tmp_path / "a.voice").code == 1
    assert {path.name for path in tmp_path.iterdir()} == {"speech.wav"}


def test_each_row_has_the_same_chance() -> None:
    counts = np.zeros(40)
    for seed in range(400):
        pool = RowPool(10, 1)
        pool._random = np.random.default_rng(seed)
        for start in (0, 3, 15):
            pool.add(np.arange(start, {0: 3, 3: 15, 15: 40}[start], dtype=np.float32)[:, None])
        assert len(np.unique(pool.rows)) == 10
        counts[pool.rows[:, 0].astype(int)] += 1
    # 100 each on average, with a spread of 8.7.
    assert counts.min() > 65
    assert counts.max() < 135


def test_levels() -> None:
    sine = np.sin(np.arange(640) * 2 * np.pi / 32).astype(np.float32)
    assert levels(sine[:500]) == pytest.approx([-3.01], abs=0.01)
    assert levels(sine * 0) == pytest.approx([-200, -200])
