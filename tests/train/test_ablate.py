"""Speech is put right a part at a time, and words lost are counted."""

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
    """A jury that hears the same word in every sound."""

    recogniser = "a fake"

    def normal(self, text: str) -> str:
        return text.lower().strip()

    def hear(self, signal: F32) -> str:
        return "go" if signal.size else ""


@pytest.fixture
def sound(speech: F32) -> F32:
    return metrics.resample(speech[:32000], metrics.RATE, RATE)


def test_parts_of_the_error_make_all_of_it() -> None:
    error = np.random.default_rng(0).standard_normal((301, 513)).cumsum(0)
    kept = {name: change(error) for name, change in ablate.MENDED.items()}
    slow, middle, fast = (kept[n] for n in kept if (n.endswith("Hz") and "4 Hz" in n) or "10" in n)
    np.testing.assert_allclose(slow + middle + fast, error, atol=1e-6)
    np.testing.assert_allclose(sum(kept[n] for n in kept if "kHz" in n), error, atol=1e-12)
    of_orders = sum(ablate.orders(k, k)(error) for k in range(40))
    np.testing.assert_allclose(of_orders, ablate.orders(0, 39)(error), atol=1e-6)
    smooth = np.outer(np.ones(3), np.cos(np.linspace(0, 3, 513)))
    within = slice(10, 300)
    np.testing.assert_allclose(
        ablate.orders(0, 39)(smooth)[:, within], smooth[:, within], atol=0.01
    )


def test_a_rate_is_kept_and_others_are_not() -> None:
    at = np.arange(400) * 0.005
    waves = {hz: np.cos(2 * np.pi * hz * (at + 0.0025))[:, None] for hz in (2, 7, 25)}
    for low, high, kept in ((0, 4, 2), (4, 10, 7), (10, None, 25)):
        found = ablate.rates(low, high)(sum(waves.values()))
        np.testing.assert_allclose(found, waves[kept], atol=1e-6)


def test_what_is_put_right_comes_nearer(sound: F32) -> None:
    """An envelope that is wrong from 1 to 2.5 kHz is right again with that band, and no other."""
    parts = ablate.analyse(sound)
    bins = np.linspace(0, 12000, parts.envelope.shape[1])
    wrong = parts.envelope + 4 * ((bins > 1100) & (bins < 2400))
    coded = ablate.synthesise(parts._replace(envelope=wrong))[: sound.size]
    wanted = ablate.analyse(ablate.synthesise(parts)).envelope
    there = (bins > 1200) & (bins < 2300)
    apart = {}
    for name, made in ablate.mend(sound, coded):
        envelope = ablate.analyse(made).envelope
        n = min(len(envelope), len(wanted))
        apart[name] = float(np.abs(envelope[:n] - wanted[:n])[:, there].mean())
    whole = apart["nothing: coded"]
    assert apart["the envelope"] < 0.5 * whole
    assert apart["1 to 2.5 kHz"] < 0.5 * whole
    for name in ("below 1 kHz", "2.5 to 4 kHz", "above 4 kHz", "all but the envelope"):
        assert apart[name] > 0.8 * whole
    assert apart["nothing: uncoded"] < 0.2 * whole


def test_counts_words_by_set(
    golden: Callable[[str], Any], speech: F32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_external, "missing", lambda quick: "")
    monkeypatch.setattr(metrics_external, "Judges", Fake)
    folder = tmp_path / "some"
    folder.mkdir()
    for i, text in enumerate(("Go home", "stay")):
        soundfile.write(folder / f"{i}.wav", speech[: 16000 * (i + 1)], 16000)
        (folder / f"{i}.txt").write_text(text)
    out = tmp_path / "below" / "lost.json"
    args = [str(golden("tiny").model), "--clips", str(folder), "--json", str(out)]
    result = CliRunner().invoke(ablate.main, args)
    assert result.exit_code == 0, result.output
    lost = json.loads(out.read_text())
    assert set(lost) >= {"nothing: coded", "the envelope", *ablate.MENDED}
    assert all(of_sets == {"some": [2.0, 3]} for of_sets in lost.values())
    assert "0.667" in result.output


def test_says_what_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(ablate.main, ["edge-65k"])
    assert result.exit_code == 2
    assert "--clips or --set" in result.output
