"""The channels that a microphone is opened with, and what is read from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.errors import AudioError
from fcs_edge.live import devices
from fcs_edge.live.devices import Device, DeviceFormat
from fcs_edge.live.microphone import Microphone


@pytest.mark.parametrize(
    ("most", "channel", "expected"),
    [
        (1, "mean", [1]),
        (2, "mean", [2, 1]),
        (6, "mean", [2, 1, 6]),
        (1, 1, [1]),
        (2, 1, [2, 1]),
        (2, 2, [2]),
        (6, 3, [6, 3]),
        (32, 1, [8, 1, 2, 32]),
        (32, 10, [10, 32]),
    ],
)
def test_numbers_of_channels(most: int, channel: int | str, expected: list[int]) -> None:
    assert devices._input_channels(most, channel) == expected


def test_a_channel_that_the_device_lacks() -> None:
    device = Device(3, "USB mic", "ALSA", 2, 0, 48000, False)
    with pytest.raises(AudioError, match="microphone 3, USB mic: has no channel 3, 2 at most"):
        devices.input_format(device, 16000, 3)


def opened(
    monkeypatch: pytest.MonkeyPatch, sound: NDArray[np.float32], channel: int | str
) -> Microphone:
    """Return a microphone that has delivered `sound`, (n, channels)."""
    stream = SimpleNamespace(active=True, latency=0.0)
    monkeypatch.setattr(Microphone, "_open", lambda self, *_: setattr(self, "_stream", stream))
    form = DeviceFormat(16000, sound.shape[1])
    monkeypatch.setattr(devices, "input_format", lambda *_: form)
    device = Device(0, "mic", "ALSA", sound.shape[1], 0, 16000, True)
    microphone = Microphone(device, 16000, "low", channel)
    for start in range(0, len(sound), 160):
        block = sound[start : start + 160]
        microphone._on_input(block, len(block), None, SimpleNamespace(input_overflow=False))
    return microphone


def noise(n_channels: int, level: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, level, (20000, n_channels)).astype(np.float32)


def test_one_channel_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(6)
    for channel in (1, 6):
        found = opened(monkeypatch, sound, channel).read()
        np.testing.assert_array_equal(found, sound[:, channel - 1])
    np.testing.assert_allclose(opened(monkeypatch, sound, "mean").read(), sound.mean(1), atol=1e-6)


@pytest.mark.parametrize(
    ("gains", "cancels"),
    [
        ((1, -1), True),
        ((1, -0.9), True),
        ((1, -0.7), False),
        ((1, 1), False),
        ((1, 0), False),
        ((1, 0, 0, 0, 0, 0), False),
        ((1, *11 * (0,)), True),
    ],
)
def test_channels_that_cancel_are_noticed(
    gains: tuple[float, ...], cancels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of six loses 15.6 dB, one of twelve 21.6 dB; the limit is 20 dB."""
    sound = noise(1) * np.array(gains, np.float32)
    assert opened(monkeypatch, sound, "mean").cancelling is cancels
    assert not opened(monkeypatch, sound, 1).cancelling


def test_silence_is_no_cancelling(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = noise(1, 1e-5) * np.array([1, -1], np.float32)
    assert not opened(monkeypatch, quiet, "mean").cancelling


def test_what_was_lost_before_a_reconnection_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (opened(monkeypatch, noise(1), "mean") for _ in range(2))
    before.gaps.n, before.gaps.seconds, before.n_overruns = 2, 0.5, 3
    after.gaps.n, after.gaps.seconds, after.n_overruns = 1, 0.25, 1
    after.add_losses(before)
    assert (after.gaps.n, after.gaps.seconds, after.n_overruns) == (3, 0.75, 4)
