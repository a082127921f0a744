"""`demo --play` on a sound server."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sound_card import SoundCard


def level(sound: np.ndarray) -> np.ndarray:
    """Return the RMS of each 20 ms at 24 kHz."""
    frames = sound[: sound.size // 480 * 480].reshape(-1, 480)
    return np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1))


def test_the_original_then_the_decoded_sound(
    sound_card: SoundCard, tmp_path: Path, finished: Callable[..., str]
) -> None:
    recording = tmp_path / "spk.raw"
    sound_card.record("spk.monitor", recording, 24000)
    start = time.monotonic()
    with (tmp_path / "out.txt").open("wb") as out:
        message = finished(sound_card.fcs("demo", "--play", "--out", tmp_path, stdout=out))
    assert "playing the original, then the decoded sound" in message
    original, rate = soundfile.read(tmp_path / "fcs-edge-demo.original.wav", dtype="float32")
    decoded, _ = soundfile.read(tmp_path / "fcs-edge-demo.wav", dtype="float32")
    assert time.monotonic() - start > (original.size / rate) * 2
    time.sleep(0.3)
    played = np.fromfile(recording, "<i2").astype(np.float32) / 32768
    parts = [soxr.resample(original, rate, 24000), np.zeros(12000, np.float32), decoded]
    expected = np.concatenate(parts)
    envelope, target = level(played), level(expected)
    alike = np.correlate(envelope, target, "valid").max()
    energy = np.sqrt((target**2).sum() * (envelope**2).sum())
    assert alike > 0.9 * energy
