"""A corpus packed in loads is the same where it is unpacked; it may grow meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from train.corpus import pack as packing  # noqa: E402
from train.corpus import transfer  # noqa: E402
from train.corpus.packed_teacher import PackedTeacher  # noqa: E402
from train.data.corpus import FRAME_16K, FRAME_24K, Corpus, read, shares  # noqa: E402
from train.losses.whisper_features import load_small, read_weights, save_small  # noqa: E402


def noise(n: int, seed: int, top: float) -> NDArray[np.int16]:
    """Return noise, as loud as speech, with nothing above `top`, of half the samples a second."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    spectrum[int(top * len(spectrum)) :] = 0
    sound = np.fft.irfft(spectrum, n)
    return (sound * 6000 / np.abs(sound).max()).astype(np.int16)


def write(folder: Path, name: str, frames: int, band_hz: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, size, rate in (("16k", FRAME_16K, 16000), ("24k", FRAME_24K, 24000)):
        sound = noise(frames * size, seed, 2 * 0.9 * band_hz / max(rate, 2 * band_hz))
        np.save(folder / f"{name}.{kind}.npy", sound)
    np.save(folder / f"{name}.whisper.npy", np.zeros((frames, 24), np.float16))
    facts = {"source": name, "band_hz": band_hz, "real": True, "voices": ["a", "b"]}
    facts["utterances"] = [[0, frames, 0, "words", {}]]
    (folder / f"{name}.json").write_text(json.dumps(facts))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    write(folder, "wide", 130, 11000, 1)
    write(folder, "narrow", 90, 3600, 2)
    write(folder, "wide-slower", 50, 9000, 3)
    write(folder / "held_out", "held", 40, 11000, 4)
    np.save(folder / "noise.npy", noise(16000, 5, 1.0))
    return folder


def pack(corpus: Path, loads: Path, whisper: Path, *more: str) -> str:
    model = str(whisper / "model.bin")
    arguments = ["pack", str(corpus), str(loads), "--teacher", model, "--recogniser", model, *more]
    result = CliRunner().invoke(transfer.main, arguments)
    return result.output if result.exit_code == 0 else f"failed: {result.output}"


def test_a_packed_corpus_arrives(
    corpus: Path, tiny_whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PIECE_FRAMES", 50)
    loads, arrived = tmp_path / "loads", tmp_path / "arrived"
    assert "6 pieces of 3 shards in" in pack(corpus, loads, tiny_whisper, "--mb", "0.35")
    assert len(list(loads.iterdir())) > 1
    for load in loads.iterdir():
        assert sum(path.stat().st_size for path in load.iterdir()) <= 0.35e6
    first = sorted(path.name for path in (loads / "00").glob("*.json"))
    assert "held.0.json" in first
    done = CliRunner().invoke(transfer.main, ["unpack", str(loads), str(arrived), "--once"])
    assert done.exit_code == 0, done.output
    for before, after in (
        (read(corpus, "whisper"), read(arrived, "whisper")),
        (read(corpus / "held_out", "whisper"), read(arrived / "held_out", "whisper")),
    ):
        expected = [shard for shard in before if not shard.name.endswith("-slower")]
        assert [s.name for s in after] == [s.name for s in expected]
        for old, new in zip(expected, after, strict=True):
            assert (new.source, new.band_hz, new.real) == (old.source, old.band_hz, old.real)
            assert (new.n_voices, new.n_frames) == (old.n_voices, old.n_frames)
            assert new.teacher.shape == (old.n_frames, 24)
            same, other = ("at_16k", "at_24k") if old.band_hz < 7600 else ("at_24k", "at_16k")
            np.testing.assert_array_equal(getattr(new, same), getattr(old, same))
            # The other rate is made anew: the two noises are not alike, but as loud.
            loud = [np.std(getattr(s, other).astype(float)) for s in (new, old)]
            assert 0.5 < loud[0] / loud[1] < 2
    np.testing.assert_array_equal(np.load(arrived / "noise.npy"), np.load(corpus / "noise.npy"))
    assert (arrived / "recogniser.safetensors").exists()


def test_features_are_the_encoders(tiny_whisper: Path) -> None:
    """Windows overlap, and each keeps its middle; 8 bits change little."""
    exact = PackedTeacher(read_weights(tiny_whisper / "model.bin"))
    sound = noise(1600 * FRAME_16K, 6, 0.5)
    result = exact.features(sound)
    assert result.shape == (1600, 24)
    mels = torch.stack([exact._mel(sound[: 1500 * FRAME_16K])])
    np.testing.assert_allclose(result[:1400], exact._encode(mels)[0, :1400].half(), atol=2e-2)
    mels = torch.stack([exact._mel(sound[1300 * FRAME_16K :])])
    np.testing.assert_allclose(result[1400:], exact._encode(mels)[0, 100:300].half(), atol=2e-2)
    save_small(tiny_whisper / "model.bin", tiny_whisper / "small.safetensors")
    small = PackedTeacher(load_small(tiny_whisper / "small.safetensors"))
    short = sound[: 100 * FRAME_16K]
    alike = np.corrcoef(small.features(short).ravel(), exact.features(short).ravel())
    assert alike[0, 1] > 0.99


def test_a_corpus_may_grow(corpus: Path) -> None:
    growing = Corpus(corpus, "whisper", 2.0, {"narrow": 3.0})
    result = growing.renewed()
    assert result is not None
    assert len(result[0]) == 3
    assert growing.renewed() is None
    write(corpus, "more", 60, 11000, 7)
    # One that is being written is left for later, and the others are drawn from meanwhile.
    late = corpus / "more.16k.npy"
    complete = late.read_bytes()
    np.save(late, np.zeros(3, np.int16))
    assert growing.renewed() is None
    late.write_bytes(complete)
    result = growing.renewed()
    assert result is not None
    assert [s.name for s in result[0]] == ["more", "narrow", "wide-slower", "wide"]
    np.testing.assert_array_equal(result[1], shares(result[0], 2.0, {"narrow": 3.0}))


def test_pieces_that_do_not_fit_are_refused(
    corpus: Path, tiny_whisper: Path, tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    assert "first load is larger" in pack(corpus, loads, tiny_whisper, "--mb", "0.01")
    write(corpus, "long", 600, 11000, 8)
    assert "long: a piece is larger" in pack(corpus, loads, tiny_whisper, "--mb", "0.35")
    assert not loads.exists()
    loads.mkdir()
    (loads / "mine").write_text("kept")
    assert "is not empty" in pack(corpus, loads, tiny_whisper)
    (loads / "mine").unlink()
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert "no shards" in pack(nothing, loads, tiny_whisper)


def test_truncated_files_are_refused(corpus: Path, tiny_whisper: Path, tmp_path: Path) -> None:
    loads, arrived = tmp_path / "loads", tmp_path / "arrived"
    pack(corpus, loads, tiny_whisper)
    flac = next(loads.rglob("wide.0.flac"))
    complete = flac.read_bytes()

    def take() -> tuple[int, str]:
        result = CliRunner().invoke(transfer.main, ["unpack", str(loads), str(arrived), "--once"])
        return result.exit_code, result.output

    for damaged in (complete[: len(complete) // 2], b""):
        flac.write_bytes(damaged)
        code, message = take()
        assert code == 1
        assert "wide.0.flac: truncated" in message
        assert not (arrived / "wide.json").exists()
    (teacher,) = loads.rglob("teacher.safetensors")
    weights = teacher.read_bytes()
    teacher.write_bytes(weights[:1000])
    assert "teacher.safetensors: truncated" in take()[1]
    teacher.unlink()
    assert "it comes with the first load" in take()[1]
