"""Rows that other libraries hold: sounds as paths, as bytes and as arrays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import fcs_edge
from audio_cases import container, noise
from fcs_edge.corpus.rows import RESULTS, encode_columns, encode_rows
from fcs_edge.errors import ModelFileError


@pytest.fixture
def flac(tmp_path: Path) -> Path:
    path = tmp_path / "in.flac"
    soundfile.write(path, noise(40000), 16000)
    return path


def test_each_way_to_hold_a_sound(flac: Path, tiny: fcs_edge.Codec) -> None:
    signal = fcs_edge.read_audio(flac)
    held = {"bytes": flac.read_bytes(), "path": "elsewhere.flac"}
    rows: list[dict[str, Any]] = [
        {"path": str(flac), "text": "one"},
        {"path": flac, "n": 2},
        {"audio": held, "text": "three"},
        {"audio": {"bytes": None, "path": str(flac)}},
        {"array": signal, "sampling_rate": 16000},
        {"audio": {"array": signal.tolist(), "sampling_rate": 16000, "path": None}},
        {"array": np.stack([signal, signal]), "sampling_rate": np.int64(16000)},
    ]
    encoded = list(encode_rows(rows, tiny))
    tokens = tiny.encode(signal)
    for before, row in zip(rows, encoded, strict=True):
        assert row["error"] is None
        assert np.array_equal(row["tokens"], tokens)
        assert row["tokens"].dtype == np.uint16
        assert (row["n_samples"], row["sample_rate_in"]) == (40000, 16000)
        others = {k: v for k, v in before.items() if k not in ("audio", "array", "sampling_rate")}
        assert list(row) == [*others, *RESULTS]
        assert {name: row[name] for name in others} == others
    hashes = [row["sha256"] for row in encoded]
    assert len(set(hashes[:4])) == 1
    assert hashes[4:] == [None] * 3
    assert [row["channels"] for row in encoded] == [1] * 6 + [2]


def test_parts(flac: Path, tiny: fcs_edge.Codec) -> None:
    """A duration without an offset is what many tables state of whole sounds."""
    signal = fcs_edge.read_audio(flac)
    part = {"offset": 0.5, "duration": 1.25}
    rows: list[dict[str, Any]] = [
        {"path": str(flac), **part},
        {"audio": {"bytes": flac.read_bytes()}, **part},
        {"array": signal, "sampling_rate": 16000, **part},
        {"array": signal, "sampling_rate": 16000, "offset": 0.5, "duration": float("nan")},
        {"path": str(flac), "offset": None, "duration": 1.25},
        {"path": str(flac), "offset": float("nan")},
    ]
    encoded = list(encode_rows(rows, tiny))
    ends = [(8000, 28000)] * 3 + [(8000, None)] + [(0, None)] * 2
    for row, (start, end) in zip(encoded, ends, strict=True):
        assert np.array_equal(row["tokens"], tiny.encode(signal[start:end]))
    assert (encoded[0]["offset"], encoded[0]["duration"]) == (0.5, 1.25)


def test_faults_stay_in_their_rows(flac: Path, tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    cut = container("WAV", "PCM_16", noise())[:20000]
    rows: list[dict[str, Any]] = [
        {"path": tmp_path / "none.wav"},
        {"path": "a\0b"},
        {"path": tmp_path},
        {"audio": {"bytes": b""}},
        {"audio": {"bytes": b"no sound at all, but text"}},
        {"audio": {"bytes": cut}},
        {"array": np.zeros(0), "sampling_rate": 16000},
        {"array": np.zeros(9), "sampling_rate": 0},
        {"array": np.zeros(9), "sampling_rate": 16000, "offset": 1},
        {"array": np.zeros(9), "sampling_rate": 16000, "offset": -1},
        {"path": str(flac)},
    ]
    expected = [
        "No such file or directory",
        "embedded null byte",
        "is a folder, no file",
        "not a readable sound file: it is empty",
        "this is text, not sound; give a sound file",
        None,
        "holds no sound",
        "a sample rate of 0 Hz is not supported; 1000 to 1000000 are",
        "ends before 1 s",
        "its offset is -1 s; 0 or more is expected",
        None,
    ]
    encoded = list(encode_rows(rows, tiny))
    assert [row["error"] for row in encoded] == expected
    assert encoded[5]["warning"].startswith("cut: 19956 of 32000 bytes")
    assert next(encode_rows(rows[5:6], tiny, strict=True))["error"] == encoded[5]["warning"]


def test_rows_are_encoded_as_they_are_taken(flac: Path, tiny: fcs_edge.Codec) -> None:
    def endless() -> Any:
        while True:
            yield {"path": str(flac)}

    rows = encode_rows(endless(), tiny)
    assert next(rows)["n_tokens"] == next(rows)["n_tokens"]


def test_wrong_calls(
    flac: Path, tiny: fcs_edge.Codec, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    from fcs_edge.convert import convert

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"id": "a", "text": "b"}, "this one has id, text"),
        ({"path": None}, "a row has its sound in path"),
        ({"array": np.zeros(9, np.int16), "sampling_rate": 16000}, "must be floating point"),
        ({"array": np.zeros(9)}, "sampling_rate must be an integer"),
    ]
    for row, text in wrong:
        with pytest.raises(TypeError, match=text):
            list(encode_rows([row], tiny))
    # At the call, before a row is taken.
    with pytest.raises(ValueError, match="a channel is a number"):
        encode_rows([], tiny, channel=0)
    with pytest.raises(ValueError, match="this one encodes streams"):
        encode_rows([], tiny, window=2.0)
    half = convert(golden("tiny").model, tmp_path / "half.safetensors", "tiny", "f32", "decoder")
    with pytest.raises(ModelFileError, match="the decoder half"):
        encode_rows([], fcs_edge.load(half.path))


def test_batches_in_columns(flac: Path, tiny: fcs_edge.Codec) -> None:
    batch = {
        "audio": [{"bytes": flac.read_bytes(), "path": "a"}, {"bytes": b"", "path": "b"}],
        "text": np.array(["one", "two"]),
    }
    columns = encode_columns(batch, tiny, channel=1)
    assert list(columns) == ["text", *RESULTS]
    assert columns["text"] == ["one", "two"]
    assert columns["n_tokens"] == [tiny.n_tokens(40000), None]
    assert [error is None for error in columns["error"]] == [True, False]
    assert encode_columns({"path": [], "text": []}, tiny) == {
        name: [] for name in ("path", "text", *RESULTS)
    }


def test_rows_need_no_pyarrow(flac: Path, golden: Callable[[str], Any]) -> None:
    code = (
        "import sys\nsys.modules['pyarrow'] = sys.modules['distributed'] = None\n"
        "import fcs_edge\nfrom fcs_edge.corpus.rows import encode_rows\n"
        "[row] = encode_rows([{'path': sys.argv[1]}], fcs_edge.load(sys.argv[2]))\n"
        "print(row['n_tokens'], row['error'])"
    )
    command = [sys.executable, "-c", code, flac, golden("tiny").model]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"125 None\n"
