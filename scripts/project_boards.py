"""Project the time of a chunk on four Raspberry Pis, from the loops as compiled and public bounds.

    python scripts/project_boards.py                  # the models that run, all boards
    python scripts/project_boards.py MODEL ...        # models by name or path
    python scripts/project_boards.py --config FILE    # a config.json
    python scripts/project_boards.py --verbose        # with the time of each group of layers
    python scripts/project_boards.py --rates FILE     # other loops than scripts/loop_rates.json
    python scripts/project_boards.py --write          # the figures in docs/, README.md and `bench`
    python scripts/project_boards.py --check MODEL... # predict this machine, and measure it: with a
        model of f32 weights, one model of each type, or results of `bench --weights all --json`

Prints Markdown. Nothing is measured on a board. The formula is in `projection.py`: `rate` is a
loop's multiply-accumulates per cycle with its epilogue, by llvm-mca. The efficiency e and the
overlap o are those of a case: good, middle or bad. Bad takes the rates of a narrower dispatch.
"two" and "four" are cores that share each layer, as `--threads` does with compiled kernels. Each
layer then costs `JOIN_US` more, and the code search stays on one core.
"beside" is one core that encodes beside one that decodes: the slower one counts, and at least all
bytes at the rate that the cores share.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from board_bounds import (
    BOARDS,
    CASES,
    CORES,
    JOIN_SOURCE,
    JOIN_US,
    OVERLAP,
    PROCESS_MB,
    PROCESS_SOURCE,
    SYSTEM_MB,
    SYSTEM_SOURCE,
    Board,
    Three,
)
from chunk_work import SCHEMES, Scheme, Work, works
from fcs_edge.bench import boards as shipped
from fcs_edge.bench.bench import MODES
from fcs_edge.modelfile import catalogue, config_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig
from fcs_edge.modelfile.tensor_layout import tensor_shapes
from marked_page import with_part
from projection import BESIDE, Rates, factors, speed, work_ms

ROOT = Path(__file__).resolve().parent.parent
RATES = ROOT / "scripts" / "loop_rates.json"
"""Rates of the loops, a list of core, loop, rows, dispatch and macs_per_cycle."""
PUBLISHED = {"2k": 11, "4k": 12, "65k": 16}
"""Bits per token of the published causal models, by the size of their codebook."""

LOOPS = (
    "float32",
    "float16",
    "int8",
    "int8 x 8 bits",
    "int4",
    "depthwise float32",
    "depthwise float16",
)
"""As `loop_rates.json` names them."""
BEGIN, END = "<!-- boards -->", "<!-- end -->"
"""Marks around what is written into docs/performance.md."""
LARGE = "focalcodec_50hz_4k_causal"
"""The published model whose figures docs/performance.md shows: the others' are the same."""
SHOWN = (("Raspberry Pi 5", 2.4), ("Raspberry Pi 4", 1.8), ("Raspberry Pi Zero 2 W", 1.0))
"""Boards in the table of docs/performance.md."""
CLAIMED = ("int8", "int8, 8-bit activations", "int4")
"""Weights of the published size that docs/performance.md names."""


def megabytes(layers: list[Work], scheme: Scheme) -> float:
    """Return the memory of a process with these layers: its code, its weights, its past."""
    return PROCESS_MB + sum(work.bytes(scheme) for work in layers) / 1e6


def models() -> dict[str, CodecConfig]:
    """Return the models that run: the built-in one, and the published ones."""
    built_in = catalogue.find()
    found = {built_in.name: built_in.config}
    for size, bits in PUBLISHED.items():
        raw: dict[str, Any] = {
            "encoder_config": {"causal": True},
            "compressor_config": {"causal": True, "output_dim": bits},
            "quantizer_config": {"codebook_size": 1 << bits},
            "decompressor_config": {"causal": True, "input_dim": bits},
            "decoder_config": {"causal": True},
        }
        found[f"focalcodec_50hz_{size}_causal"] = config_json.from_dict(raw)
    return found


def weights(config: CodecConfig) -> int:
    """Return how many weights a model has."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def chunk_milliseconds(config: CodecConfig) -> float:
    """Return the duration of a chunk."""
    return 1e3 * config.chunk_size / SAMPLE_RATE_IN


# Text.


def cell(values: Three) -> str:
    """Return the middle case, and from good to bad."""
    good, middle, bad = (f"{value:.2f}" for value in values)
    return f"{middle} ({good}\N{EN DASH}{bad})"


def bounds(rates: Rates) -> Iterator[str]:
    """Yield what is assumed of cores and boards, with the sources."""
    yield "Projected, not measured. Three values are those of good / middle / bad.\n"
    yield "| core | loop | MAC a cycle, one row and four | of the multiplier's |\n|---|---|---|---|"
    for core in CORES:
        for loop in LOOPS:
            if not rates.has(core, loop):
                continue
            every = [rates.rate(core, loop, rows, d) for rows in (1, 4) for d in core.dispatch]
            most = core.most(loop)
            shown = f"{min(every):g} to {max(every):g}" if min(every) < max(every) else every[0]
            yield f"| {core.title} | {loop} | {shown} | {max(every) / most:.0%} of {most:g} |"
    dispatch = _slashes(CORES[0].dispatch)
    yield f"\nRates: {RATES.name}, by llvm-mca; dispatch {dispatch} on Cortex-A76."
    for core in CORES:
        yield f"- {core.title}, instructions a cycle: {core.source}."
        yield f"- e = {_slashes(core.efficiency.values)}: {core.efficiency.source}."
        yield f"- float32 side work, MAC a cycle, {_slashes(core.side.values)}: {core.side.source}."
    for board in BOARDS:
        yield f"- {board.name}, {board.core.title}, {board.ghz:g} GHz: {board.clock_source}."
        yield f"  One core reads {_slashes(board.read.values)} GB/s: {board.read.source}."
        yield f"  All cores read {_slashes(board.shared.values)} GB/s: {board.shared.source}."
    yield f"- o = {_slashes(OVERLAP.values)}: {OVERLAP.source}."
    yield f"- A join takes {JOIN_US} us: {JOIN_SOURCE}."
    yield f"- Memory: {PROCESS_MB} MB of the process ({PROCESS_SOURCE}),"
    yield f"  {SYSTEM_MB} MB of the system ({SYSTEM_SOURCE})."
    yield "- Python around the stages, a clock that falls in heat, and other programs are left out."


def _slashes(values: Three) -> str:
    return " / ".join(f"{value:g}" for value in values)


def groups(config: CodecConfig, board: Board, scheme: Scheme, rates: Rates) -> Iterator[str]:
    """Yield the middle case of a board, group by group."""
    layers = list(works(config))
    yield f"\n{board.name}, {scheme.label}, middle: arithmetic, reading, and both as they overlap\n"
    yield "| layers | MMAC | MB | arithmetic, ms | reading, ms | both, ms |"
    yield "|---|---:|---:|---:|---:|---:|"
    names = dict.fromkeys((work.stage, work.group) for work in layers)
    for name in [*names, ("all", "")]:
        inside = [work for work in layers if name in ((work.stage, work.group), ("all", ""))]
        times = [work_ms(work, scheme, speed(board, 1, rates)) for work in inside]
        sums = " | ".join(f"{sum(column):.2f}" for column in zip(*times, strict=True))
        macs = sum(work.macs for work in inside) / 1e6
        size = sum(work.bytes(scheme) for work in inside) / 1e6
        yield f"| {' '.join(name)} | {macs:.1f} | {size:.1f} | {sums} |"


def report(name: str, config: CodecConfig, rates: Rates, verbose: bool) -> Iterator[str]:
    """Yield the projection of a model on each board."""
    layers, chunk_ms = list(works(config)), chunk_milliseconds(config)
    yield f"\n### {name}: {weights(config) / 1e6:.1f} M weights, chunks of {chunk_ms:g} ms\n"
    yield "Real-time factors, middle (good to bad); below 1 is real time:\n"
    columns = (*MODES, BESIDE, "two", "four", "memory", "fits in")
    yield f"| board, weights | {' | '.join(columns)} |"
    yield "|---" * 9 + "|"
    for board in BOARDS:
        for scheme in rates.schemes(board.core, layers):
            found = factors(layers, chunk_ms, scheme, board, rates)
            sizes = _fitting(layers, scheme, board)
            cells = [cell(found[1][mode]) for mode in MODES]
            cells += [cell(found[2][BESIDE]), cell(found[2]["both"]), cell(found[4]["both"])]
            cells.append(f"{megabytes(layers, scheme):.0f} MB")
            cells.append(f"{sizes[0]:g} GB" if sizes else "none on sale")
            title = f"{board.name}, {board.ghz:g} GHz, {scheme.label}"
            yield f"| {title} | {' | '.join(cells)} |"
    if verbose:
        for board in BOARDS:
            for scheme in rates.schemes(board.core, layers):
                yield from groups(config, board, scheme, rates)


# What docs and `fcs-edge bench` say.


def board_at(name: str, ghz: float) -> Board:
    """Return a board at a clock."""
    return next(board for board in BOARDS if (board.name, board.ghz) == (name, ghz))


def table(rates: Rates) -> Iterator[str]:
    """Yield the table of docs/performance.md, and sentences for each board."""
    known = models()
    small = next(iter(known))
    yield "| board, model, weights | encode | decode | both | both, beside | both, two cores |"
    yield "|---|---|---|---|---|---|"
    for name, ghz in SHOWN:
        board = board_at(name, ghz)
        for model, title in ((LARGE, "published"), (small, f"`{small}`")):
            config = known[model]
            layers, chunk_ms = list(works(config)), chunk_milliseconds(config)
            for scheme in rates.schemes(board.core, layers):
                if scheme.label not in (CLAIMED if model == LARGE else ("int8",)):
                    continue
                if not _fitting(layers, scheme, board):
                    continue
                found = factors(layers, chunk_ms, scheme, board, rates)
                cells = [cell(found[1][mode]) for mode in MODES]
                cells += [cell(found[2][BESIDE]), cell(found[2]["both"])]
                yield f"| {_short(name)}, {title}, {_quoted(scheme)} | {' | '.join(cells)} |"
    yield ""
    for name, ghz in SHOWN:
        yield from sentences(board_at(name, ghz), known[small], known[LARGE], rates)


def _short(name: str) -> str:
    return name.removeprefix("Raspberry ")


def _quoted(scheme: Scheme) -> str:
    kind, *rest = scheme.label.split(", ")
    return ", ".join([f"`{kind}`", *rest])


def sentences(board: Board, small: CodecConfig, large: CodecConfig, rates: Rates) -> Iterator[str]:
    """Yield what a board runs: the built-in model, and the published size."""
    yield (
        f"- {_short(board.name)}, {board.ghz:g} GHz, cooled: `{catalogue.find().name}` takes "
        f"{_interval(_built_in(small, board, rates))} of one core."
    )
    layers, chunk_ms = list(works(large)), chunk_milliseconds(large)
    found = {
        scheme: factors(layers, chunk_ms, scheme, board, rates)
        for scheme in rates.schemes(board.core, layers)
        if scheme.label in CLAIMED and _fitting(layers, scheme, board)
    }
    slow = True
    for cores, words in ((1, "one core"), (2, "two cores"), (4, "four cores")):
        by_case: dict[str, list[str]] = {}
        for scheme, values in found.items():
            by_case.setdefault(_case(values[cores]["both"]), []).append(_quoted(scheme))
        runs = [
            case if len(kinds) == len(found) else f"{case} ({' and '.join(kinds)})"
            for case, kinds in by_case.items()
            if case
        ]
        if runs:
            yield f"  Published size, {words}, in real time: {'; '.join(runs)}."
            slow = False
        if list(by_case) == [_EVERY]:
            break
    if slow:
        yield "  The published size is too slow for real time."


_EVERY = "every case"


def _interval(values: Three) -> str:
    """Return a share, from good to bad."""
    return f"{values[0] * 100:.0f}\N{EN DASH}{values[2]:.0%}"


def _built_in(config: CodecConfig, board: Board, rates: Rates) -> Three:
    """Return the share of one core that the built-in model takes."""
    scheme = next(scheme for scheme in SCHEMES if scheme.label == "int8")
    layers = list(works(config))
    return factors(layers, chunk_milliseconds(config), scheme, board, rates)[1]["both"]


def _fitting(layers: list[Work], scheme: Scheme, board: Board) -> list[float]:
    """Return the sizes of memory on sale that hold a model."""
    need = megabytes(layers, scheme) + SYSTEM_MB
    return [size for size in board.memory if need <= 1e3 * size]


def _case(values: Three) -> str:
    """Return in which cases a factor is below 1; nothing for none."""
    below = sum(value < 1 for value in values)
    return ("", "good case", "good and middle case", _EVERY)[below]


def facts(rates: Rates) -> dict[str, Any]:
    """Return the figures that `fcs-edge bench` prints, as JSON."""
    rows = []
    for name, config in models().items():
        layers, chunk_ms = list(works(config)), chunk_milliseconds(config)
        for board in BOARDS:
            for scheme in rates.schemes(board.core, layers):
                if scheme.label.endswith("convolutions"):
                    continue
                found = factors(layers, chunk_ms, scheme, board, rates)
                one = {mode: [round(v, 4) for v in found[1][mode]] for mode in MODES}
                rows.append(
                    {
                        "board": board.name,
                        "ghz": board.ghz,
                        "model_weights": weights(config),
                        "model": name,
                        "weights": scheme.label.split(",")[0],
                        "activations": scheme.bits if scheme.kind == "int8" else None,
                        **one,
                    }
                )
    boards = [{"name": b.name, "ghz": b.ghz, "models": list(b.models)} for b in BOARDS]
    return {"cases": list(CASES), "boards": boards, "rows": rows}


def facts_text(rates: Rates) -> str:
    """Return `facts` as the text of a file, a row a line."""
    found = facts(rates)
    lists = {
        key: ",\n".join(f"  {json.dumps(row)}" for row in found[key]) for key in ("boards", "rows")
    }
    parts = [f'"{key}": [\n{text}\n]' for key, text in lists.items()]
    return f'{{"cases": {json.dumps(found["cases"])},\n' + ",\n".join(parts) + "\n}\n"


def outputs(rates: Rates) -> dict[Path, str]:
    """Return the files that `--write` writes, with their new text."""
    performance, readme = ROOT / "docs/performance.md", ROOT / "README.md"
    share = _built_in(catalogue.find().config, board_at("Raspberry Pi Zero 2 W", 1.0), rates)
    line = r"\S+(?= of a\s+Raspberry Pi Zero 2 W core)"
    return {
        shipped.PATH: facts_text(rates),
        performance: with_part(performance.read_text(), "\n".join(table(rates)), BEGIN, END),
        readme: re.sub(line, _interval(share), readme.read_text()),
    }


def main() -> None:
    """Print the projection, write it, or check it on this machine."""
    parser = argparse.ArgumentParser(description="Project real-time factors for Raspberry Pis.")
    parser.add_argument("models", nargs="*", help="models by name or path")
    parser.add_argument("--config", type=Path, help="a config.json in place of a model")
    parser.add_argument("--rates", type=Path, default=RATES, help="rates of the loops")
    parser.add_argument("--verbose", action="store_true", help="show each group of layers")
    parser.add_argument("--write", action="store_true", help="write docs, README and bench's data")
    parser.add_argument("--check", action="store_true", help="predict and measure this machine")
    parser.add_argument("--seconds", type=float, default=4, help="of --check, for each round")
    arguments = parser.parse_args()
    if arguments.check:
        if not arguments.models:
            parser.error("--check needs a model with f32 weights, or results of bench")
        from check_projection import check, measure

        named = [name for name in arguments.models if not name.endswith(".json")]
        config = catalogue.find(named[0]).config if named else models()[LARGE]
        print("\n".join(check(config, measure(arguments.models, arguments.seconds))))
        return
    rates = Rates.read(arguments.rates)
    if arguments.write:
        for path, text in outputs(rates).items():
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
        return
    configs = {model.name: model.config for model in map(catalogue.find, arguments.models)}
    if arguments.config:
        # A golden case has it under "config".
        raw = json.loads(arguments.config.read_text())
        configs[arguments.config.name] = config_json.from_dict(raw.get("config", raw))
    print("\n".join(bounds(rates)))
    for name, config in (configs or models()).items():
        print("\n".join(report(name, config, rates, arguments.verbose)))


if __name__ == "__main__":
    main()
