"""The Raspberry Pi that this machine is, and what `scripts/project_boards.py` projects for it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

PATH = Path(str(resources.files("fcs_edge") / "bench/boards.json"))
"""Real-time factors, projected and not measured; `scripts/project_boards.py --write` writes it."""


def board(title: str | None, ghz: float | None) -> tuple[str, float] | None:
    """Return the name and the clock in GHz of a board that is projected, or None.

    Parameters
    ----------
    title : str or None
        What `/proc/device-tree/model` holds.
    ghz : float or None
        The highest clock of its cores. The nearest one that is projected counts; without one, the
        lowest.
    """
    found = [
        entry
        for entry in _data()["boards"]
        if any((title or "").startswith(model) for model in entry["models"])
    ]
    if not found:
        return None
    nearest = min(found, key=lambda entry: abs(entry["ghz"] - (ghz or 0)))
    return nearest["name"], nearest["ghz"]


def projected(
    where: tuple[str, float], model_weights: int, scheme: str, activations: int
) -> dict[str, list[float]] | None:
    """Return the factors of a model on a board, by mode: good, middle and bad.

    None for a model that is not projected.

    Parameters
    ----------
    where : tuple of str and float
        What `board` returned.
    model_weights : int
        How many weights the model has.
    scheme : str
        How they are stored.
    activations : int
        Bits of the activations; they matter beside int8 weights only.
    """
    for row in _data()["rows"]:
        found = (row["board"], row["ghz"]), row["model_weights"], row["weights"]
        if found == (where, model_weights, scheme) and row["activations"] in (None, activations):
            return {mode: row[mode] for mode in ("encode", "decode", "both")}
    return None


def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(PATH.read_text())
    return data
