"""`voice make` and `decode --voice` with a model that needs the whole signal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import fcs_edge
from fcs_edge.cli import voice_features

RATE = 16000


@pytest.mark.parametrize("name", ["nc_tiny", "nc_25"])
@pytest.mark.parametrize("stage", ["encoder", "decompressor"])
def test_rows_come_from_windows(
    name: str,
    stage: str,
    golden: Callable[..., Any],
    run: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = golden(name)
    monkeypatch.setattr(voice_features, "_WINDOW", RATE)
    signal = 0.1 * np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", signal, RATE, "FLOAT")
    path = tmp_path / "a.voice"
    result = run("voice", "make", "-m", case.model, "--from", stage, tmp_path / "a.wav", path)
    assert result.code == 0, result.err
    assert f"next: fcs-edge decode -m {case.model} --voice {path} speech" in result.err
    voice, codec = fcs_edge.load_voice(path), case.codec
    window = signal[RATE : 2 * RATE + 80]
    rows = codec.features(window)
    if stage == "decompressor":
        rows = codec.decompress(codec.codes(codec.encode(window)))
    # Of two windows 50 rows each, of half a second 24 or 25.
    assert len(rows) == 50
    assert np.array_equal(voice.rows[50:100], rows.astype(np.float16))
    assert len(voice) in (124, 125)
    assert voice.source == stage
    np.save(tmp_path / "t.npy", np.arange(9, dtype=np.uint16))
    decode = ("decode", "-m", case.model, tmp_path / "t.npy", tmp_path / "o.wav")
    assert run(*decode, "--voice", path).code == 0
    expected = codec.decode(np.arange(9), voice=voice)
    got, _ = soundfile.read(tmp_path / "o.wav", dtype="int16")
    assert np.abs(got - np.rint(expected * 32767)).max() <= 1
