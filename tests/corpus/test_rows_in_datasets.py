"""`encode_columns` under ``datasets.Dataset.map``, as docs/howto/encode-rows.md shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from corpus_cases import write_sound
from fcs_edge.corpus import encode_columns

datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two sounds and a text that is named as a sound."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_sound(tmp_path / "speech/a.wav", 1, 16000, 0.5)
    write_sound(tmp_path / "speech/b.flac", 2, 16000, 0.7)
    (tmp_path / "speech/bad.wav").write_text("no sound")
    return tmp_path


def mapped(table: Any, codec: fcs_edge.Codec, folder: Path) -> dict[str, Any]:
    """Return the rows of a table with tokens, by name."""
    features = datasets.Features(
        {
            "name": datasets.Value("string"),
            "tokens": datasets.Sequence(datasets.Value("uint16")),
            "error": datasets.Value("string"),
        }
    )

    def encode(batch: Any) -> dict[str, list[Any]]:
        columns = encode_columns(batch, codec)
        return {name: columns[name] for name in features}

    encoded = table.map(
        encode,
        batched=True,
        batch_size=2,
        features=features,
        remove_columns=table.column_names,
        cache_file_name=str(folder / "cache.arrow"),
    )
    return {row["name"]: row for row in encoded}


def tokens_of(path: Path, codec: fcs_edge.Codec) -> NDArray[np.uint16]:
    samples, _ = soundfile.read(path, dtype="float32")
    return codec.encode(samples)


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_a_table_gets_the_tokens_of_its_sounds(folder: Path, tiny: Any, kind: str) -> None:
    # The first batch has no error.
    names = ["a.wav", "b.flac", "bad.wav"]
    paths = [folder / "speech" / name for name in names]
    sounds = [
        {"path": str(path), "bytes": path.read_bytes() if kind == "bytes" else None}
        for path in paths
    ]
    table = datasets.Dataset.from_dict({"name": names, "audio": sounds})
    rows = mapped(table, tiny, folder)
    assert set(rows) == set(names)
    for name in ("a.wav", "b.flac"):
        assert rows[name]["error"] is None
        assert rows[name]["tokens"] == tokens_of(folder / "speech" / name, tiny).tolist()
    assert rows["bad.wav"]["tokens"] is None
    assert "not a readable sound file" in rows["bad.wav"]["error"]


def test_a_dataset_of_the_features_audio_gets_tokens(folder: Path, tiny: Any) -> None:
    paths = [str(folder / "speech" / name) for name in ("a.wav", "b.flac")]
    table = datasets.Dataset.from_dict({"name": ["a.wav", "b.flac"], "audio": paths})
    table = table.cast_column("audio", datasets.Audio(decode=False))
    rows = mapped(table, tiny, folder)
    assert rows["b.flac"]["tokens"] == tokens_of(folder / "speech/b.flac", tiny).tolist()
