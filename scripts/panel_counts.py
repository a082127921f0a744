"""What the inner loops of `panel_assembly` are listed to contain, by version of the compiler.

`tests/data/panel_loops/` has one file for each version of llvmlite that CI installs. `make loops`
writes them; `tests/kernels/test_panel_loops.py` compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from fcs_edge.kernels.isa.targets import TARGETS, Target
from panel_assembly import Hot, hot_loops

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "data" / "panel_loops"
SLACK = 8
"""Stack accesses that a loop may have beyond those listed, where this compiler has no list."""


@dataclass(frozen=True)
class Counts:
    """What the loops of one panel contain."""

    instructions: int
    """Of one turn of the inner loop."""
    macs: int
    """Multiply-accumulates of that turn."""
    around: int = 0
    """Instructions of one turn of the loop around, where there is one."""
    turns: int = 0
    """Turns of the inner loop in one of the loop around."""
    stack: int = 0
    """Instructions of the inner loop that read or write the stack."""
    stack_around: int = 0
    """The same of the panel's other loops."""

    @property
    def per_mac(self) -> float:
        """Instructions of a multiply-accumulate, with what stands around the inner loop."""
        turns = self.turns or 1
        return (self.instructions * turns + self.around) / (self.macs * turns)


_StackCount = tuple[str, str, int, int]
"""A panel, where in it, the accesses to the stack, and those listed."""

Listed = dict[str, dict[str, Counts]]
"""By target, then by panel."""


def compiler() -> str:
    """Return what compiles here."""
    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


def counts(hot: Hot) -> Counts:
    """Count what the loops of a panel contain."""
    return Counts(len(hot.body), hot.macs, hot.around, hot.turns, hot.stack, hot.stack_around)


def emitted(targets: tuple[Target, ...] = TARGETS) -> Listed:
    """Count what every panel contains here."""
    return {
        target.name: {hot.panel.name: counts(hot) for hot in hot_loops(target)}
        for target in targets
    }


def read(folder: Path = FOLDER) -> dict[str, Listed]:
    """Return what is listed for each compiler."""
    lists = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        lists[content["compiler"]] = {
            target: {name: Counts(**listed) for name, listed in panels.items()}
            for target, panels in content["targets"].items()
        }
    return lists


def write(folder: Path = FOLDER, targets: tuple[Target, ...] = TARGETS) -> Path:
    """List what this compiler emits, one panel a line."""
    path = folder / f"llvmlite-{llvmlite.__version__}.json"
    parts = []
    for target, panels in emitted(targets).items():
        lines = (f'   "{name}": {_line(found)}' for name, found in panels.items())
        parts.append(f'  "{target}": {{\n' + ",\n".join(lines) + "\n  }")
    text = f'{{\n "compiler": "{compiler()}",\n "targets": {{\n' + ",\n".join(parts) + "\n }\n}\n"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def grown(folder: Path = FOLDER, targets: tuple[Target, ...] = TARGETS) -> list[str]:
    """Return a line for each panel that accesses the stack more than this compiler's list says."""
    listed = read(folder).get(compiler(), {})
    return [
        f"{target}: {line}"
        for target, found in emitted(targets).items()
        for line in spills(found, listed.get(target, {}))
    ]


def _line(found: Counts) -> str:
    return json.dumps({key: n for key, n in asdict(found).items() if n})


def _stack_counts(found: dict[str, Counts], listed: dict[str, Counts]) -> Iterator[_StackCount]:
    for name in found.keys() & listed.keys():
        now, then = found[name], listed[name]
        yield name, "inside the inner loop", now.stack, then.stack
        yield name, "in the loops around it", now.stack_around, then.stack_around


def spills(found: dict[str, Counts], listed: dict[str, Counts]) -> Iterator[str]:
    """Yield a line for each panel that accesses the stack more than is listed."""
    for name, where, now, then in _stack_counts(found, listed):
        if now > then:
            yield f"{name}: {now} stack accesses {where}, {then} listed: registers spill"


def stack_problems(found: dict[str, Counts], listed: dict[str, Counts]) -> Iterator[str]:
    """Yield a line for each panel whose accesses to the stack are not those listed."""
    yield from spills(found, listed)
    for name, where, now, then in _stack_counts(found, listed):
        if now < then:
            yield f"{name}: {now} stack accesses {where}, {then} listed: shrink the list"
    for name in found.keys() - listed.keys():
        yield f"{name}: not listed"
    for name in listed.keys() - found.keys():
        yield f"{name}: listed, but not emitted"


def unlisted_stack_problems(
    found: dict[str, Counts], lists: Iterable[dict[str, Counts]]
) -> Iterator[str]:
    """Yield a line for each panel that accesses the stack more than `SLACK` beyond every list."""
    every = list(lists)
    for name, now in found.items():
        known = [listed[name] for listed in every if name in listed]
        most = max((c.stack + c.stack_around for c in known), default=0)
        if now.stack + now.stack_around > most + SLACK:
            yield f"{name}: {now.stack + now.stack_around} stack accesses, {most} listed elsewhere"


def instruction_problems(found: dict[str, Counts], listed: dict[str, Counts]) -> Iterator[str]:
    """Yield a line for each panel whose instructions a multiply-accumulate are not those listed."""
    for name in found.keys() & listed.keys():
        now, then = found[name].per_mac, listed[name].per_mac
        if abs(now - then) > 1e-9:
            advice = "more than before" if now > then else "shrink the list"
            yield f"{name}: {now:.4f} instructions a MAC, {then:.4f} listed: {advice}"
