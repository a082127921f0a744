"""Each program of examples/ runs, and what it writes and prints is right."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge import Codec
from sound_card import SoundCard, virtual_sound_card

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CLIP = ROOT / "fcs_edge" / "data" / "demo.flac"
SPEECH = ROOT / "tests" / "data" / "251-118436-0003.flac"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return fcs_edge.load()


@pytest.fixture
def sound_card() -> Iterator[SoundCard]:
    with virtual_sound_card() as card:
        yield card


def run(name: str, folder: Path, *sources: Path) -> str:
    """Run an example in a folder; return what it prints."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, sources)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_example_has_a_test() -> None:
    tested = Path(__file__).read_text()
    programs = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert len(programs) == 5
    for name in programs:
        assert f'"{name}"' in tested


def test_file_to_tokens(tmp_path: Path, codec: Codec) -> None:
    # Two channels at another rate, as a user's file may be.
    signal, rate = soundfile.read(CLIP, dtype="float32")
    source = tmp_path / "stereo.wav"
    soundfile.write(source, np.stack([signal, signal], axis=1), 2 * rate)
    output = run("file_to_tokens.py", tmp_path, source)
    tokens = np.load(tmp_path / "stereo.npy")
    assert tokens.dtype == np.uint16
    assert f"{tokens.size} tokens of 16 bits" in output
    assert tokens.size == np.ceil(signal.size / 2 / codec.samples_per_token)
    info = soundfile.info(tmp_path / "stereo.decoded.wav")
    assert (info.samplerate, info.frames) == (24000, codec.output_length(-(-signal.size // 2)))


def test_tokens_for_a_language_model(tmp_path: Path, codec: Codec) -> None:
    output = run("tokens_for_a_language_model.py", tmp_path, CLIP, SPEECH)
    signals = [soundfile.read(path, dtype="float32")[0] for path in (CLIP, SPEECH)]
    with np.load(tmp_path / "corpus.npz") as corpus:
        tokens, offsets = corpus["tokens"], corpus["offsets"]
        assert corpus["vocabulary"] == 65538
        assert tokens.dtype == np.int32
        assert tokens.max() < 65538
        assert str(corpus["fingerprint"]) == codec.fingerprint.hex()
        assert corpus["n_samples"].tolist() == [signal.size for signal in signals]
    for first, last, signal in zip(offsets, offsets[1:], signals, strict=False):
        assert tokens[first] == 65536
        assert tokens[last - 1] == 65537
        np.testing.assert_array_equal(tokens[first + 1 : last - 1], codec.encode(signal))
    assert f"2 files, {tokens.size} tokens of 65538" in output
    info = soundfile.info(tmp_path / "sample.wav")
    assert info.frames == codec.output_length(signals[1].size)


def test_stage_by_stage(tmp_path: Path) -> None:
    output = run("stage_by_stage.py", tmp_path, CLIP)
    assert "decode gives the same samples: True" in output
    for name in ("features", "latents", "tokens", "codes", "restored", "decoded"):
        assert name in output
    assert "changes 0.0 %" not in output


def test_two_streams(tmp_path: Path) -> None:
    output = run("two_streams.py", tmp_path, CLIP, SPEECH)
    assert output.count("same tokens as alone: True") == 2
    agree, total = (int(word) for word in output.split("copy, ")[1].split()[:3:2])
    assert agree < total == 52


def test_live_loopback(sound_card: SoundCard, tmp_path: Path) -> None:
    played = tmp_path / "played.raw"
    sound_card.record("spk.monitor", played, 24000)
    sound_card.speak(SPEECH)
    program = str(EXAMPLES / "live_loopback.py")
    process = sound_card.popen(sys.executable, program, "4", stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    time.sleep(0.5)  # the recorder is behind by its own buffer
    assert process.returncode == 0
    assert b"50 chunks" in output
    samples = np.fromfile(played, "<i2").astype(np.float32) / 32768
    loud = np.abs(samples) > 0.02
    assert loud.sum() > 0.05 * 4 * 24000
