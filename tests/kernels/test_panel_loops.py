"""The compiled inner loops of products, attention and convolutions, for every CPU of the wheels.

A loop that spills registers, or that lost its instruction, gives the same results: it is only slow.
`make loops` writes the lists; docs/howto/add-an-instruction-set.md says what a new set needs.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import llvmlite.binding as llvm
import pytest

import assembly_loops
import panel_assembly
import panel_counts
from fcs_edge import kernels
from fcs_edge.kernels.gemm.panels import float_panel
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.targets import TARGETS, Target
from panel_counts import Counts

LISTS = panel_counts.read()
ADVICE = "\nAfter a change that is meant: make loops"

FLOATS = {
    "vnni": (r"\bvfmadd\d+ps\b.*%zmm",),
    "avx2": (r"\bvfmadd\d+ps\b.*%ymm",),
    "dotprod": (r"\bfmla\s+v\d+\.4s",),
    "neon": (r"\bfmla\s+v\d+\.4s",),
}
WIDEN = {"vnni": r"\bvcvtph2ps\b.*%zmm", "avx2": r"\bvcvtph2ps\b.*%ymm"}
PREFETCH = r"\b(prefetcht[012]|prfm)\b"
INTEGERS = {
    "vnni int8": (r"\bvpdpbusd\b.*%zmm",),
    "vnni int4": (r"\bvpdpbusd\b.*%zmm", r"\bvpandd?q?\b.*%zmm"),
    "avx2 int8": (r"\bvpmaddwd\b.*%ymm", r"\bvpmovsxbw\b.*%ymm"),
    "avx2 int4": (r"\bvpmaddubsw\b.*%ymm", r"\bvpmaddwd\b.*%ymm"),
    "vnni int8 x 8 bits": (r"\bvpdpbusd\b.*%zmm",),
    "avx2 int8 x 8 bits": (r"\bvpmaddwd\b.*%ymm", r"\bvpmovsxbw\b.*%ymm"),
    "dotprod int8 x 8 bits": (r"\bsdot\s+v\d+\.4s",),
    "neon int8 x 8 bits": (
        *(r"\bsmull\s+v\d+\.8h", r"\bsmlal2\s+v\d+\.8h", r"\bsadalp\s+v\d+\.4s"),
    ),
    "dotprod int8": (r"\bsdot\s+v\d+\.4s",),
    "dotprod int4": (r"\bsdot\s+v\d+\.4s", r"\bushr\s+v\d+\.16b"),
    "neon int8": (r"\bsmlal\s+v\d+\.4s", r"\bsmlal2\s+v\d+\.4s"),
    "neon int4": (r"\bsmlal2?\s+v\d+\.8h", r"\b(saddw|saddlp|sadalp)2?\s+v\d+\.4s"),
}
"""Instructions that the loops of a panel must contain, by set of instructions and weights."""


def emitted(target: Target) -> dict[str, Counts]:
    try:
        llvm.initialize_all_targets()
        llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite cannot compile for {target.architecture}: {error}")
    found = panel_assembly.hot_loops(target)
    return {hot.panel.name: panel_counts.counts(hot) for hot in found}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_loops_keep_their_values_in_registers(target: Target) -> None:
    found = emitted(target)
    listed = LISTS.get(panel_counts.compiler())
    if listed is None:
        lists = (known[target.name] for known in LISTS.values())
        problems = panel_counts.unlisted_stack_problems(found, lists)
    else:
        problems = panel_counts.stack_problems(found, listed[target.name])
    assert not (text := "\n".join(problems)), text + ADVICE


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_instructions_for_a_multiply_accumulate(target: Target) -> None:
    found = emitted(target)
    listed = LISTS.get(panel_counts.compiler())
    if listed is None:
        pytest.skip(f"no list for {panel_counts.compiler()}: make loops")
    problems = panel_counts.instruction_problems(found, listed[target.name])
    assert not (text := "\n".join(problems)), text + ADVICE


def required(using: str, kind: str, rows: int) -> tuple[str, ...]:
    """Return patterns of the instructions that the loops of a panel must contain."""
    if f"{using} {kind}" in INTEGERS:
        # One row leaves little time for prefetches.
        prefetch = (PREFETCH,) if rows == 4 else ()
        return INTEGERS[f"{using} {kind}"] + prefetch
    if kind.startswith("peak int"):
        # `panel_assembly.hot_loop` counts its products; what they are loaded with is no matter.
        return ()
    widen = (WIDEN.get(using, r"\bfcvtl"),) if kind.endswith("float16") else ()
    return FLOATS[using] + widen


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_loops_use_the_instructions_they_are_built_for(target: Target) -> None:
    emitted(target)
    for hot in panel_assembly.hot_loops(target):
        panel = hot.panel
        lines = "\n".join([*hot.turn[0], *hot.body, *hot.turn[1]])
        for pattern in required(target.using.name, panel.kind, panel.rows):
            assert re.search(pattern, lines), f"{panel.name}: no {pattern}"


def test_products_of_every_dot_are_counted() -> None:
    assert {dot.name for dot in instructions.DOTS} <= panel_assembly.MULTIPLY.keys()


def test_every_microkernel_is_emitted() -> None:
    listed = (panel for target in TARGETS for panel in panel_assembly.panels(target.using))
    used = {panel.microkernel for panel in listed}
    found = set()
    for info in pkgutil.walk_packages(kernels.__path__, "fcs_edge.kernels."):
        if info.name.endswith("_microkernel"):
            own = vars(importlib.import_module(info.name)).values()
            found |= {value for value in own if isinstance(value, type(float_panel))}
    assert len(found) > 3
    assert not found - used, "add them to `panels` in scripts/panel_assembly.py"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_every_wide_panel_of_a_set_is_emitted(target: Target) -> None:
    using = target.using
    names = {panel.name for panel in panel_assembly.panels(using)}
    for rows in (4, 1):
        for kind, width in (
            ("float32", using.lanes * using.float_vectors),
            ("float16", using.lanes * using.float_vectors),
            ("int8", using.int8_lanes * using.int8_vectors),
            ("int4", using.int4_lanes * using.int4_vectors),
            ("int8 x 8 bits", using.grouped[0] * using.grouped[1]),
        ):
            assert f"{kind} {rows}x{width}" in names


LISTED = {"a 4x8": Counts(100, 512, stack=2), "b 4x8": Counts(50, 512, 20, 4, stack_around=3)}


def test_accesses_to_the_stack_may_only_shrink() -> None:
    assert not list(panel_counts.stack_problems(LISTED, LISTED))
    for changed, says in (
        ({"a 4x8": replace(LISTED["a 4x8"], stack=3)}, "a 4x8: 3 stack accesses inside.*spill"),
        ({"a 4x8": replace(LISTED["a 4x8"], stack=1)}, "a 4x8: 1 .* 2 listed: shrink the list"),
        ({"b 4x8": replace(LISTED["b 4x8"], stack_around=4)}, "b 4x8: 4 .*around.*spill"),
        ({"c 4x8": Counts(1, 1)}, "c 4x8: not listed"),
    ):
        (line,) = panel_counts.stack_problems(LISTED | changed, LISTED)
        assert re.match(says, line)
    (line,) = panel_counts.stack_problems({"a 4x8": LISTED["a 4x8"]}, LISTED)
    assert line == "b 4x8: listed, but not emitted"


def test_a_compiler_without_a_list_may_spill_a_little_more() -> None:
    lists = [LISTED, {"a 4x8": Counts(100, 512)}]
    for stack, intact in ((10, True), (11, False)):
        found = {"a 4x8": Counts(100, 512, stack=stack)}
        assert bool(list(panel_counts.unlisted_stack_problems(found, lists))) != intact


def test_more_instructions_for_a_multiply_accumulate_are_found() -> None:
    assert not list(panel_counts.instruction_problems(LISTED, LISTED))
    for changed, says in (
        (Counts(101, 512), "a 4x8: 0.1973 .* more than before"),
        (Counts(99, 512), "a 4x8: 0.1934 .* shrink the list"),
    ):
        (line,) = panel_counts.instruction_problems({"a 4x8": changed}, LISTED)
        assert re.match(says, line)
    # Twice unrolled, it is the same loop.
    assert not list(panel_counts.instruction_problems({"a 4x8": Counts(200, 1024)}, LISTED))
    assert Counts(50, 512, 20, 4).per_mac == 220 / 2048


def test_lists_are_written_and_read(tmp_path: Path) -> None:
    panel_counts.write(tmp_path, TARGETS[:1])
    found = panel_counts.read(tmp_path)[panel_counts.compiler()]
    assert found == panel_counts.emitted(TARGETS[:1])


def test_a_list_does_not_grow_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = panel_counts.counts
    panel_counts.write(tmp_path, TARGETS[:1])
    for more, lines in ((-1, 0), (0, 0), (1, len(emitted(TARGETS[0])))):
        monkeypatch.setattr(
            panel_counts, "counts", lambda hot, n=more: replace(counts(hot), stack=hot.stack + n)
        )
        assert len(panel_counts.grown(tmp_path, TARGETS[:1])) == lines
    # A compiler without a list may spill whatever it does.
    assert not panel_counts.grown(tmp_path / "none", TARGETS[:1])


NESTED = """\
\t.globl\tpanel
panel:
\tpushq\t%rbx
\tmovq\t8(%rsp), %rax
\tjmp\t.LBB0_2
.LBB0_1:
\tvaddps\t%ymm0, %ymm1, %ymm1
\tvmovups\t%ymm1, 64(%rsp)
\tdecq\t%rax
\tje\t.LBB0_4
.LBB0_2:
\tvmovups\t64(%rsp), %ymm1        # 32-byte Reload
\tleaq\t32(%rsp), %rcx
\ttestq\t%rdx, %rdx
\tje\t.LBB0_1
\tmovq\t%rdx, %rcx
.LBB0_3:
\tvfmadd231ps\t(%rdi), %ymm2, %ymm0
\tdecq\t%rcx
\tjne\t.LBB0_3
\tjmp\t.LBB0_1
.LBB0_4:
\tpopq\t%rbx
\tretq
\t.size\tpanel, .-panel
"""


def test_loops_that_the_compiler_rotated() -> None:
    blocks = assembly_loops.blocks(assembly_loops.functions(NESTED)["panel"])
    found = assembly_loops.loops(blocks)
    assert len(found) == 2
    (inner,) = assembly_loops.innermost(found)
    body = [assembly_loops.mnemonic(line) for line in assembly_loops.body(blocks, inner)]
    assert body == ["vfmadd231ps", "decq", "jne"]
    outer = assembly_loops.around(found, inner)
    assert outer is not None
    assert assembly_loops.around(found, outer) is None
    before, after = assembly_loops.turn(blocks, outer, inner)
    names = [assembly_loops.mnemonic(line) for line in (*before, *after)]
    # The way around the inner loop is no part of a turn.
    assert names[:6] == ["vmovups", "leaq", "testq", "je", "movq", "jmp"]
    assert names[6:] == ["vaddps", "vmovups", "decq", "je"]
    # An address is not an access.
    assert assembly_loops.stack_accesses([*before, *after]) == 2
    assert assembly_loops.stack_accesses(body) == 0


@pytest.mark.parametrize(
    ("line", "accesses"),
    [
        ("ldp\tq0, q1, [sp, #32]", 1),
        ("str\tq0, [sp]", 1),
        ("ldr\tq0, [x0, #32]", 0),
        ("add\tx8, sp, #16", 0),
        ("vpaddd\t-96(%rsp), %ymm0, %ymm0", 1),
        ("vpaddd\t(%rsi), %ymm0, %ymm0", 0),
    ],
)
def test_accesses_to_the_stack(line: str, accesses: int) -> None:
    assert assembly_loops.stack_accesses([line]) == accesses


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("ldp\tq0, q1, [x0, #32]", (8, 0)),
        ("ldr\tq0, [x0], #16", (4, 0)),
        ("ldr\ts0, [x0]", (0, 0)),
        ("stp\tq0, q1, [x0]", (0, 8)),
        ("fmla\tv0.4s, v1.4s, v2.s[0]", (0, 0)),
        ("vaddps\t(%rdi,%rax,4), %ymm0, %ymm0", (8, 0)),
        ("vmovups\t%zmm6, -64(%rdi,%r14,4)", (0, 16)),
        ("vmovups\t%zmm6, (%rdi,%r14,4) {%k1}", (0, 16)),
        ("vmovups\t(%rdi), %xmm6", (4, 0)),
        ("vmovaps\t%zmm5, %zmm6 {%k1}", (0, 0)),
        ("vbroadcastss\t(%rdi), %ymm0", (0, 0)),
        ("vmovss\t%xmm5, (%r9,%rax,4)", (0, 0)),
    ],
)
def test_numbers_that_an_instruction_moves(line: str, numbers: tuple[int, int]) -> None:
    assert assembly_loops.moved([line]) == numbers
