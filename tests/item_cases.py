"""Items and recipes of corpora, for tests of their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Recipe, Row


def recipe(**fields: Any) -> Recipe:
    values: dict[str, Any] = {"model": "", "model_sha256": "", "fingerprint": "", "out": ""}
    return Recipe(**values, settings={}, **fields)


def item(path: Path, **fields: Any) -> Item:
    return replace(Item(path.name, str(path), size=path.stat().st_size, mtime_ns=7), **fields)


def same(row: Row, tokens: NDArray[np.uint16]) -> bool:
    """Whether a row has tokens, and these."""
    assert row["error"] is None
    return bool(row["n_tokens"] == tokens.size and np.array_equal(row["tokens"], tokens))
