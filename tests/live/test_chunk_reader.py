"""Sound that is not read in time is dropped and counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fcs_edge.live import devices
from fcs_edge.live.devices import Device, DeviceFormat
from fcs_edge.live.latency import Latency
from fcs_edge.live.loop import ChunkReader
from fcs_edge.live.microphone import Microphone
from fcs_edge.live.statistics import Statistics
from fcs_edge.model.layers import F32

RATE, CHUNK = 16000, 1280


class Unopened(Microphone):
    """A microphone whose callback the test calls."""

    def _open(self, latency: Latency, callback: object) -> None:
        self._stream = SimpleNamespace(active=True, latency=0.0)


@pytest.fixture
def microphone(monkeypatch: pytest.MonkeyPatch) -> Unopened:
    monkeypatch.setattr(devices, "input_format", lambda *_: DeviceFormat(RATE, 1))
    return Unopened(Device(0, "mic", "ALSA", 1, 0, RATE, True), RATE, "low")


def speak(microphone: Unopened, samples: F32) -> None:
    for at in range(0, samples.size, 400):
        block = samples[at : at + 400, None]
        microphone._on_input(block, len(block), None, SimpleNamespace(input_overflow=False))


def take(reader: ChunkReader) -> list[F32]:
    """Return the chunks that are available: three attempts find all."""
    chunks: list[F32] = []
    while True:
        looks = iter([False] * 3)
        chunk = reader.next(lambda looks=looks: next(looks, True))
        if chunk is None:
            return chunks
        chunks.append(chunk.copy())


@pytest.mark.parametrize("seconds", [0.16, 1.6, 3.2, 4.0, 5.6, 9.2])
def test_what_was_not_taken_is_counted(microphone: Unopened, seconds: float) -> None:
    """Above 4 s the ring is full, and the callback drops samples."""
    statistics = Statistics()
    reader = ChunkReader(microphone, CHUNK, statistics)
    sound = np.arange(1, round(seconds * RATE) + 1, dtype=np.float32)
    speak(microphone, sound)
    taken = np.concatenate(take(reader))
    missing = (sound.size - taken.size) / RATE
    assert statistics.n_dropped == pytest.approx(missing, abs=CHUNK / RATE)
    assert taken.size <= 3 * CHUNK
    assert (statistics.n_dropped > 0) == (seconds > 0.16)
    np.testing.assert_array_equal(np.diff(taken), 1)


def test_losses_add_up(microphone: Unopened) -> None:
    statistics = Statistics()
    reader = ChunkReader(microphone, CHUNK, statistics)
    n = 0
    for _ in range(3):
        speak(microphone, np.ones(5 * RATE, np.float32))
        n += sum(chunk.size for chunk in take(reader))
    assert statistics.n_dropped == pytest.approx(15 - n / RATE, abs=CHUNK / RATE)
