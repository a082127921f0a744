"""Signals that are encoded at once or in windows, however they are cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DATA
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.streams import whole_signal
from fcs_edge.streams.whole_signal import Choice, TooLongError, WholeEncoder
from fcs_edge.streams.whole_windows import WindowEncoder, Windows, overhang

F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]


def config_of(name: str, **encoder: object) -> CodecConfig:
    raw = json.loads((DATA / "golden" / f"{name}.json").read_text())["config"]
    raw["encoder_config"] |= encoder
    return config_json.from_dict(raw)


class Stub:
    """Encodes a signal whose samples are the numbers of their tokens."""

    def __init__(self, config: CodecConfig) -> None:
        self.config = config
        self.windows: list[tuple[int, int]] = []

    def signal(self, n_samples: int) -> F32:
        return (np.arange(n_samples) // self.config.samples_per_token).astype(np.float32)

    def __call__(self, samples: F32) -> U16:
        n_tokens = self.config.n_tokens(samples.size)
        self.windows.append((int(samples[0]), n_tokens))
        return (int(samples[0]) + np.arange(n_tokens)).astype(np.uint16)


@pytest.mark.parametrize("name", ["nc_tiny", "nc_25", "nc_12_5", "mixed"])
def test_any_cutting_gives_each_token_once(name: str) -> None:
    config = config_of("tiny", causal=False) if name == "mixed" else config_of(name)
    rng = np.random.default_rng(len(name))
    for trial in range(40):
        length = float(rng.uniform(1, 3))
        overlap = [None, 0, float(rng.uniform(0, length / 2))][trial % 3]
        windows = Windows.of(config, length, overlap)
        stub = Stub(config)
        signal = stub.signal(int(rng.integers(1, 16000 * (8 if trial % 5 else 1))))
        encoder = WindowEncoder(config, stub, windows)
        cuts = np.sort(rng.integers(0, signal.size + 1, rng.integers(0, 9)))
        parts = [encoder.push(part) for part in np.split(signal, cuts)]
        tokens = np.concatenate([*parts, encoder.flush()])
        n_tokens = config.n_tokens(signal.size)
        np.testing.assert_array_equal(tokens, np.arange(n_tokens))
        if n_tokens <= windows.tokens:
            assert (stub.windows, encoder.used) == ([(0, n_tokens)], None)
            continue
        assert encoder.used == windows
        starts = [start for start, _ in stub.windows]
        assert {n for _, n in stub.windows} == {windows.tokens}
        assert (starts[0], starts[-1]) == (0, n_tokens - windows.tokens)
        assert all(np.diff(starts[:-1]) == windows.tokens - windows.overlap)
        assert 0 < starts[-1] - starts[-2] <= windows.tokens - windows.overlap


def test_the_caller_may_write_into_its_array_again() -> None:
    config = config_of("nc_tiny")
    signal, array = Stub(config).signal(48000), np.zeros(800, np.float32)
    encoder = WindowEncoder(config, Stub(config), Windows.of(config, 2))
    parts = []
    for piece in signal.reshape(-1, 800):
        array[:] = piece
        parts.append(encoder.push(array))
    tokens = np.concatenate([*parts, encoder.flush()])
    np.testing.assert_array_equal(tokens, np.arange(config.n_tokens(signal.size)))


def test_tokens_that_count_have_sound_on_both_sides() -> None:
    config = config_of("nc_tiny")
    windows = Windows.of(config, 2, 0.6)
    number = iter(range(100))
    encoder = WindowEncoder(
        config, lambda x: np.full(config.n_tokens(x.size), next(number), np.uint16), windows
    )
    tokens = np.concatenate([encoder.push(np.zeros(16000 * 5 + 80, np.float32)), encoder.flush()])
    # Windows begin at tokens 0, 70, 140 and 150; 15 tokens at each end do not count.
    np.testing.assert_array_equal(tokens, np.repeat([0, 1, 2, 3], [85, 70, 70, 25]))


def test_an_encoder_begins_anew() -> None:
    config = config_of("nc_25")
    stub = Stub(config)
    encoder = WindowEncoder(config, stub, Windows.of(config, 1))
    for size in (40000, 16000 * 3 + 7, 900):
        tokens = np.concatenate([encoder.push(stub.signal(size)), encoder.flush()])
        np.testing.assert_array_equal(tokens, np.arange(config.n_tokens(size)))
        assert (encoder.used is None) == (size == 900)


def test_overhang() -> None:
    assert overhang(config_of("nc_tiny").encoder) == 80
    assert overhang(config_of("tiny").encoder) == 0
    wide = config_of("nc_tiny", kernel_sizes=[16, 3, 3, 3, 3, 2, 2])
    assert overhang(wide.encoder) == 86
    assert wide.encoder.n_frames(320 + 86) == 1
    assert wide.encoder.n_frames(640 + 86) == 2


@pytest.mark.parametrize(
    ("window", "overlap", "text"),
    [
        (0.9, None, "a window has 1 to 86400 seconds, not 0.9"),
        (float("nan"), None, "not nan"),
        (1e9, None, "not 1e"),
        (10, 5.1, "an overlap has 0 seconds to half a window (5), not 5.1"),
        (10, -1, "not -1"),
    ],
)
def test_windows_out_of_range(window: float, overlap: float | None, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(").replace(")", r"\)")):
        Windows.of(config_of("nc_tiny"), window, overlap)


def test_a_signal_at_once() -> None:
    config = config_of("nc_tiny")
    stub = Stub(config)
    encoder = WholeEncoder(stub, limit=2)
    signal = stub.signal(32000)
    for _ in range(2):
        assert not any(encoder.push(part).size for part in np.array_split(signal, 77))
        np.testing.assert_array_equal(encoder.flush(), np.arange(99))
    encoder.push(signal)
    with pytest.raises(TooLongError, match="exact=True"):
        encoder.push(np.zeros(1, np.float32))


@pytest.mark.parametrize("name", ["tiny", "nc_tiny"])
def test_choices_that_change_nothing(name: str, golden: Callable) -> None:
    codec: fcs_edge.Codec = golden(name).codec
    signal = np.zeros(16000, np.float32)
    choices = [{"exact": True, "window": 2.0}, {"overlap": 1.0}]
    if codec.encodes_streams:
        choices += [{"exact": True}, {"window": 2.0}]
    for choice in choices:
        with pytest.raises(ValueError, match=r"window|streams"):
            codec.encode(signal, **choice)
        with pytest.raises(ValueError, match=r"window|streams"):
            codec.encode_batch([signal], **choice)


def test_long_signals_are_refused(golden: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    codec: fcs_edge.Codec = golden("nc_tiny").codec
    monkeypatch.setattr(whole_signal, "EXACT_LIMIT", 1.0)
    signal = np.zeros(16001, np.float32)
    with pytest.raises(ValueError, match=r"exact=True .* window=30"):
        codec.encode(signal)
    assert codec.encode(signal, exact=True).size == codec.encode(signal, window=1).size == 49
    assert Choice(window=3).limit is None


def test_files_in_windows(
    golden: Callable, second_speech: F32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec: fcs_edge.Codec = golden("nc_25").codec
    path = tmp_path / "in.wav"
    soundfile.write(path, second_speech[:80000], 16000, "FLOAT")
    shares: list[float] = []
    encoder = codec.signal_encoder(on_progress=shares.append)
    encoder.push(second_speech[:80000])
    whole = encoder.flush()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    found = fcs_edge.encode_file(path, tmp_path / "w.npz", codec, window=2, overlap=1)
    expected = codec.encode(second_speech[:80000], window=2, overlap=1)
    np.testing.assert_array_equal(found.tokens, expected)
    # Most tokens are those of the whole signal, but not all: the windows are real.
    assert whole.size == expected.size
    assert 0.3 < (whole == expected).mean() < 1
    np.testing.assert_array_equal(fcs_edge.encode_file(path, codec=codec, window=6).tokens, whole)
    monkeypatch.setattr(whole_signal, "EXACT_LIMIT", 1.0)
    with pytest.raises(ValueError, match="exact=True"):
        fcs_edge.encode_file(path, tmp_path / "x.npz", codec)
    assert not (tmp_path / "x.npz").exists()
