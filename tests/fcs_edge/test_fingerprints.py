"""Tokens and samples are equal to the bit on every CPU; `scripts/fingerprints.py` has the words.

Libraries are checked where they are built: `make wheel` does x86-64, `scripts/arm64_smoke.sh` ARM.
"""

from __future__ import annotations

from pathlib import Path

import fingerprints
import numpy as np
import pytest

from fcs_edge.kernels.isa import instructions
from fcs_edge.model import code_search

EXACT = ("vnni", "avx512", "avx2", "dotprod", "neon")
"""Sets of CPUs that have fused multiply-add and widen float16."""
NAMES = (
    *("edge-65k", *fingerprints.WEIGHTS, *fingerprints.WHOLE, *fingerprints.NOISY),
    *fingerprints.ACTIVATIONS,
)
SETS = [using.name for using in instructions.supported() if using.name in EXACT]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    found: dict[str, Path | None] = fingerprints.models(tmp_path_factory.mktemp("models"))
    return found


@pytest.mark.parametrize("using", SETS)
@pytest.mark.parametrize("name", NAMES)
def test_tokens_and_samples_are_those_of_every_cpu(
    using: str, name: str, models: dict[str, Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", using)
    found = fingerprints.of(models[name], fingerprints.ACTIVATIONS.get(name))
    assert found == fingerprints.expected()[name]


def test_all_kinds_of_weights_have_fingerprints_of_their_own() -> None:
    expected = fingerprints.expected()
    assert set(expected) == set(NAMES)
    for what in ("tokens", "samples"):
        assert len({found[what] for found in expected.values()}) == len(expected)


ULP = 2.0**-52


def test_tables_do_not_depend_on_the_last_bits_of_numpys_functions() -> None:
    """NumPy computes cos, exp and log in other ways on other CPUs, right to a few last bits."""
    size, bands = 512, 40
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    tables = {
        "window": hann * 2 / hann.sum(),
        "filters": code_search.band_filters(bands, size // 2 + 1, 16000 / size),
        "cepstra": code_search.cepstral_rows(bands, 20),
        "window of Vocos": 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024),
        "roots of Vocos": np.cos(2 * np.pi * np.arange(1024) / 1024),
        "roots": np.exp(-2j * np.pi * np.arange(size // 2) / size).real,
    }
    for name, table in tables.items():
        # Residue of a zero is none in the tables in use.
        table = table[np.abs(table) > 1e-12]
        for error in (-8 * ULP, 8 * ULP):
            moved = table * (1 + error)
            assert np.array_equal(moved.astype(np.float32), table.astype(np.float32)), name
    assert not np.any((tables["cepstra"] != 0) & (np.abs(tables["cepstra"]) < 1e-12))
    used = code_search.roots(size).astype(np.float64)
    assert not np.any((used != 0) & (np.abs(used) < 1e-12))
