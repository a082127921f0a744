"""Whole files from Python: what the commands write, to the bit, and each error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.cli.main import cli
from fcs_edge.errors import AudioError, AudioWarning, BitstreamError, FcsError


@pytest.fixture
def codec(golden: Callable) -> fcs_edge.Codec:
    return golden("tiny").codec


@pytest.fixture
def run(codec: fcs_edge.Codec) -> Callable[..., None]:
    """Run a command with the tiny model in this process; it must succeed."""

    def call(command: str, *arguments: object) -> None:
        options = ["--quiet", "--model", str(codec.model.path), *map(str, arguments)]
        assert not cli.main([command, *options], standalone_mode=False)

    return call


@pytest.fixture
def clip(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    """1.5 s of two channels at 44.1 kHz."""
    path = tmp_path / "clip.wav"
    samples = np.stack([speech[:66150], 0.5 * speech[:66150]], axis=1)
    soundfile.write(path, samples, 44100, "PCM_16")
    return path


@pytest.mark.parametrize("suffix", [".fcs", ".npz", ".npy", ".NPZ"])
def test_encode_file_writes_what_the_command_writes(
    suffix: str, clip: Path, codec: fcs_edge.Codec, tmp_path: Path, run: Callable
) -> None:
    out, expected = tmp_path / f"python{suffix}", tmp_path / f"command{suffix}"
    result = fcs_edge.encode_file(clip, out, codec)
    run("encode", clip, expected)
    assert out.read_bytes() == expected.read_bytes()
    signal = fcs_edge.read_audio(clip, rate=codec.sample_rate_in)
    assert np.array_equal(result.tokens, codec.encode(signal))
    assert (result.n_samples, result.sample_rate) == (signal.size, 16000)
    assert (result.fingerprint, result.bits_per_token) == (codec.fingerprint, 11)
    again = fcs_edge.encode_file(str(clip), codec=codec, channel=2)
    signal = fcs_edge.read_audio(clip, channel=2)
    assert np.array_equal(again.tokens, codec.encode(signal))


def test_encode_file_writes_int64(clip: Path, codec: fcs_edge.Codec, tmp_path: Path) -> None:
    for suffix in (".npy", ".npz"):
        out = tmp_path / f"a{suffix}"
        tokens = fcs_edge.encode_file(clip, out, codec, dtype="int64").tokens
        loaded = np.load(out, allow_pickle=False)
        array = loaded if suffix == ".npy" else loaded["tokens"]
        assert array.dtype == np.int64
        assert np.array_equal(array, tokens)
    with pytest.raises(ValueError, match="a dtype of uint16 or int64 is expected"):
        fcs_edge.encode_file(clip, tmp_path / "b.npy", codec, dtype="int32")


@pytest.mark.parametrize("source", ["a.fcs", "a.npz", "a.npy"])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_decode_file_writes_what_the_command_writes(
    source: str, suffix: str, clip: Path, codec: fcs_edge.Codec, tmp_path: Path, run: Callable
) -> None:
    tokens = fcs_edge.encode_file(clip, tmp_path / source, codec)
    out, expected = tmp_path / f"python{suffix}", tmp_path / f"command{suffix}"
    assert fcs_edge.decode_file(tmp_path / source, out, codec) is None
    run("decode", tmp_path / source, expected)
    assert out.read_bytes() == expected.read_bytes()
    signal = fcs_edge.decode_file(tmp_path / source, codec=codec)
    decoded = codec.decode(tokens.tokens)
    length = decoded.size if source == "a.npy" else codec.output_length(tokens.n_samples)
    assert np.array_equal(signal, decoded[:length])


def test_fcs_files_from_arrays(clip: Path, codec: fcs_edge.Codec, tmp_path: Path) -> None:
    encoded = fcs_edge.encode_file(clip, tmp_path / "a.fcs", codec)
    stored = fcs_edge.read_fcs(tmp_path / "a.fcs")
    assert stored.n_lost == 0
    assert stored.damage == ()
    assert np.array_equal(stored.tokens, encoded.tokens)
    assert stored[1:5] == encoded[1:5]
    fcs_edge.write_fcs(tmp_path / "b.fcs", stored.tokens.tolist(), stored.n_samples, codec)
    assert (tmp_path / "a.fcs").read_bytes() == (tmp_path / "b.fcs").read_bytes()
    fcs_edge.write_fcs(tmp_path / "c.fcs", stored.tokens, codec=codec)
    assert fcs_edge.read_fcs(tmp_path / "c.fcs").n_samples == stored.tokens.size * 320
    fcs_edge.write_fcs(tmp_path / "e.fcs", stored.tokens, codec=codec, tags={"title": "e"})
    assert fcs_edge.read_fcs(tmp_path / "e.fcs").metadata == {"title": "e"}
    # Of two bitstreams in one file, the first is read.
    two = (tmp_path / "b.fcs").read_bytes() + (tmp_path / "e.fcs").read_bytes()
    (tmp_path / "two.fcs").write_bytes(two)
    first = fcs_edge.read_fcs(tmp_path / "two.fcs", strict=False)
    assert (first.metadata, first.n_samples) == ({}, stored.n_samples)
    assert "it has 2 parts" in first.damage[0]
    with pytest.raises(BitstreamError, match="it has 2 parts"):
        fcs_edge.read_fcs(tmp_path / "two.fcs")
    assert fcs_edge.decode_file(tmp_path / "two.fcs", codec=codec).size > stored.n_samples * 2
    with pytest.raises(ValueError, match="a key has 1 to 32"):
        fcs_edge.write_fcs(tmp_path / "f.fcs", stored.tokens, codec=codec, tags={"Title": "e"})
    assert not (tmp_path / "f.fcs").exists()
    fcs_edge.write_fcs(tmp_path / "d.fcs", [], codec=codec)
    assert fcs_edge.read_fcs(tmp_path / "d.fcs").tokens.shape == (0,)


def test_wrong_tokens_write_nothing(codec: fcs_edge.Codec, tmp_path: Path) -> None:
    out = tmp_path / "a.fcs"
    for tokens, n_samples, error in (
        ([2048], None, ValueError),
        ([-1], None, ValueError),
        ([[1]], None, ValueError),
        ([1.0], None, TypeError),
        ([1], 321, ValueError),
        ([1] * 8, 1280, ValueError),
        ([1], -1, ValueError),
    ):
        with pytest.raises(error):
            fcs_edge.write_fcs(out, tokens, n_samples, codec)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unless_forced(
    clip: Path, codec: fcs_edge.Codec, tmp_path: Path
) -> None:
    fcs_edge.encode_file(clip, tmp_path / "a.fcs", codec)
    precious = {name: tmp_path / name for name in ("b.fcs", "b.npz", "b.wav")}
    for path in precious.values():
        path.write_bytes(b"precious")
    calls = (
        lambda **o: fcs_edge.encode_file(clip, precious["b.npz"], codec, **o),
        lambda **o: fcs_edge.decode_file(tmp_path / "a.fcs", precious["b.wav"], codec, **o),
        lambda **o: fcs_edge.write_fcs(precious["b.fcs"], [1], codec=codec, **o),
    )
    for call in calls:
        with pytest.raises(FcsError, match="exists already; force=True overwrites it"):
            call()
    assert {path.read_bytes() for path in precious.values()} == {b"precious"}
    for call in calls:
        call(force=True)
    assert b"precious" not in {path.read_bytes() for path in precious.values()}


def test_wrong_calls_and_files_that_cannot_be_read(
    clip: Path, codec: fcs_edge.Codec, tmp_path: Path
) -> None:
    fcs_edge.encode_file(clip, tmp_path / "a.fcs", codec)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"out must end in \.fcs, \.npz or \.npy, not '\.wav'"):
        fcs_edge.encode_file(clip, tmp_path / "b.wav", codec)
    with pytest.raises(ValueError, match=r"out must end in \.wav, \.flac, \.ogg, not '\.mp3'"):
        fcs_edge.decode_file(tmp_path / "a.fcs", tmp_path / "b.mp3", codec)
    with pytest.raises(AudioError, match="no such file"):
        fcs_edge.encode_file(tmp_path / "gone.wav", tmp_path / "b.fcs", codec)
    for name in ("gone.fcs", "gone.npz", "gone.npy"):
        with pytest.raises(FcsError, match=f"{name}: no such file"):
            fcs_edge.decode_file(tmp_path / name, tmp_path / "b.wav", codec)
    with pytest.raises(BitstreamError, match=r"gone\.fcs: no such file"):
        fcs_edge.read_fcs(tmp_path / "gone.fcs")
    with pytest.raises(FcsError, match="is a folder"):
        fcs_edge.write_fcs(tmp_path, [1], codec=codec)
    with pytest.raises(BitstreamError, match=r"a\.fcs: encoded with another model"):
        fcs_edge.decode_file(tmp_path / "a.fcs", tmp_path / "b.wav", fcs_edge.load())
    assert sorted(tmp_path.iterdir()) == before


def test_damage_is_an_error_unless_it_may_be_silence(codec: fcs_edge.Codec, tmp_path: Path) -> None:
    path = tmp_path / "a.fcs"
    tokens = np.random.default_rng(5).integers(1, 2048, 1296).astype(np.uint16)
    fcs_edge.write_fcs(path, tokens, codec=codec)
    data = bytearray(path.read_bytes())
    data[19 + 100] ^= 1
    path.write_bytes(data)
    for call in (
        lambda: fcs_edge.read_fcs(path),
        lambda: fcs_edge.decode_file(path, tmp_path / "a.wav", codec),
    ):
        with pytest.raises(BitstreamError, match=f"{path}: byte 19: 143 bytes damaged"):
            call()
    assert not (tmp_path / "a.wav").exists()
    stored = fcs_edge.read_fcs(path, strict=False)
    assert (stored.n_lost, len(stored.damage)) == (100, 1)
    assert np.array_equal(stored.tokens[100:], tokens[100:])
    with pytest.warns(AudioWarning, match="replaced by 100 tokens of silence"):
        signal = fcs_edge.decode_file(path, codec=codec, strict=False)
    assert not signal[: 100 * 480].any()
    assert signal[100 * 480 :].any()


def test_a_cut_sound_is_a_warning(clip: Path, codec: fcs_edge.Codec, tmp_path: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:88244])
    with pytest.warns(AudioWarning, match="ends 1.00 s before its header says"):
        tokens = fcs_edge.encode_file(clip, codec=codec)
    assert tokens.n_samples < 8100
    with pytest.raises(AudioError, match="before its header says"):
        fcs_edge.encode_file(clip, tmp_path / "a.fcs", codec, strict=True)
    assert not (tmp_path / "a.fcs").exists()


def test_the_package_loads_no_sound_library() -> None:
    code = (
        "import sys, fcs_edge; fcs_edge.load(); dir(fcs_edge)\n"
        "assert not {'soundfile', 'soxr', 'sounddevice', 'nacl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
