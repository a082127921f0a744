"""Find the loops of a function in LLVM's assembly, for x86-64 (AT&T syntax) and 64-bit ARM.

A loop is a natural loop: the blocks from which control returns to a block that precedes them on
every path. What the compiler rotates or splits is found too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LABEL = re.compile(r"([.\w$]+):")
_BRANCH = re.compile(r"j\w+|b|b\.\w+|cbn?z|tbn?z")
_ALWAYS = {"jmp", "b"}
_RETURN = {"ret", "retq"}
_STACK = re.compile(r"\(%rsp|\[sp\b")
_X86_MOVE = re.compile(r"v?mov[au]p[sd]|v?movdq[au]\w*")
_WIDTHS = {"x": 4, "y": 8, "z": 16}
"""float32 numbers of a register."""
_ADDRESS = {"lea", "leaq", "leal"}
"""Instructions that compute an address and read nothing."""


@dataclass(frozen=True)
class Block:
    """Instructions without a branch but the last."""

    lines: tuple[str, ...]
    following: tuple[int, ...]
    """Indices of the blocks that may come next."""


@dataclass(frozen=True)
class Loop:
    """A loop; blocks are indices into those of the function."""

    header: int
    blocks: frozenset[int]


def mnemonic(line: str) -> str:
    """Return the name of an instruction."""
    return line.split(None, 1)[0]


def functions(text: str) -> dict[str, list[str]]:
    """Return the labels (ending in a colon) and instructions of each function."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        code = re.split(r"//|##|\t# | # ", line)[0].strip()
        label = _LABEL.match(code)
        if label and not label[1].startswith(".L"):
            current = found.setdefault(label[1], [])
        elif label or (code and not code.startswith((".", "#", "//"))):
            current.append(code)
    return {name: lines for name, lines in found.items() if lines}


def blocks(lines: list[str]) -> list[Block]:
    """Cut a function into blocks."""
    cut: list[list[str]] = [[]]
    at: dict[str, int] = {}
    for line in lines:
        label = _LABEL.fullmatch(line)
        if label or (cut[-1] and _leaves(cut[-1][-1])):
            cut += [[]] if cut[-1] else []
        if label:
            at[label[1]] = len(cut) - 1
        else:
            cut[-1].append(line)
    return [
        Block(tuple(part), tuple(_following(part, i, len(cut), at))) for i, part in enumerate(cut)
    ]


def _leaves(line: str) -> bool:
    return bool(_BRANCH.fullmatch(mnemonic(line))) or mnemonic(line) in _RETURN


def _following(part: list[str], index: int, count: int, at: dict[str, int]) -> Iterator[int]:
    last = part[-1] if part else ""
    name = mnemonic(last) if last else ""
    if name in _RETURN:
        return
    if _BRANCH.fullmatch(name) and (to := re.split(r"[\s,]+", last)[-1]) in at:
        yield at[to]
    if name not in _ALWAYS and index + 1 < count:
        yield index + 1


def loops(parts: list[Block]) -> list[Loop]:
    """Return the natural loops of a function, those inside others first."""
    before: list[set[int]] = [set() for _ in parts]
    for i, part in enumerate(parts):
        for following in part.following:
            before[following].add(i)
    dominators = _dominators(parts, before)
    found: dict[int, set[int]] = {}
    for i, part in enumerate(parts):
        for header in part.following:
            if header in dominators[i]:
                body = found.setdefault(header, {header})
                pending = [i]
                while pending:
                    block = pending.pop()
                    if block not in body:
                        body.add(block)
                        pending += before[block]
    listed = [Loop(header, frozenset(body)) for header, body in found.items()]
    return sorted(listed, key=lambda loop: (len(loop.blocks), loop.header))


def _dominators(parts: list[Block], before: list[set[int]]) -> list[set[int]]:
    """Return the blocks that precede each block on every path from the first."""
    every = set(range(len(parts)))
    dominators = [{0}] + [set(every) for _ in parts[1:]]
    changed = True
    while changed:
        changed = False
        for i in range(1, len(parts)):
            reached = [dominators[j] for j in before[i]]
            new = {i} | (set.intersection(*reached) if reached else set())
            changed |= new != dominators[i]
            dominators[i] = new
    return dominators


def innermost(found: list[Loop]) -> list[Loop]:
    """Return the loops that hold no other loop."""
    return [a for a in found if not any(b.blocks < a.blocks for b in found)]


def around(found: list[Loop], inner: Loop) -> Loop | None:
    """Return the smallest loop that holds another one."""
    return next((loop for loop in found if inner.blocks < loop.blocks), None)


def body(parts: list[Block], loop: Loop) -> list[str]:
    """Return the instructions of a loop in their order."""
    return [line for i in sorted(loop.blocks) for line in parts[i].lines]


def path(
    parts: list[Block], start: int, goals: frozenset[int], inside: frozenset[int]
) -> list[int]:
    """Return the shortest path of blocks from one to any of the goals, without the goal."""
    paths, visited = [[start]], {start}
    for steps in paths:
        for following in parts[steps[-1]].following:
            if following in goals:
                return steps
            if following in inside and following not in visited:
                visited.add(following)
                paths.append([*steps, following])
    raise ValueError("no path between these blocks")


def turn(parts: list[Block], outer: Loop, inner: Loop) -> tuple[list[str], list[str]]:
    """Return what one turn of a loop runs before and after the loop that it holds."""
    own = outer.blocks - inner.blocks
    first = path(parts, outer.header, inner.blocks, own)
    left = next(j for i in sorted(inner.blocks) for j in parts[i].following if j in own)
    header = frozenset({outer.header})
    last = [] if left == outer.header else path(parts, left, header, own)
    before, after = ([line for i in steps for line in parts[i].lines] for steps in (first, last))
    return before, after


def stack_accesses(lines: list[str]) -> int:
    """Return how many instructions read or write the stack."""
    return sum(bool(_STACK.search(line)) and mnemonic(line) not in _ADDRESS for line in lines)


def moved(lines: list[str]) -> tuple[int, int]:
    """Return the float32 numbers that vector instructions read from memory and write to it."""
    counts = [0, 0]
    for line in lines:
        name, _, operands = line.partition("\t")
        if "[" in operands and (registers := re.findall(r"\bq\d+", operands)):
            counts[name.startswith("st")] += 4 * len(registers)
        elif "(%" in operands and (width := re.search(r"%([xyz])mm", operands)):
            written = _X86_MOVE.fullmatch(name) and re.search(r"\)(?: \{%k\d\})?$", operands)
            # A scalar instruction names a register too.
            scalar = re.search(r"ss$|sd$|broadcast", name)
            counts[bool(written)] += 0 if scalar else _WIDTHS[width[1]]
    return counts[0], counts[1]
