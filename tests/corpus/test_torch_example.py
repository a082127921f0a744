"""The torch Dataset of docs/howto/train-on-tokens.md, as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_cases import error_row, store
from fcs_edge import Codec

pytest.importorskip("pyarrow")
pytest.importorskip("torch")

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "train-on-tokens.md"

READER = """
    found = {}
    for workers in (0, 1, 2, 3):
        loader = DataLoader(Windows("tokens", 32), batch_size=None, num_workers=workers)
        found[workers] = [[window.tolist() for window in loader] for _ in range(2)]
    import json
    print(json.dumps(found))
"""


def row(codec: Codec, id: str, n: int, seed: int) -> dict[str, Any]:
    tokens = np.random.default_rng(seed).integers(0, 1 << codec.bits_per_token, n, np.uint16)
    return {
        "id": id,
        "path": f"/{id}",
        "n_samples": n * codec.samples_per_token,
        "n_tokens": n,
        "tokens": tokens,
        "sample_rate_in": 16000,
        "channels": 1,
        "n_not_finite": 0,
        "size": 1,
        "mtime_ns": 1,
        "sha256": "0" * 64,
    }


def test_every_window_comes_once_an_epoch_with_any_number_of_workers(
    tiny: Codec, tmp_path: Path
) -> None:
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    rows = [row(tiny, f"{n}.wav", 20 + 30 * n, n) for n in range(8)]
    store(tiny, tmp_path / "tokens", [rows[:3], [error_row("bad", "no sound")], rows[3:]])
    (tmp_path / "example.py").write_text(code + READER)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    expected = Counter(
        tuple(r["tokens"][at : at + 32].tolist())
        for r in rows
        for at in range(0, r["tokens"].size - 31, 32)
    )
    for workers, epochs in json.loads(done.stdout).items():
        for windows in epochs:
            assert Counter(map(tuple, windows)) == expected, workers
            assert epochs[0] != epochs[1]
