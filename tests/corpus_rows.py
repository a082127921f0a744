"""Rows and recipes of corpora, for tests of what stores them: no sound is encoded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

import fcs_edge
from fcs_edge.corpus.job import Recipe, Row
from fcs_edge.tokens.settings import token_settings

SAMPLES_PER_TOKEN = 320


def recipe_of(model: str | Path = "edge-65k", **changes: Any) -> Recipe:
    """Return the recipe of a run with a model."""
    codec = fcs_edge.load(model)
    values: dict[str, Any] = {
        "model": str(model),
        "model_sha256": codec.model.sha256,
        "fingerprint": codec.fingerprint.hex(),
        "settings": token_settings(codec.model),
        "out": "/nowhere",
    }
    return Recipe(**{**values, **changes})


def row_of(n: int, seconds: float = 0.5, **changes: Any) -> Row:
    """Return row number n, with random tokens."""
    rng = np.random.default_rng(n)
    n_samples = max(1, round(seconds * 16000))
    n_tokens = -(-n_samples // SAMPLES_PER_TOKEN)
    name = f"speaker{n % 7}/clip-{n:05d}.flac"
    values: Row = {
        "id": name,
        "path": f"/corpora/read-speech/{name}",
        "n_samples": n_samples,
        "n_tokens": n_tokens,
        "tokens": rng.integers(0, 512, n_tokens).astype(np.uint16),
        "sample_rate_in": 16000,
        "channels": 1,
        "n_not_finite": 0,
        "size": 100 + n,
        "mtime_ns": 1_700_000_000_000_000_000 + n,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
    }
    return {**values, **changes}


def failed_row(n: int, error: str = "holds no sound") -> Row:
    """Return row number n without tokens."""
    return row_of(n, error=error, tokens=None, n_samples=None, n_tokens=None)


def cut_row(n: int) -> Row:
    """Return row number n, whose sound is cut."""
    return row_of(n, warning="cut: 468970 of 937984 bytes")
