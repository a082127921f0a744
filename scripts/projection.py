"""The time of a chunk, from the rates of loops, a bandwidth, an efficiency and an overlap.

A layer takes

    c = MAC / (rate x GHz x e),  m = bytes / bandwidth,  t = max(c, m) + (1 - o) min(c, m)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from board_bounds import CASES, JOIN_US, OVERLAP, Board, Core, Three
from chunk_work import SCHEMES, Scheme, Work
from fcs_edge.bench.bench import MODES

CORES_USED = (1, 2, 4)
BESIDE = "beside"
"""One core encodes and another one decodes, as `fcs-edge send` and `receive` do on one board."""
Factors = dict[int, dict[str, Three]]
"""Real-time factors by cores and mode; `BESIDE` is a mode of two cores."""


class Rates:
    """The loops' multiply-accumulates per cycle.

    Parameters
    ----------
    entries : iterable of dict
        core, loop, rows, dispatch and macs_per_cycle. A loop ends with its rows and outputs, as in
        ``int8 4x8``.
    """

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._by_loop: dict[tuple[str, str], list[tuple[int, int, int, float]]] = {}
        for entry in entries:
            if not entry.get("macs_per_cycle"):
                continue
            shape = re.search(r" (\d+)x(\d+)$", entry["loop"])
            loop = entry["loop"][: shape.start()] if shape else entry["loop"]
            outputs = int(shape[2]) if shape else 0
            found = self._by_loop.setdefault((entry["core"], loop), [])
            dispatch, rate = int(entry["dispatch"]), float(entry["macs_per_cycle"])
            found.append((int(entry["rows"]), dispatch, outputs, rate))

    @classmethod
    def read(cls, path: Path) -> Rates:
        """Read a file."""
        return cls(json.loads(path.read_text()))

    def has(self, core: Core, loop: str) -> bool:
        """Return whether the rate of a loop is known."""
        return (core.name, loop) in self._by_loop

    def rate(self, core: Core, loop: str, rows: int, dispatch: float) -> float:
        """Return a loop's rate: of one row or of four, of the widest panel.

        Where the loop has no rate of one row, that of four counts; where it has none of this
        dispatch, the nearest one does.
        """
        every = self._by_loop[core.name, loop]
        of_rows = [entry for entry in every if entry[0] == (4 if rows >= 4 else 1)] or every
        nearest = min(abs(entry[1] - dispatch) for entry in of_rows)
        near = [entry for entry in of_rows if abs(entry[1] - dispatch) == nearest]
        return max(near, key=lambda entry: entry[2])[3]

    def schemes(self, core: Core, layers: list[Work]) -> list[Scheme]:
        """Return the schemes whose loops all have a rate on a core."""
        used = [work for work in layers if work.weights]
        return [s for s in SCHEMES if all(self.has(core, work.loop(s)) for work in used)]


@dataclass(frozen=True)
class Speed:
    """What one core does in one case."""

    rate: Callable[[str, int], float]
    """GMAC/s of a loop and a number of rows."""
    side: float
    """GMAC/s of all that is no loop with a known rate."""
    efficiency: float
    overlap: float
    read: float
    """GB/s."""
    shared: float
    """GB/s of all cores."""


def speed(board: Board, case: int, rates: Rates) -> Speed:
    """Return the speed of a board in a case."""
    core = board.core

    def rate(loop: str, rows: int) -> float:
        if not rates.has(core, loop):
            return core.side.values[case] * board.ghz
        return rates.rate(core, loop, rows, core.dispatch[case]) * board.ghz

    shares = core.efficiency.values[case], OVERLAP.values[case]
    memory = board.read.values[case], board.shared.values[case]
    return Speed(rate, core.side.values[case] * board.ghz, *shares, *memory)


def layer_ms(arithmetic: float, reading: float, overlap: float) -> float:
    """Return the time of a layer, from those of its arithmetic and its reading."""
    return max(arithmetic, reading) + (1 - overlap) * min(arithmetic, reading)


def work_ms(work: Work, scheme: Scheme, at: Speed, cores: int = 1) -> tuple[float, float, float]:
    """Return the milliseconds of a layer: arithmetic, reading, and both as they overlap.

    Several cores share the layers that are cut, each of which waits for all.
    """
    rate = at.rate(work.loop(scheme), work.rows) if work.weights or work.taps else at.side
    read, joined = at.read, 0.0
    if cores > 1 and work.cut:
        rate, read, joined = rate * cores, max(read, at.shared), JOIN_US / 1e3
    c = work.macs / (rate * at.efficiency) / 1e6
    m = work.bytes(scheme) / read / 1e6
    return c, m, layer_ms(c, m, at.overlap) + joined


def stages_ms(
    layers: list[Work], scheme: Scheme, at: Speed, mode: str = "both", cores: int = 1
) -> float:
    """Return the milliseconds of the stages of a mode, one layer after the other."""
    used = [work for work in layers if work.stage in MODES[mode]]
    return sum(work_ms(work, scheme, at, cores)[2] for work in used)


def factors(
    layers: list[Work], chunk_ms: float, scheme: Scheme, board: Board, rates: Rates
) -> Factors:
    """Return the real-time factors of a model on a board.

    Two and four cores share each layer, one layer after the other. Beside each other, the slower
    of encoder and decoder counts, and at least all bytes at the rate that the cores share.
    """
    good, middle, bad = (
        _one_case(layers, scheme, speed(board, case, rates), chunk_ms) for case in range(len(CASES))
    )
    return {
        cores: {mode: (good[cores][mode], middle[cores][mode], bad[cores][mode]) for mode in modes}
        for cores, modes in middle.items()
    }


def _one_case(
    layers: list[Work], scheme: Scheme, at: Speed, chunk_ms: float
) -> dict[int, dict[str, float]]:
    found = {
        cores: {mode: stages_ms(layers, scheme, at, mode, cores) / chunk_ms for mode in MODES}
        for cores in CORES_USED
    }
    least = sum(work.bytes(scheme) for work in layers) / at.shared / 1e6
    found[2][BESIDE] = max(found[1]["encode"], found[1]["decode"], least / chunk_ms)
    return found
