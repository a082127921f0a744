"""Speech is restored a part at a time, and errors of words are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("pyworld")
pytest.importorskip("jiwer")

from train.evaluation import ablate, metrics, metrics_external
from train.losses.spectral import RATE

F32 = NDArray[np.float32]


class Fake:
    """An evaluator with one transcript for all sounds."""

    recogniser = "a fake"

    def normalise(self, text: str) -> str:
        return text.lower().strip()

    def transcribe(self, signal: F32) -> str:
        return "go" if signal.size else ""


@pytest.fixture
def sound(speech: F32) -> F32:
    return metrics.resample(speech[:32000], metrics.RATE, RATE)


def test_parts_of_the_error_make_all_of_it() -> None:
    error = np.random.default_rng(0).standard_normal((301, 513)).cumsum(0)
    parts = {name: change(error) for name, change in ablate.RESTORED.items()}
    slow, middle, fast = (
        parts[n] for n in parts if (n.endswith("Hz") and "4 Hz" in n) or "10" in n
    )
    np.testing.assert_allclose(slow + middle + fast, error, atol=1e-6)
    np.testing.assert_allclose(sum(parts[n] for n in parts if "kHz" in n), error, atol=1e-12)
    of_orders = sum(ablate.orders(k, k)(error) for k in range(40))
    np.testing.assert_allclose(of_orders, ablate.orders(0, 39)(error), atol=1e-6)
    smooth = np.outer(np.ones(3), np.cos(np.linspace(0, 3, 513)))
    within = slice(10, 300)
    np.testing.assert_allclose(
        ablate.orders(0, 39)(smooth)[:, within], smooth[:, within], atol=0.01
    )


def test_a_band_of_rates_passes() -> None:
    at = np.arange(400) * 0.005
    waves = {hz: np.cos(2 * np.pi * hz * (at + 0.0025))[:, None] for hz in (2, 7, 25)}
    for low, high, passed in ((0, 4, 2), (4, 10, 7), (10, None, 25)):
        found = ablate.rates(low, high)(sum(waves.values()))
        np.testing.assert_allclose(found, waves[passed], atol=1e-6)


def test_what_is_put_right_comes_nearer(sound: F32) -> None:
    """An envelope that is wrong from 1 to 2.5 kHz is right again with that band, and no other."""
    parts = ablate.analyse(sound)
    bins = np.linspace(0, 12000, parts.envelope.shape[1])
    wrong = parts.envelope + 4 * ((bins > 1100) & (bins < 2400))
    coded = ablate.synthesise(parts._replace(envelope=wrong))[: sound.size]
    target = ablate.analyse(ablate.synthesise(parts)).envelope
    inside = (bins > 1200) & (bins < 2300)
    errors = {}
    for name, output in ablate.restore(sound, coded):
        envelope = ablate.analyse(output).envelope
        n = min(len(envelope), len(target))
        errors[name] = float(np.abs(envelope[:n] - target[:n])[:, inside].mean())
    total = errors["nothing: coded"]
    assert errors["the envelope"] < 0.5 * total
    assert errors["1 to 2.5 kHz"] < 0.5 * total
    for name in ("below 1 kHz", "2.5 to 4 kHz", "above 4 kHz", "all but the envelope"):
        assert errors[name] > 0.8 * total
    assert errors["nothing: uncoded"] < 0.2 * total


def test_counts_words_by_set(
    golden: Callable[[str], Any], speech: F32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_external, "missing", lambda quick: "")
    monkeypatch.setattr(metrics_external, "ExternalMetrics", Fake)
    folder = tmp_path / "some"
    folder.mkdir()
    for i, text in enumerate(("Go home", "stay")):
        soundfile.write(folder / f"{i}.wav", speech[: 16000 * (i + 1)], 16000)
        (folder / f"{i}.txt").write_text(text)
    out = tmp_path / "below" / "errors.json"
    args = [str(golden("tiny").model), "--clips", str(folder), "--json", str(out)]
    result = CliRunner().invoke(ablate.main, args)
    assert result.exit_code == 0, result.output
    errors = json.loads(out.read_text())
    assert set(errors) >= {"nothing: coded", "the envelope", *ablate.RESTORED}
    assert all(of_sets == {"some": [2, 3]} for of_sets in errors.values())
    assert "0.667" in result.output


def test_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(ablate.main, ["edge-65k"])
    assert result.exit_code == 2
    assert "--clips or --set" in result.output
