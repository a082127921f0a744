"""Files of voices: what is written is read again, and what is damaged is one clear line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_cases
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from voice_cases import KINDS, drawn_voice

import fcs_edge
from fcs_edge import Codec, FcsError, Voice, VoiceError

FACTS = {
    "format": "fcs-edge voice",
    "format_version": "1",
    "fingerprint": "0123456789abcdef",
    "model": "a model",
    "source": "encoder",
    "seconds": "12.50",
}
ROWS = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float16)
SCALES = {"scale": np.ones(6, np.float32), "columns": np.ones((2, 5), np.float32)}
INT8 = {"rows": np.ones((6, 5), np.int8), **SCALES}


def saved(path: Path, tensors: dict[str, Any] | None = None, **facts: str | None) -> Path:
    """Write a file of these tensors, with some facts replaced or left out."""
    stated = {key: value for key, value in {**FACTS, **facts}.items() if value is not None}
    save_file(tensors or {"rows": ROWS}, path, stated)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded(kind: str, tiny: Codec, tmp_path: Path) -> None:
    voice = drawn_voice(tiny, 70, kind)
    path = tmp_path / "a.voice"
    voice.save(path)
    loaded = fcs_edge.load_voice(path)
    assert (loaded.kind, len(loaded), loaded.width) == (kind, len(voice), voice.width)
    assert loaded.fingerprint == tiny.fingerprint
    assert (loaded.model, loaded.source, loaded.seconds) == ("tiny", "encoder", voice.seconds)
    assert np.array_equal(loaded.float32(), voice.float32())
    # Any reader of safetensors opens it.
    assert np.array_equal(load_file(path)["rows"], voice.rows)
    with pytest.raises(FcsError, match="exists already"):
        voice.save(path)
    voice.save(path, force=True)


def test_int8_is_near(tiny: Codec) -> None:
    voice = drawn_voice(tiny, 300)
    rows = voice.float32() * np.linspace(1, 50, voice.width, dtype=np.float32) + 7
    exact = Voice(rows, tiny.fingerprint)
    error = np.abs(exact.to_int8().float32() - rows).max(0) / rows.std(0)
    assert error.max() < 0.04


def test_the_arrays_of_a_caller_stay_as_they_are(tiny: Codec) -> None:
    rows = np.ones((3, 4), np.float32)
    voice = Voice(rows, tiny.fingerprint)
    rows[0] = 2
    with pytest.raises(ValueError, match="read-only"):
        voice.rows[0] = 3


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "another format": (lambda p: saved(p, format="fcs-edge model"), "no voice; make one with"),
    "a newer version": (lambda p: saved(p, format_version="2"), "voice format 2 is not known"),
    "no fingerprint": (lambda p: saved(p, fingerprint=None), "damaged metadata .no fingerprint"),
    "half a fingerprint": (lambda p: saved(p, fingerprint="0123"), "not 8 bytes"),
    "no hexadecimal": (lambda p: saved(p, fingerprint="x" * 16), "damaged metadata"),
    "another stage": (lambda p: saved(p, source="decoder"), "unknown source"),
    "endless": (lambda p: saved(p, seconds="nan"), "seconds or the model's name"),
    "a long name": (lambda p: saved(p, model="x" * 300), "seconds or the model's name"),
    "no rows": (lambda p: saved(p, {"row": ROWS}), "no tensor rows of F16, F32 or I8"),
    "rows of integers": (lambda p: saved(p, {"rows": ROWS.astype(np.int16)}), "no tensor rows"),
    "one axis": (lambda p: saved(p, {"rows": ROWS[0]}), "with two axes"),
    "empty": (lambda p: saved(p, {"rows": ROWS[:0]}), "has 1 to 262,144 rows"),
    "infinite": (lambda p: saved(p, {"rows": ROWS * np.float16(np.inf)}), "NaN or infinity"),
    "large": (lambda p: saved(p, {"rows": np.full((2, 2), 1e30, np.float32)}), "2 .. 40"),
    "zeros": (lambda p: saved(p, {"rows": ROWS * 0}), "all rows are zeros"),
    "nearly zeros": (
        lambda p: saved(p, {"rows": ROWS.astype(np.float32) * np.float32(1e-20)}),
        "all rows are zeros",
    ),
    "unknown tensor": (lambda p: saved(p, {"rows": ROWS, "\x1b": ROWS}), "missing or unexpected"),
    "no scales": (lambda p: saved(p, {"rows": INT8["rows"]}), "tensor columns is missing"),
    "scales of floats": (lambda p: saved(p, {**INT8, "rows": ROWS}), "unexpected"),
    "short scales": (
        lambda p: saved(p, {**INT8, "scale": np.ones(5, np.float32)}),
        "tensor scale is not F32 of shape .6,.",
    ),
    "large scales": (
        lambda p: saved(p, {**INT8, **{k: v * np.float32(1e11) for k, v in SCALES.items()}}),
        "too large together",
    ),
    "-128": (lambda p: saved(p, {**INT8, "rows": np.full((6, 5), -128, np.int8)}), "has -128"),
    "missing": (lambda p: p, "no such file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    path = make(tmp_path / "a.voice")
    with pytest.raises(VoiceError, match=expected) as caught:
        fcs_edge.load_voice(path)
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()


def test_fuzz(tmp_path: Path) -> None:
    """Whatever the bytes, a voice is read and searched, or refused in one line."""
    path = tmp_path / "fuzz.voice"
    sources = [saved(tmp_path / "a", None), saved(tmp_path / "b", INT8)]
    whole = [source.read_bytes() for source in sources]

    def make(rng: random.Random) -> bytes:
        data = rng.choice(whole)
        if rng.random() < 0.5:
            return fuzz_cases.mutate_bytes(rng, data)
        start = 8 + int.from_bytes(data[:8], "little")
        text = fuzz_cases.to_text(rng, fuzz_cases.mutate_json(rng, json.loads(data[8:start])))
        return len(text).to_bytes(8, "little") + text + data[start:]

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        voice = fcs_edge.load_voice(path)
        assert np.isfinite(voice.float32()).all()
        assert voice.index.size <= len(voice)
        return "read"

    # The first call compiles kernels.
    assert [read(data) for data in whole] == ["read", "read"]
    found = fuzz_cases.run("voices", 1500, make, read, 3_000_000)
    assert found["read"] >= 30
    assert found["refused"] >= 800
