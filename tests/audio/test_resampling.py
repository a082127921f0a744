"""torchaudio's resampler: known outputs, its formula, any cutting, any rate."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DATA
from numpy.typing import NDArray

import fcs_edge
from audio_cases import noise
from fcs_edge.audio.reader import open_input
from fcs_edge.audio.sinc import SincResampler, _sine

FINGERPRINTS = {
    8000: "025f8addac7c9a56",
    22050: "3f2a425f2c48ff22",
    24000: "7dc831992e241b18",
    44100: "b249fca627a3a05d",
    48000: "5fded55b2a620a06",
}
RATES = tuple(FINGERPRINTS)
F32 = NDArray[np.float32]


def resampled(signal: F32, rate: int, to: int = 16000, size: int | None = None) -> F32:
    """Resample in pieces of `size` samples."""
    stream = SincResampler(rate, to)
    size = size or signal.size
    parts = [stream.push(signal[None, i : i + size]) for i in range(0, signal.size, size)]
    return np.concatenate([*parts, stream.flush()], axis=1)[0]


def length(n_samples: int, rate: int, to: int) -> int:
    """Return torchaudio's number of samples."""
    step, n = Fraction(rate, to).as_integer_ratio()
    return min(n * (n_samples // step + 1), math.ceil(np.float32(n * n_samples / step)))


def formula(signal: F32, rate: int, to: int) -> NDArray[np.float64]:
    """Return torchaudio's samples: kernels in float32 and in its order, each tap of each phase."""
    o, n = Fraction(rate, to).as_integer_ratio()
    b = 0.99 * min(o, n)
    w = math.ceil(6 * o / b)
    f = np.float32
    i = np.arange(-w, w + o, dtype=f) / f(o)
    t = np.arange(0, -n, -1, dtype=f)[:, None] / f(n) + i
    t = np.clip(t * f(b), -6, 6)
    window = np.cos(t * f(math.pi) / f(6) / f(2)) ** f(2)
    t = t * f(math.pi)
    kernel = np.where(t == 0, f(1), np.sin(t) / np.where(t == 0, f(1), t)) * (window * f(b / o))
    padded = np.pad(signal.astype(np.float64), (w, w + o))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * w + o)[::o]
    samples = (windows @ kernel.astype(np.float64).T).reshape(-1)
    return samples[: length(signal.size, rate, to)]


@pytest.fixture(scope="module")
def golden_sounds() -> dict[str, F32]:
    with np.load(DATA / "golden" / "resampler.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("rate", RATES)
def test_the_samples_of_torchaudio(rate: int, golden_sounds: dict[str, F32]) -> None:
    signal, expected = golden_sounds[f"in_{rate}"], golden_sounds[f"out_{rate}"]
    out = resampled(signal, rate)
    assert out.shape == expected.shape
    assert np.abs(out - expected).max() < 2e-7
    # Every CPU gives these bits.
    assert hashlib.sha256(out.tobytes()).hexdigest()[:16] == FINGERPRINTS[rate]


@pytest.mark.parametrize("to", [16000, 24000])
@pytest.mark.parametrize("rate", [1000, 8000, 11025, 32000, 37800, 96000, 192000])
def test_the_formula_at_other_rates(rate: int, to: int) -> None:
    for n_samples in (1, 2, 3, 50, 441, 999, 4800):
        signal = 0.2 * np.random.default_rng(n_samples).standard_normal(n_samples, np.float32)
        out, expected = resampled(signal, rate, to), formula(signal, rate, to)
        assert out.shape == expected.shape
        assert np.abs(out - expected).max() < 3e-7


@pytest.mark.parametrize("rate", [*RATES, 1009, 44101])
def test_pieces_of_any_size(rate: int) -> None:
    signal = noise(rate // 5)
    whole = resampled(signal, rate)
    for size in (7, 320, 1001):
        assert np.array_equal(resampled(signal, rate, size=size), whole)


@pytest.mark.parametrize(("rate", "n_samples", "expected"), [(11025, 336124, 487799), (8000, 0, 0)])
def test_the_rounded_length(rate: int, n_samples: int, expected: int) -> None:
    assert length(n_samples, rate, 16000) == expected
    assert resampled(np.zeros(n_samples, np.float32), rate, size=100_000).size == expected


def test_long_streams_take_the_memory_of_short_ones() -> None:
    # Far beyond 2**24 samples, where the rounded length is many samples off.
    for rate in (11025, 44100, 99_991):
        stream = SincResampler(rate, 16000)
        stream._n_in = (1 << 31) // stream._in * stream._in
        stream._n_out = stream._n_in // stream._in * stream._out - 700
        stream._first = stream._n_out * stream._in // stream._out - stream._width
        stream._held = np.zeros((1, stream._n_in - stream._first), np.float32)
        for _ in range(20):
            stream.push(np.zeros((1, 1000), np.float32))
            assert stream._held.shape[1] < 2 * stream._width + 256 * max(1, rate / 16000)
        end = stream._n_out + stream.flush().shape[1]
        assert end == length(stream._n_in, rate, 16000)


@pytest.mark.parametrize(("rate", "to"), [(99_991, 16000), (1001, 16000), (1000, 99_991)])
def test_rates_without_a_common_divisor_take_bounded_memory(rate: int, to: int) -> None:
    stream = SincResampler(rate, to)
    assert stream._filters.nbytes <= 4 * 17 * max(rate, to)
    out = np.concatenate([stream.push(np.ones((1, 3000), np.float32)), stream.flush()], axis=1)
    assert out.shape[1] == length(3000, rate, to)
    inner = out[0, out.shape[1] // 8 : -out.shape[1] // 8]
    assert np.abs(inner - 1).max() < 0.01


def test_sine() -> None:
    x = np.linspace(-30, 30, 10001)
    assert np.abs(_sine(x) - np.sin(x)).max() < 2e-15


@pytest.mark.parametrize("channel", ["mean", 2])
def test_channels_are_resampled_and_then_averaged(channel: str, tmp_path: Path) -> None:
    sound, path = noise(9000, 2), tmp_path / "in.wav"
    sound[100, 1] = np.nan
    soundfile.write(path, sound, 44100, "FLOAT")
    with pytest.warns(fcs_edge.AudioWarning, match="1 samples are NaN"):
        signal = fcs_edge.read_audio(path, channel=channel, resampler="torchaudio")
    # Where the mean is no number, it counts as 0, and so do its channels.
    sound[100] = 0
    left, right = (resampled(np.ascontiguousarray(column), 44100) for column in sound.T)
    mean = (left.astype(np.float64) + right) / 2
    assert np.array_equal(signal, right if channel == 2 else mean.astype(np.float32))


def test_equal_rates_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, noise(3000, 2), 16000, "FLOAT")
    signals = [fcs_edge.read_audio(path, resampler=name) for name in ("soxr", "torchaudio")]
    assert np.array_equal(*signals)


def test_an_unknown_resampler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a resampler is soxr or torchaudio, not 'linear'"):
        fcs_edge.read_audio(tmp_path / "in.wav", resampler="linear")
    with (
        pytest.raises(ValueError, match="a resampler is"),
        open_input("-", None, 1, 1, resampler="Soxr"),
    ):
        pass
