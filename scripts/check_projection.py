"""Predict the time of a chunk on this machine by the formula of the boards, and measure it.

`scripts/project_boards.py --check` prints what this module returns. The rates are the multiply-
accumulates that this core does at most, its bandwidth that of repeated reads, both measured by
`fcs-edge bench`. The rate of all that is no matrix product is that of GELU. Efficiency and overlap
are fixed by four of the eight rows, and the other four are predicted.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from chunk_work import GELU, SCHEMES, Scheme, Work, works
from fcs_edge.bench import bench, bench_layers
from fcs_edge.bench.bench import Facts
from fcs_edge.bench.bench_layers import Layer
from fcs_edge.modelfile.config import CodecConfig
from projection import Speed, stages_ms

FIXING = (("f32", "encode"), ("f16", "decode"), ("int8", "encode"), ("int4", "decode"))
"""The rows that fix efficiency and overlap, chosen before anything was measured."""
NEAR = 0.15
"""The largest share by which a prediction may miss."""
_STEPS = 100
_SIDE = "gelu:4x4096"

Row = tuple[str, str]
"""Weights and mode."""


class Peaks(NamedTuple):
    """What one core of this machine does at most."""

    read: float
    """GB/s."""
    float32: float
    """GMAC/s, as the others; float16 weights are widened beside the multiplications."""
    int8: float
    int4: float
    side: float

    def speed(self, efficiency: float, overlap: float) -> Speed:
        """Return the speed with an efficiency and an overlap."""
        rates = {"float32": self.float32, "float16": self.float32}
        # Weights of 8 bits by activations of 8 take the instruction of those of 4 bits.
        rates |= {"int8": self.int8, "int8 x 8 bits": self.int4, "int4": self.int4}
        return Speed(
            lambda loop, rows: rates.get(loop, self.side),
            self.side,
            efficiency,
            overlap,
            self.read,
            self.read,
        )


def predict(layers: list[Work], row: Row, at: Speed) -> float:
    """Return the milliseconds of a chunk."""
    scheme: Scheme = next(s for s in SCHEMES if s.label == row[0])
    return stages_ms(layers, scheme, at, row[1])


def fit(
    layers: list[Work], peaks: Peaks, measured: dict[Row, float], rows: Sequence[Row]
) -> tuple[float, float]:
    """Return the efficiency and the overlap that predict some rows best, by squared log errors."""
    shares = [step / _STEPS for step in range(1, _STEPS + 1)]

    def error(efficiency: float, overlap: float) -> float:
        at = peaks.speed(efficiency, overlap)
        return sum(math.log(predict(layers, row, at) / measured[row]) ** 2 for row in rows)

    # One share at a time, from a coarse grid to a fine one.
    best = min(((e, o) for e in shares[::10] for o in shares[::10]), key=lambda x: error(*x))
    for step in (0.05, 0.02, 0.01):
        near = [
            (min(max(best[0] + i * step, 0.01), 1), min(max(best[1] + j * step, 0), 1))
            for i in range(-3, 4)
            for j in range(-3, 4)
        ]
        best = min(near, key=lambda x: error(*x))
    return best


def measure(models: Sequence[str], seconds: float, rounds: int = 3) -> list[Facts]:
    """Return what `fcs-edge bench` measures of models of the same size.

    Parameters
    ----------
    models : sequence of str
        One model with float32 weights, or one of each scheme; or results of ``fcs-edge bench
        --weights all --json``, whose names end in .json.
    seconds : float
        Of each scheme and round.
    rounds : int
        How often each scheme is measured.
    """
    files = [name for name in models if name.endswith(".json")]
    others = [name for name in models if name not in files]
    results: list[Facts] = [json.loads(Path(name).read_text()) for name in files]
    options, times = (["--weights", "all"], 4) if len(others) == 1 else ([], 1)
    for name in others * rounds:
        command = [sys.executable, "-m", "fcs_edge.cli", "bench", "--model", name, *options]
        command += ["--seconds", str(seconds * times), "--json", "-", "--quiet"]
        results.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    return results


def check(config: CodecConfig, results: Sequence[Facts]) -> Iterator[str]:
    """Yield the prediction beside what was measured.

    Other programs only slow a core down: of several results the best medians and rates count.

    Parameters
    ----------
    config : CodecConfig
        Of the models.
    results : sequence of dict
        Results of `fcs-edge bench`.
    """
    measured: dict[Row, float] = {}
    for run in (run for found in results for run in found["runs"]):
        for mode in ("encode", "decode"):
            row, ms = (run["weights"], mode), float(run["modes"][mode]["chunk_ms_p50"])
            measured[row] = min(ms, measured.get(row, ms))
    peaks = _peaks([found["limits"] for found in results])
    yield from table(list(works(config)), peaks, measured)


def _peaks(limits: Sequence[dict[str, float]]) -> Peaks:
    """Return the highest rates of several measurements: other programs only reduce them."""
    read, *multiply = (
        max(found[key] for found in limits)
        for key in ("read_gb_per_s", *(f"{n}_gmac_per_s" for n in ("float32", "int8", "int4")))
    )
    layer = Layer.parse(_SIDE)
    time = bench_layers.measure(layer, bench.limits(0.2), 0.5)["ms_min"]
    side = GELU * math.prod(layer.shape) / time / 1e6
    return Peaks(read, multiply[0], multiply[1], multiply[2], side)


def table(layers: list[Work], peaks: Peaks, measured: dict[Row, float]) -> Iterator[str]:
    """Yield the rows that fix the two shares, and those that are predicted, as Markdown."""
    others = [row for row in measured if row not in FIXING]
    yield (
        f"This core: reads {peaks.read:.1f} GB/s; {peaks.float32:.0f}, {peaks.int8:.0f} and "
        f"{peaks.int4:.0f} GMAC/s in float32, int8 and int4; {peaks.side:.0f} in GELU."
    )
    for fixing, predicted in ((FIXING, others), (tuple(others), list(FIXING))):
        efficiency, overlap = fit(layers, peaks, measured, fixing)
        at = peaks.speed(efficiency, overlap)
        yield f"\ne = {efficiency:.2f}, o = {overlap:.2f}, fixed by {_names(fixing)}:\n"
        yield "| weights | mode | | measured, ms | by the formula, ms | difference |"
        yield "|---|---|---|---:|---:|---:|"
        missed = []
        for row, found in measured.items():
            ms = predict(layers, row, at)
            which = "predicted" if row in predicted else "fixes"
            off = ms / found - 1
            if row in predicted and abs(off) > NEAR:
                missed.append(row)
            yield f"| {row[0]} | {row[1]} | {which} | {found:.2f} | {ms:.2f} | {off:+.0%} |"
        held = f"all within {NEAR:.0%}" if not missed else f"beyond {NEAR:.0%}: {_names(missed)}"
        yield f"\nOf the {len(predicted)} predicted rows: {held}."


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(" ".join(row) for row in rows)
