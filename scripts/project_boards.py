"""Project the time of a chunk on three Raspberry Pis, from bounds of their processors and memory.

    python scripts/project_boards.py                      # the built-in and the published size
    python scripts/project_boards.py MODEL ...            # models by name or path
    python scripts/project_boards.py --config FILE        # a config.json
    python scripts/project_boards.py --verbose            # with the arithmetic, by groups of layers

Prints Markdown. Nothing is measured: each layer takes ``max(multiply-accumulates / (bound x
efficiency), bytes / bandwidth)``, and each stage what Python takes around it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fcs_edge.convert.schemes import EIGHT, FLOAT
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.modelfile import catalogue, config_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig, EncoderConfig
from fcs_edge.modelfile.tensor_layout import Shape, tensor_shapes

Range = tuple[float, float]
"""The low and the high value."""

BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int4": 0.5 + 2 / GROUP}
"""Bytes per stored weight; groups of 4-bit weights share a float16 scale."""
PARTS = ("encoder", "compressor", "decompressor", "decoder")
MODES = {"encode": PARTS[:2], "decode": PARTS[2:], "both": PARTS}
"""What runs on the one core, and the prefixes of its stages' names."""


@dataclass(frozen=True)
class Board:
    """The bounds of a board. Rates are in 10**9 multiply-accumulates per second, of one core."""

    name: str
    core: str
    read: Range
    """Memory that one core reads, GB/s."""
    rates: dict[str, Range]
    """By weight type."""
    slower: float
    """Times the x86-64 server's time for a Python call (assumed)."""
    memory: tuple[float, ...]
    """Sizes on sale, GB."""


BOARDS = (
    Board(
        "Raspberry Pi 5",
        "Cortex-A76, 2.4 GHz",
        (9.4, 14.9),
        {
            "float32": (8 * 2.4, 8 * 2.4),
            "float16": (11, 12.8),
            "int8": (26 / 2, 77 / 2),
            "int4": (26, 77),
        },
        3,
        (2, 4, 8, 16),
    ),
    Board(
        "Raspberry Pi 4",
        "Cortex-A72, 1.5 or 1.8 GHz",
        (3.7, 4.3),
        {
            "float32": (4 * 1.5, 4 * 1.8),
            "float16": (5.2, 5.2),
            "int8": (4 * 1.5, 4 * 1.8),
            "int4": (11.5, 14.4),
        },
        6,
        (1, 2, 4, 8),
    ),
    Board(
        "Raspberry Pi Zero 2 W",
        "Cortex-A53, 1.0 GHz",
        (2.0, 2.3),
        {
            "float32": (2, 2),
            "float16": (2 * 4 / 5, 2 * 4 / 5),
            "int8": (2, 2),
            "int4": (2.4, 2.4),
        },
        15,
        (0.5,),
    ),
)
SOURCES = """\
Bandwidths are public figures for one core. Bounds in GMAC/s: llvm-mca's for sdot and for float16
widened to float32, and where it was not run for a loop, what the pipes take:

- float32, fmla of 4 lanes: A76 two a cycle, 8 x 2.4; A72 one, 4 x 1.5 to 1.8; A53 half of one,
  as its vector datapath is 64 bits wide, 2 x 1.0. float16 there: an fcvtl for each four fmla,
  2 x 4/5.
- int8 weights meet activations of 12 bits. A76: in two parts of 8 bits, so two sdot where
  llvm-mca's bound has one: half of 26 to 77. A72 and A53: smlal of 16-bit lanes, 4 products an
  instruction; A72 has one pipe that multiplies integers, 128 bits wide, 4 x 1.5 to 1.8; A53 takes
  two cycles for the 128-bit result, 2 x 1.0.
- int4 weights meet activations of 8 bits: llvm-mca's bounds for 8 bits by 8, sdot or smlal of 8-bit
  lanes. In that scheme some weights are int8 or float16 (convert/schemes.py)."""


@dataclass(frozen=True)
class Figure:
    """The share of the bounds that is reached."""

    name: str
    high: bool
    """Whether the high bounds are taken, or the low ones."""
    efficiency: float
    """Of the arithmetic bound; public int8 kernels reach 0.2 to 0.42, OpenBLAS 0.8."""
    bandwidth: float
    """Of the memory bandwidth."""


FIGURES = (
    Figure("optimistic", True, 0.8, 1),
    Figure("expected", False, 0.45, 1),
    Figure("pessimistic", False, 0.2, 0.75),
)
EXPECTED = FIGURES[1]
Verdicts = dict[str, dict[str, list[str]]]
"""Weight types, by one of `VERDICTS`, by mode."""
VERDICTS = ("is expected to", "may, if the optimistic figure holds,", "cannot")

STAGE_US = 5.0
"""Microseconds around a stage on the x86-64 server. With kernels compiled ahead of time, Python
takes 17 per chunk, encoded and decoded, and the library 7 ns for each of 200 calls (measured)."""
PROCESS_MB = 60
"""The interpreter and the libraries, with kernels compiled ahead of time."""
SYSTEM_MB = 100
"""Memory for the operating system."""

# float32 multiply-accumulates that an element costs, counted in the kernels' formulas.
NORM, GELU, TANH, SNAKE, EXP = 5, 30, 25, 25, 20


@dataclass(frozen=True)
class Work:
    """The work of one layer for a chunk."""

    group: str
    macs: int
    weights: int = 0
    """Read as they are stored; where there are none the arithmetic is float32."""
    name: str = ""
    """Of the weights, as published."""
    floats: int = 0
    """float32 numbers read besides: windows of the past, and weights that stay float32."""
    keys: int = 0
    """Numbers of the attention's window, float16 beside integer weights, else float32."""

    def stored(self, kind: str) -> str:
        """Return what the weights are stored as, in a model of this kind."""
        if kind in ("int8", "int4") and FLOAT.search(self.name):
            return "float16"
        return "int8" if kind == "int4" and EIGHT.search(self.name) else kind

    def bytes(self, kind: str) -> float:
        """Return what is read."""
        key = 2 if kind in ("int8", "int4") else 4
        return self.weights * BYTES[self.stored(kind)] + self.floats * 4 + self.keys * key

    def milliseconds(self, board: Board, kind: str, figure: Figure) -> tuple[float, float]:
        """Return the time of the arithmetic and that of the reading."""
        bound = board.rates[self.stored(kind) if self.weights else "float32"][figure.high]
        read = board.read[figure.high] * figure.bandwidth
        return self.macs / (bound * figure.efficiency) / 1e6, self.bytes(kind) / read / 1e6


def works(config: CodecConfig) -> Iterator[Work]:
    """List the work of a chunk, by the tensors of a checkpoint."""
    for name, shape in tensor_shapes(config).items():
        stage, leaf = name.split(".", 1)[0], name.rsplit(".", 1)[-1]
        rows, size = _rows(name, config), math.prod(shape)
        elementwise = f"{stage}: elementwise"
        if leaf == "alpha" and size > 1:
            yield Work(elementwise, rows * size * SNAKE)
        elif leaf != "weight" or "relative_embedding" in name or "gru_rel_pos" in name:
            continue
        elif len(shape) == 1:
            yield Work(elementwise, rows * size * NORM)
        elif ".modulation.layers." in name or ".dwconv." in name:
            # Taps, and as many rows of the past; a sum or scale follows.
            yield Work(f"{stage}: depthwise", rows * size, floats=2 * size)
            yield Work(elementwise, rows * shape[0])
        else:
            yield from _product(name, shape, rows, config.encoder)


def _product(name: str, shape: Shape, rows: int, encoder: EncoderConfig) -> Iterator[Work]:
    """List a matrix product and what stands beside it."""
    stage, size = name.split(".", 1)[0], math.prod(shape)
    elementwise, group = f"{stage}: elementwise", "products"
    if ".feature_extractor." in name or ".positional_embedding." in name:
        group = "convolutions"
    elif ".refiner." in name:
        group = "refiner"
    yield Work(f"{stage}: {group}", rows * size, weights=size, name=name)
    if re.search(r"focal_block\.(modulation|feed_forward)\.in_proj", name):
        yield Work(elementwise, rows * shape[1] * TANH)
    if group == "convolutions" or re.search(r"(feed_forward|refiner)\.in_proj|pwconv1", name):
        yield Work(elementwise, rows * shape[0] * GELU)
    elif re.search(r"out_proj|pwconv2|context_proj", name):
        yield Work(elementwise, rows * shape[0])
    if ".attention.out_proj." in name:
        keys = rows * encoder.window_size
        macs = 2 * keys * encoder.dim + keys * encoder.num_heads * EXP
        window = 2 * encoder.window_size * encoder.dim
        yield Work(f"{stage}: attention", macs, keys=window)


def _rows(name: str, config: CodecConfig) -> int:
    """Return the rows of a layer in a chunk."""
    stage, *keys = name.split(".")
    layer = next((int(key) for key in keys if key.isdecimal()), 0)
    up = config.decompressor.upscale_factors
    if keys[0] == "feature_extractor":
        return config.chunk_size // math.prod(config.encoder.strides[: layer + 1])
    if stage == "encoder":
        return config.encoder.chunk_frames
    if stage == "compressor":
        factors = config.compressor.downscale_factors
        here = factors[: layer + 1] if keys[0] == "layers" else factors
        return config.encoder.chunk_frames // math.prod(here)
    if keys[0] in ("in_proj", "layers"):
        return config.chunk_tokens * math.prod(up[:layer] if stage == "decompressor" else up)
    decoded = config.chunk_tokens * math.prod(up)
    return decoded // config.decompressor.chunk_frames if keys[0] == "refiner" else decoded


def chunk(layers: list[Work], board: Board, kind: str, figure: Figure) -> tuple[float, float]:
    """Return the milliseconds that a chunk takes in its layers and around its stages."""
    around = len({work.group.split(":")[0] for work in layers}) * STAGE_US * board.slower / 1e3
    return sum(max(work.milliseconds(board, kind, figure)) for work in layers), around


def megabytes(layers: list[Work], kind: str) -> float:
    """Return the memory of a process with these layers: its code, its weights, its past."""
    return PROCESS_MB + sum(work.bytes(kind) for work in layers) / 1e6


def bounds() -> Iterator[str]:
    """Yield the assumptions about the boards."""
    yield "Projected, not measured.\n"
    yield f"| | {' | '.join(f'{board.name}, {board.core}' for board in BOARDS)} |"
    yield "|---" * (len(BOARDS) + 1) + "|"
    rows = {"read, GB/s": [board.read for board in BOARDS]}
    for kind in ("float32", "float16", "int8", "int4"):
        rows[f"bound, {kind}, GMAC/s"] = [board.rates[kind] for board in BOARDS]
    for label, ranges in rows.items():
        cells = (" to ".join(f"{value:.3g}" for value in sorted(set(values))) for values in ranges)
        yield f"| {label} | {' | '.join(cells)} |"
    cells = (f"{STAGE_US:g} x {board.slower:g}" for board in BOARDS)
    yield f"| around a stage, us | {' | '.join(cells)} |\n\n{SOURCES}\n"
    for figure in FIGURES:
        which = "high" if figure.high else "low"
        yield (
            f"- {figure.name}: {figure.efficiency:g} of the {which} bound, {figure.bandwidth:g} of "
            f"the {which} bandwidth"
        )


def arithmetic(layers: list[Work], kind: str) -> Iterator[str]:
    """Show the expected figure of each board, layer group by layer group."""
    yield f"\n{kind}, expected: arithmetic / reading -> ms of a chunk, each layer's larger one\n"
    yield f"| layers | MMAC | MB | {' | '.join(board.name for board in BOARDS)} |"
    yield "|---|" + "---:|" * (len(BOARDS) + 2)
    for group in dict.fromkeys(work.group for work in layers):
        inside = [work for work in layers if work.group == group]
        cells = []
        for board in BOARDS:
            times = [work.milliseconds(board, kind, EXPECTED) for work in inside]
            compute, read = map(sum, zip(*times, strict=True))
            cells.append(f"{compute:.1f} / {read:.1f} -> {sum(map(max, times)):.1f}")
        yield _row(group, inside, kind, cells)
    totals = (chunk(layers, board, kind, EXPECTED) for board in BOARDS)
    cells = [f"{work:.1f} + Python {around:.1f} -> {work + around:.1f}" for work, around in totals]
    yield _row("all", layers, kind, cells)


def _row(name: str, layers: list[Work], kind: str, cells: list[str]) -> str:
    macs = sum(work.macs for work in layers)
    size = megabytes(layers, kind) - PROCESS_MB
    return f"| {name} | {macs / 1e6:.1f} | {size:.1f} | {' | '.join(cells)} |"


def report(name: str, config: CodecConfig, verbose: bool) -> Iterator[str]:
    """Yield the projection of a model on each board."""
    layers = list(works(config))
    milliseconds = 1e3 * config.chunk_size / SAMPLE_RATE_IN
    count = sum(math.prod(shape) for shape in tensor_shapes(config).values())
    yield f"### {name}: {count / 1e6:.1f} M weights, chunks of {milliseconds:g} ms"
    if verbose:
        for kind in BYTES:
            yield from arithmetic(layers, kind)
    sentences = []
    for board in BOARDS:
        yield f"\n{board.name}: real-time factor, {' / '.join(f.name for f in FIGURES)}\n"
        yield f"| weights | {' | '.join(MODES)} | memory, both | fits in |"
        yield "|---" * (len(MODES) + 3) + "|"
        verdicts: Verdicts = {verdict: {} for verdict in VERDICTS}
        fitting = []
        for kind in BYTES:
            need = megabytes(layers, kind)
            sizes = [size for size in board.memory if need + SYSTEM_MB <= 1e3 * size]
            cells = []
            for mode, parts in MODES.items():
                used = [work for work in layers if work.group.startswith(parts)]
                factors = [sum(chunk(used, board, kind, f)) / milliseconds for f in FIGURES]
                cells.append(" / ".join(f"{factor:.2f}" for factor in factors))
                missed = (factors[0] >= 1) + (factors[1] >= 1) if sizes else 2
                verdicts[VERDICTS[missed]].setdefault(mode, []).append(kind)
            fitting += [kind] if sizes else []
            cells += [f"{need:.0f} MB", f"{sizes[0]:g} GB" if sizes else "none on sale"]
            yield f"| {kind} | {' | '.join(cells)} |"
        sentences.append(f"- A {board.name} {'; it '.join(_in_words(verdicts, fitting))}.")
    yield "\nIn real time, each with the weights named:\n"
    yield from sentences


def _in_words(verdicts: Verdicts, fitting: list[str]) -> Iterator[str]:
    """Yield the verdicts in words, and which weights fit in memory."""
    for verdict, modes in verdicts.items():
        what = [
            f"{'do both' if mode == 'both' else mode} ({_kinds(kinds)})"
            for mode, kinds in modes.items()
        ]
        if what:
            yield f"{verdict} {', '.join(what)}"
    yield f"has the memory for both parts ({_kinds(fitting)})"


def _kinds(kinds: list[str]) -> str:
    return "any" if len(kinds) == len(BYTES) else ", ".join(kinds) or "none"


def main() -> None:
    """Print the projection."""
    parser = argparse.ArgumentParser(description="Project real-time factors for Raspberry Pis.")
    parser.add_argument("models", nargs="*", help="models by name or path")
    parser.add_argument("--config", type=Path, help="a config.json in place of a model")
    parser.add_argument("--verbose", action="store_true", help="show the arithmetic")
    arguments = parser.parse_args()
    configs = {model.name: model.config for model in map(catalogue.find, arguments.models)}
    if arguments.config:
        # A golden case has it under "config".
        raw = json.loads(arguments.config.read_text())
        configs[arguments.config.name] = config_json.from_dict(raw.get("config", raw))
    if not configs:
        built_in = catalogue.find()
        causal = {f"{part}_config": {"causal": True} for part in PARTS}
        configs[built_in.name] = built_in.config
        configs["the published size"] = config_json.from_dict(causal)
    print("\n".join(bounds()))
    for name, config in configs.items():
        print()
        print("\n".join(report(name, config, arguments.verbose)))


if __name__ == "__main__":
    main()
