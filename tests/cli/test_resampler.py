"""--resampler: whose samples the tokens are of, where it stands, where it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from audio_cases import noise
from fcs_edge.audio.sinc import SincResampler
from fcs_edge.tokens.settings import differences, settings_of

RATE = 22050


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(RATE), RATE, "FLOAT")
    return path


@pytest.fixture
def encode(run: Callable, golden: Callable) -> Callable:
    """Run encode with the tiny model, and torchaudio's resampler."""
    options = ("--model", golden("tiny").model, "--resampler", "torchaudio")
    return lambda *arguments: run("encode", *options, *arguments)


def test_tokens_are_those_of_torchaudio(
    encode: Callable, tiny: fcs_edge.Codec, source: Path, tmp_path: Path
) -> None:
    stream = SincResampler(RATE, 16000)
    sound = noise(RATE)[None]
    signal = np.concatenate([stream.push(sound), stream.flush()], axis=1)[0]
    assert signal.size == 16000
    expected = tiny.encode(signal)
    assert encode(source, tmp_path / "a.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected)
    (tmp_path / "raw").write_bytes(sound.tobytes())
    raw = ("--raw", "f32le", "--rate", RATE)
    assert encode(*raw, tmp_path / "raw", tmp_path / "b.npy").code == 0
    assert np.array_equal(np.load(tmp_path / "b.npy"), expected)
    with_soxr = fcs_edge.encode_file(source, codec=tiny)
    with_torchaudio = fcs_edge.encode_file(source, codec=tiny, resampler="torchaudio")
    assert np.array_equal(with_torchaudio.tokens, expected)
    assert not np.array_equal(with_soxr.tokens, expected)


def test_settings_state_the_resampler(
    encode: Callable, tiny: fcs_edge.Codec, source: Path, tmp_path: Path, run: Callable
) -> None:
    soundfile.write(tmp_path / "equal.wav", noise(2000), 16000)
    for sound in (source, tmp_path / "equal.wav"):
        for name in ("a.fcs", "a.npz"):
            out = tmp_path / name
            assert encode("--force", sound, out).code == 0
            facts = json.loads(run("info", "--json", out).out)
            assert facts["settings"]["resampler"] == "torchaudio"
            fcs_edge.encode_file(sound, out, tiny, resampler="torchaudio", force=True)
            assert json.loads(run("info", "--json", out).out)["settings"] == facts["settings"]
    assert encode("--block", 1, "--dtx", "--force", source, tmp_path / "a.fcs").code == 0
    settings = json.loads(run("info", "--json", tmp_path / "a.fcs").out)["settings"]
    assert (settings["resampler"], settings["dtx"]) == ("torchaudio", True)


def test_copies_keep_it_and_decoders_do_not_mention_it(
    encode: Callable, tiny: fcs_edge.Codec, source: Path, tmp_path: Path, run: Callable
) -> None:
    encode(source, tmp_path / "a.npz")
    model = ("--model", tiny.model.path)
    assert run("encode", *model, tmp_path / "a.npz", tmp_path / "b.fcs").code == 0
    facts = json.loads(run("info", "--json", tmp_path / "b.fcs").out)
    assert facts["settings"]["resampler"] == "torchaudio"
    assert "settings" not in run("decode", *model, tmp_path / "b.fcs", tmp_path / "b.wav").err
    own = {"resampler": "soxr VHQ", "search": False}
    assert differences({"resampler": "torchaudio", "search": False}, own) == ""
    assert settings_of(2 << 7) == {"resampler": "torchaudio"}


def test_the_demo_takes_it(
    tiny: fcs_edge.Codec, source: Path, tmp_path: Path, run: Callable
) -> None:
    model = ("--model", tiny.model.path)
    arguments = (*model, "--resampler", "torchaudio", "--out", tmp_path, source)
    assert run("demo", *arguments).code == 0
    facts = json.loads(run("info", "--json", tmp_path / "fcs-edge-demo.fcs").out)
    assert facts["settings"]["resampler"] == "torchaudio"
    sound, _ = soundfile.read(tmp_path / "fcs-edge-demo.original.wav", dtype="float32")
    signal = fcs_edge.read_audio(source, resampler="torchaudio")
    assert np.abs(sound - signal).max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (("encode", "--mic", "out.fcs"), "an IN only"),
        (("encode", "tokens.npz", "out.fcs"), "an IN that is sound only"),
        (("send", "localhost:5004"), "--from only"),
    ],
)
def test_it_is_refused_where_it_changes_nothing(
    arguments: tuple[str, ...], purpose: str, run: Callable
) -> None:
    command, *rest = arguments
    result = run(command, "--resampler", "torchaudio", *rest)
    assert result.code == 2
    assert f"--resampler is for {purpose}" in result.err
