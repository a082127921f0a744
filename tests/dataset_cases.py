"""Small datasets of tokens, for tests of what reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from fcs_edge.codec import Codec
from fcs_edge.corpus.dataset_files import write_dataset
from fcs_edge.corpus.job import Recipe, Totals
from fcs_edge.corpus.schema import write_shard
from fcs_edge.corpus.storage import open_storage
from fcs_edge.modelfile import catalogue
from fcs_edge.tokens.settings import token_settings

RATE = 16000


def recipe_of(codec: Codec, out: Path) -> Recipe:
    """Return the recipe of a dataset of a codec's tokens."""
    return Recipe(
        model=catalogue.reference(codec.model),
        model_sha256=codec.model.sha256,
        fingerprint=codec.fingerprint.hex(),
        settings=token_settings(codec.model),
        out=str(out),
    )


def sound_row(
    codec: Codec, path: Path, id: str, signal: NDArray[np.float32], **others: Any
) -> dict[str, Any]:
    """Write a signal to a WAV of 32-bit floats; return its row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, RATE, subtype="FLOAT")
    tokens = codec.encode(signal)
    status = os.stat(path)
    return {
        "id": id,
        "path": str(path),
        "n_samples": signal.size,
        "n_tokens": tokens.size,
        "tokens": tokens,
        "sample_rate_in": RATE,
        "channels": 1,
        "n_not_finite": 0,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **others,
    }


def error_row(id: str, error: str) -> dict[str, Any]:
    """Return the row of a sound that could not be encoded."""
    return {"id": id, "path": f"/nowhere/{id}", "size": 7, "mtime_ns": 1, "error": error}


def store(codec: Codec, out: Path, shards: Sequence[Sequence[dict[str, Any]]]) -> Path:
    """Write a dataset of shards of rows; return its folder."""
    recipe, storage = recipe_of(codec, out), open_storage(out, create=True)
    totals: dict[str, Totals] = {}
    for number, rows in enumerate(shards):
        name = f"{number:016x}"
        totals[name] = write_shard(storage, name, rows, recipe)
    write_dataset(storage, recipe, list(totals), totals)
    return out
