"""``bench`` on a Raspberry Pi, by its device tree: what is projected beside what is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import fcs_edge
from fcs_edge.bench import boards, host
from fcs_edge.cli.ui.bench_report import board_rows, show

MODES = ("encode", "decode", "both")


@pytest.mark.parametrize(
    ("model", "ghz", "found"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", 2.4, ("Raspberry Pi 5", 2.4)),
        ("Raspberry Pi 500 Rev 1.0", 2.4, ("Raspberry Pi 5", 2.4)),
        ("Raspberry Pi Compute Module 5 Rev 1.0", 3.0, ("Raspberry Pi 5", 2.4)),
        ("Raspberry Pi 4 Model B Rev 1.1", 1.5, ("Raspberry Pi 4", 1.5)),
        ("Raspberry Pi 4 Model B Rev 1.4", 1.8, ("Raspberry Pi 4", 1.8)),
        ("Raspberry Pi 4 Model B Rev 1.4", None, ("Raspberry Pi 4", 1.5)),
        ("Raspberry Pi 3 Model B Rev 1.2", 1.2, ("Raspberry Pi 3", 1.2)),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", 1.4, ("Raspberry Pi 3", 1.4)),
        ("Raspberry Pi Zero 2 W Rev 1.0", 1.0, ("Raspberry Pi Zero 2 W", 1.0)),
        ("Raspberry Pi Zero W Rev 1.1", 1.0, None),
        ("Raspberry Pi 2 Model B Rev 1.1", 0.9, None),
        ("ROCK 5B", 2.4, None),
        (None, None, None),
    ],
)
def test_boards_by_device_tree(
    model: str | None, ghz: float | None, found: tuple[str, float] | None
) -> None:
    assert boards.board(model, ghz) == found


def test_models_that_are_projected() -> None:
    codec = fcs_edge.load("edge-65k")
    where = "Raspberry Pi Zero 2 W", 1.0
    projected = boards.projected(where, codec.model.weights, "int8", 12)
    assert projected is not None
    assert set(projected) == set(MODES)
    for good, middle, bad in projected.values():
        assert 0 < good < middle < bad
    assert boards.projected(where, codec.model.weights + 1, "int8", 12) is None
    assert boards.projected(where, codec.model.weights, "int8", 9) is None
    assert boards.projected(where, codec.model.weights, "int4", 9) is not None


def test_bench_prints_the_boards_row(
    run: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, clock, path = tmp_path / "model", tmp_path / "clock", tmp_path / "bench.json"
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    clock.write_text("1800000\n")
    monkeypatch.setattr(host, "DEVICE_TREE_MODEL", model)
    monkeypatch.setattr(host, "HIGHEST_CLOCK", clock)
    result = run("bench", "--seconds", 0.2, "--json", path)
    assert result.code == 0, result.err
    facts = json.loads(path.read_text())
    assert facts["machine"]["clock_ghz"] == 1.8
    assert facts["projected_for"] == "Raspberry Pi 4 at 1.8 GHz"
    (measured,) = facts["runs"]
    weights = fcs_edge.load("edge-65k").model.weights
    expected = boards.projected(("Raspberry Pi 4", 1.8), weights, "int8", 12)
    assert measured["projected"] == expected
    lines = result.out.splitlines()
    start = lines.index("Real-time factors on one core, Raspberry Pi 4 at 1.8 GHz:")
    header, rule, row, beside = lines[start + 2 : start + 6]
    assert header == "| model, weights | | encode | decode | both |"
    assert rule == "|---|---|---|---|---|"
    factors = [f"{measured['modes'][mode]['real_time_factor']:.3f}" for mode in MODES]
    assert row == f"| edge-65k, int8, 12-bit activations | measured | {' | '.join(factors)} |"
    cells = [" / ".join(f"{value:.2f}" for value in (expected or {})[mode]) for mode in MODES]
    name = "edge-65k, int8, 12-bit activations"
    assert beside == f"| {name} | projected, good / middle / bad | {' | '.join(cells)} |"
    # On another machine there is no such table.
    del facts["projected_for"]
    capsys.readouterr()
    show(facts)
    assert "projected" not in capsys.readouterr().out


def test_a_model_that_is_not_projected() -> None:
    run = {
        "weights": "f32",
        "settings": {"activation_bits": 32},
        "projected": None,
        "modes": {m: {"real_time_factor": 0.5} for m in MODES},
    }
    facts = {"projected_for": "B at 1 GHz", "model": {"name": "mine"}, "runs": [run]}
    assert board_rows(facts)[-2:] == [
        "| mine, f32 | measured | 0.500 | 0.500 | 0.500 |",
        "| mine, f32 | not projected | | | |",
    ]
