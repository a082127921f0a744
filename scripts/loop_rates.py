"""Write what llvm-mca computes of inner loops: docs/reference/loops.md, scripts/loop_rates.json.

    python scripts/loop_rates.py             # print the tables
    python scripts/loop_rates.py --write     # write both files
    python scripts/loop_rates.py --record    # write the lists of the tests; needs no llvm-mca

Accesses to the stack are listed only where they become fewer, unless --grow is given.

Nothing is measured: llvm-mca computes the cycles from LLVM's model of a core, as if all memory were
in the nearest cache. It takes LLVM 17 or later, as llvm-mca-22 or llvm-mca, or what LLVM_MCA names.
`make loops` does all of it, for the newest and the oldest compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import assembly_loops
import panel_counts
from fcs_edge.files import creating
from fcs_edge.kernels.isa.targets import TARGETS
from marked_page import with_part
from panel_assembly import Hot, hot_loops

ROOT = Path(__file__).resolve().parent.parent
RATES = ROOT / "scripts" / "loop_rates.json"
PAGE = ROOT / "docs" / "reference" / "loops.md"
BEGIN, END = "<!-- loop_rates: begin -->", "<!-- loop_rates: end -->"

OLDEST_LLVM = 17
"""The first version whose model of Neoverse N1 is its own."""
ITERATIONS = 100

_LABEL = re.compile(r"\.LBB\w+")
_MOVING_STORE = re.compile(r"^(st[rp]\s.*\[(\w+)\]), (#-?\d+)$")
"""ARM: llvm-mca would make the address wait for the stored number."""

Entry = dict[str, Any]
"""One loop on one core; see docs/reference/loops.md."""


@dataclass(frozen=True)
class Core:
    """A core, and the model that llvm-mca has of it."""

    name: str
    title: str
    target: str
    model: str
    dispatch: int
    """Micro-operations that start in a cycle; 0: as the model has it."""

    @property
    def arm(self) -> bool:
        """Whether it is a 64-bit ARM core."""
        return self.name.startswith("cortex")


CORES = (
    Core("cortex-a76", "Cortex-A76", "cortex-a76", "neoverse-n1", 3),
    Core("cortex-a76", "Cortex-A76", "cortex-a76", "neoverse-n1", 4),
    Core("cortex-a72", "Cortex-A72", "cortex-a72", "cortex-a72", 3),
    Core("cortex-a53", "Cortex-A53", "cortex-a53", "cortex-a53", 2),
    Core("znver3", "Zen 3, AVX2", "x86-64-v3", "znver3", 0),
    Core("icelake-server", "Ice Lake server, AVX-512 VNNI", "x86-64-v4-vnni", "icelake-server", 0),
)


def analyser() -> str:
    """Return the path of llvm-mca; end the program where there is none that is new enough."""
    named = os.environ.get("LLVM_MCA")
    for name in (named,) if named else ("llvm-mca-22", "llvm-mca"):
        if path := shutil.which(name):
            version = re.search(r"LLVM version (\d+)", _output([path, "--version"]))
            if version and int(version[1]) >= OLDEST_LLVM:
                return path
    sys.exit(
        f"loop_rates: there is no llvm-mca of LLVM {OLDEST_LLVM} or later; install llvm-22, "
        "or name the program in LLVM_MCA"
    )


def _output(command: list[str], text: str = "") -> str:
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"loop_rates: {command[0]} failed: {run.stderr.strip()[:300]}")
    return run.stdout


def cycles(path: str, core: Core, loops: list[list[str]]) -> list[float]:
    """Return the cycles of one turn of each loop."""
    if not loops:
        return []
    comment = "//" if core.arm else "#"
    lines = ["L:"]
    for number, body in enumerate(loops):
        lines.append(f"{comment} LLVM-MCA-BEGIN {number}")
        # A branch leaves the region, whose labels are not there.
        lines += [_MOVING_STORE.sub(r"\1\nadd \2, \2, \3", _LABEL.sub("L", line)) for line in body]
        lines.append(f"{comment} LLVM-MCA-END")
    command = [path, f"-mtriple={'aarch64' if core.arm else 'x86_64'}", f"-mcpu={core.model}"]
    command += [f"-iterations={ITERATIONS}", "-instruction-info=0", "-resource-pressure=0"]
    command += [f"-dispatch={core.dispatch}"] if core.dispatch else []
    text = _output(command, "\n".join(lines) + "\n")
    found = re.findall(r"^Total Cycles:\s+(\d+)$", text, re.MULTILINE)
    if len(found) != len(loops):
        sys.exit(f"loop_rates: {path} reports {len(found)} of {len(loops)} loops")
    return [int(total) / ITERATIONS for total in found]


def panel_entries(path: str, core: Core) -> Iterator[Entry]:
    """Yield an entry for each panel."""
    hots = hot_loops(next(target for target in TARGETS if target.name == core.target))
    inner = cycles(path, core, [hot.body for hot in hots])
    grouped = [hot for hot in hots if hot.turns]
    whole = cycles(path, core, [whole_group(hot) for hot in grouped])
    by_panel = {hot.panel.name: n for hot, n in zip(grouped, whole, strict=True)}
    for hot, turn in zip(hots, inner, strict=True):
        counts = panel_counts.counts(hot)
        rate = hot.macs / turn
        entry = {"core": core.name, "loop": hot.panel.name, "rows": hot.panel.rows}
        entry |= {"dispatch": core.dispatch, "macs_per_cycle": round(rate, 2)}
        if hot.turns:
            entry["macs_per_cycle"] = round(hot.macs * hot.turns / by_panel[hot.panel.name], 2)
            entry["inner_macs_per_cycle"] = round(rate, 2)
        entry["instructions_per_mac"] = round(counts.per_mac, 4)
        yield entry | {"stack_accesses": counts.stack + counts.stack_around}


def whole_group(hot: Hot) -> list[str]:
    """Return what one group of inputs runs."""
    before, after = hot.turn
    return [*before, *hot.body * hot.turns, *after]


def element_entries(path: str) -> Iterator[Entry]:
    """Yield an entry for each elementwise loop on each core."""
    script = str(ROOT / "scripts" / "elementwise_assembly.py")
    bodies = json.loads(_output([sys.executable, script]))
    for core in CORES:
        listed = bodies[core.target]
        turns = cycles(path, core, [loop["body"] for loop in listed])
        for loop, turn in zip(listed, turns, strict=True):
            entry = {"core": core.name, "loop": loop["name"], "rows": 1, "dispatch": core.dispatch}
            entry["cycles_per_element"] = round(turn / loop["elements"], 2)
            entry["instructions_per_element"] = round(len(loop["body"]) / loop["elements"], 2)
            stack = assembly_loops.stack_accesses(loop["body"])
            yield entry | {"stack_accesses": stack}


def tables(entries: list[Entry]) -> Iterator[str]:
    """Yield the tables of the page: one for each core, then one of elementwise loops."""
    for name in dict.fromkeys(core.name for core in CORES):
        cores = [core for core in CORES if core.name == name]
        widths = [core.dispatch for core in cores]
        yield f"## {cores[0].title}\n"
        model = f"Model `{cores[0].model}`"
        dispatched = " / ".join(map(str, widths))
        yield f"{model}, dispatch {dispatched}.\n" if any(widths) else f"{model}.\n"
        yield "| loop | MAC a cycle | inner loop alone | instructions a MAC | stack accesses |"
        yield "|---|---:|---:|---:|---:|"
        own = [e for e in entries if e["core"] == name and "macs_per_cycle" in e]
        for loop in dict.fromkeys(e["loop"] for e in own):
            same = [e for e in own if e["loop"] == loop]
            rates = " / ".join(f"{e['macs_per_cycle']:.1f}" for e in same)
            inner = " / ".join(
                f"{e['inner_macs_per_cycle']:.1f}" for e in same if "inner_macs_per_cycle" in e
            )
            counts = f"{same[0]['instructions_per_mac']:.3f} | {same[0]['stack_accesses']}"
            yield f"| {loop} | {rates} | {inner} | {counts} |"
        yield ""
    yield from _element_table([e for e in entries if "cycles_per_element" in e])


def _element_table(entries: list[Entry]) -> Iterator[str]:
    names = list(dict.fromkeys(core.name for core in CORES))
    titles = [next(core.title for core in CORES if core.name == name) for name in names]
    yield "## Elementwise loops: cycles an element\n"
    yield f"| loop | {' | '.join(titles)} |"
    yield "|---" + "|---:" * len(names) + "|"
    for loop in dict.fromkeys(e["loop"] for e in entries):
        cells = []
        for name in names:
            same = [e for e in entries if e["loop"] == loop and e["core"] == name]
            cells.append(" / ".join(f"{e['cycles_per_element']:.2f}" for e in same))
        yield f"| {loop} | {' | '.join(cells)} |"
    yield ""


def versions(path: str) -> str:
    """Return what compiled the loops and what timed them."""
    found = re.search(r"LLVM version (\S+)", _output([path, "--version"]))
    return f"Compiled by {panel_counts.compiler()}; llvm-mca {found[1] if found else 'unknown'}.\n"


def as_json(entries: list[Entry]) -> str:
    """Return the entries as JSON, one a line."""
    return "[\n" + ",\n".join(f" {json.dumps(entry)}" for entry in entries) + "\n]\n"


def main(arguments: list[str] | None = None) -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the page and the JSON file")
    parser.add_argument("--record", action="store_true", help="write the lists of the tests")
    parser.add_argument("--grow", action="store_true", help="with --record: where loops spill more")
    options = parser.parse_args(arguments)
    if options.record:
        if (lines := panel_counts.grown()) and not options.grow:
            sys.exit(
                "\n".join([*lines, "loop_rates: nothing written; --grow lists them all the same"])
            )
        print(panel_counts.write().relative_to(ROOT))
        return
    path = analyser()
    entries = [entry for core in CORES for entry in panel_entries(path, core)]
    entries += element_entries(path)
    content = "\n".join([versions(path), *tables(entries)])
    if not options.write:
        print(content)
        return
    page = with_part(PAGE.read_text(), content, BEGIN, END)
    for file, text in ((PAGE, page), (RATES, as_json(entries))):
        with creating(file) as out:
            out.write(text.encode())
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
