"""The microkernels as assembly for each CPU of `kernels/isa/targets.py`, and their inner loops.

llvmlite alone emits them: nothing runs, and Numba compiles nothing. `panels` lists what is emitted.
`scripts/loop_rates.py` and `tests/kernels/test_panel_loops.py` use this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

import assembly_loops
from fcs_edge.kernels.gemm import peak
from fcs_edge.kernels.gemm.grouped_microkernel import ROUND as GROUPED_ROUND
from fcs_edge.kernels.gemm.grouped_microkernel import GroupedPanel, grouped_panel
from fcs_edge.kernels.gemm.int4_microkernel import ROUND as INT4_ROUND
from fcs_edge.kernels.gemm.int4_microkernel import int4_panel
from fcs_edge.kernels.gemm.int8_microkernel import ROUND as INT8_ROUND
from fcs_edge.kernels.gemm.int8_microkernel import int8_panel
from fcs_edge.kernels.gemm.multiply_microkernel import multiply_panel
from fcs_edge.kernels.gemm.packing import BLOCK, DEPTH_MULTIPLE
from fcs_edge.kernels.gemm.packing import GROUP as ACTIVATION_GROUP
from fcs_edge.kernels.gemm.panels import INDEX, IntegerPanel, IntegerRows, Rows, float_panel
from fcs_edge.kernels.gemm.peak_shape import ROWS
from fcs_edge.kernels.gemm.quantized_weights import GROUP
from fcs_edge.kernels.isa.instructions import DOTS, Dot, Instructions
from fcs_edge.kernels.isa.targets import Target
from fcs_edge.kernels.ops import depthwise
from fcs_edge.kernels.ops.depthwise_microkernel import depthwise_panel

# Numba has no types.
pointer_to: Any = types.CPointer
F32, U16, I8, U8, I16, I32, I64 = (
    pointer_to(getattr(types, name))
    for name in ("float32", "uint16", "int8", "uint8", "int16", "int32", "int64")
)

_I64 = ir.IntType(64)

FMA = "fma"
"""What multiplies floats, among the names of `Dot`."""

MULTIPLY = {
    FMA: r"vfmadd\d+ps|fmla",
    "vpdpbusd": r"vpdpbusd",
    "pmaddwd": r"vpmaddwd|vpdpwssd",
    "pmaddwd_bytes": r"vpmaddwd|vpdpwssd",
    "pmaddubsw": r"vpmaddubsw",
    "sdot": r"sdot",
    "smlal": r"smlal2?|smull2?",
    "mla": r"[su]mlal2?|[su]mull2?|mla|mul",
    "smull": r"smull2?|smlal2?",
    "sadalp": r"smull2?|smlal2?",
}
"""Instructions that multiply, by what the panel is built for."""

_FACTOR_BITS = (
    (r"vfmadd\d+ps", 32),
    (r"vpdpbusd|vpmaddubsw", 8),
    (r"vpmaddwd|vpdpwssd", 16),
)
"""Bits of a factor of an x86 instruction: it multiplies as many as fit a register."""

_ARM_PRODUCTS = {"sdot": 16, "4s": 4, "8h": 8}


@dataclass(frozen=True)
class Panel:
    """A microkernel as a product uses it, and the work of one round of its inner loop."""

    kind: str
    """What it multiplies: `int8`, `depthwise float32`, `peak int4`."""
    rows: int
    outputs: int
    microkernel: Any
    literals: tuple[int, ...]
    arguments: tuple[Any, ...]
    """Numba's types of the arguments that are not literal."""
    multiply: str
    """A key of `MULTIPLY`."""
    inputs: int = 1
    """Inputs of a round."""
    group: int = 0
    """Inputs after which the sums are scaled, in a loop around; 0: once, after all inputs."""
    constants: tuple[tuple[int, str, int], ...] = ()
    """Numbers that the kernel around knows when it is compiled: argument, member, value."""
    parts: int = 1
    """Products of the instructions for one multiply-accumulate."""

    @property
    def name(self) -> str:
        """Kind, rows and outputs."""
        return f"{self.kind} {self.rows}x{self.outputs}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a round."""
        return self.rows * self.outputs * self.inputs


@dataclass(frozen=True)
class Hot:
    """The inner loop of a panel in one compilation."""

    panel: Panel
    body: list[str]
    """Its instructions."""
    macs: int
    """Multiply-accumulates of one turn; a compiler may unroll rounds."""
    turn: tuple[list[str], list[str]]
    """What one turn of the loop around runs before and after; empty where there is none."""
    stack: int
    """Instructions of the loop that read or write the stack."""
    stack_around: int
    """The same of all other loops of the panel."""

    @property
    def turns(self) -> int:
        """Turns of the inner loop in one of the loop around; 0 where there is none."""
        groups = self.panel.group * self.panel.macs // (self.panel.inputs * self.macs)
        return max(1, groups) if self.around else 0

    @property
    def around(self) -> int:
        """Instructions of one turn of the loop around, without the inner loop."""
        return sum(map(len, self.turn))


class _Context:
    """What a microkernel uses of Numba's context."""

    def get_dummy_value(self) -> None:
        """Return the value of an intrinsic that returns nothing."""


def panels(using: Instructions) -> Iterator[Panel]:
    """List the panels that products, attention and convolutions use with a set of instructions."""
    yield from _float_panels(using)
    for n in using.int8_panels:
        for rows in (4, 1):
            yield _int8(using, rows, n)
    for n in using.int4_panels:
        for rows in (4, 1):
            yield _int4(using, rows, n)
    for n in dict.fromkeys((using.grouped[1], 1)):
        for rows in (4, 1):
            yield _grouped(using, rows, n)
    for bits in (32, 8, 4):
        yield _peak(using, bits)


def _named(kind: Any, *members: Any) -> Any:
    named: Any = types.NamedTuple
    return named(members, kind)


def _held(pitch: int, groups: int) -> tuple[tuple[int, str, int], ...]:
    """Return the constants of the quantised rows that `products` holds."""
    return (0, "pitch", pitch), (0, "groups", groups)


def _float_panels(using: Instructions) -> Iterator[Panel]:
    """List the panels of float weights; attention takes some widths of them."""
    lanes, taken = using.lanes, depthwise.VECTORS
    x = _named(Rows, F32, INDEX)
    for kind, weight in (("float32", F32), ("float16", U16)):
        arguments = (x, _named(Rows, weight, INDEX), INDEX, x)
        for n in range(using.float_vectors, 0, -1):
            for rows in (4, 1):
                literals = rows, lanes, n
                yield Panel(
                    *(kind, rows, lanes * n, float_panel, literals, arguments, FMA),
                    constants=((1, "pitch", lanes * n),),
                )
        convolved = weight, I64, weight, INDEX, INDEX, F32, INDEX
        for rows in (4, 1):
            yield Panel(
                *(f"depthwise {kind}", rows, lanes * taken, depthwise_panel),
                *((rows, lanes, taken), convolved, FMA),
            )


def _int8(using: Instructions, rows: int, vectors: int) -> Panel:
    lanes, dot = using.int8_lanes, using.int8_dot
    q = I8 if dot.split else I16
    arguments = (
        _named(IntegerRows, q, INDEX, F32, I32, INDEX),
        _named(IntegerPanel, U8 if dot.unsigned_weights else I8, F32, INDEX, INDEX),
        _named(Rows, F32, INDEX),
    )
    literals = rows, lanes, vectors, dot.number
    return Panel(
        *("int8", rows, lanes * vectors, int8_panel, literals, arguments, dot.name, INT8_ROUND),
        constants=_held(BLOCK * (2 if dot.split else 1), 1),
        parts=2 if dot.split else 1,
    )


def _int4(using: Instructions, rows: int, vectors: int) -> Panel:
    lanes, dot = using.int4_lanes, using.int4_dot
    arguments = (
        _named(IntegerRows, I8, INDEX, F32, I32, INDEX),
        _named(IntegerPanel, U8, U16, INDEX, INDEX),
        _named(Rows, F32, INDEX),
    )
    literals = rows, lanes, vectors, dot.number
    return Panel(
        *("int4", rows, lanes * vectors, int4_panel, literals, arguments, dot.name, INT4_ROUND),
        group=GROUP,
        constants=_held(BLOCK, BLOCK // DEPTH_MULTIPLE),
    )


def _grouped(using: Instructions, rows: int, vectors: int) -> Panel:
    lanes, _, dot = using.grouped
    arguments = (
        _named(IntegerRows, I8 if dot.factor_bits == 8 else I16, INDEX, F32, I32, INDEX),
        _named(GroupedPanel, I8, I16, F32, INDEX),
        _named(Rows, F32, INDEX),
    )
    literals = rows, lanes, vectors, dot.number
    return Panel(
        *("int8 x 8 bits", rows, lanes * vectors, grouped_panel, literals, arguments, dot.name),
        inputs=GROUPED_ROUND,
        group=ACTIVATION_GROUP,
        constants=_held(BLOCK, BLOCK // ACTIVATION_GROUP),
    )


def _peak(using: Instructions, bits: int) -> Panel:
    lanes, vectors, number = literals = peak.multiplier_arguments(using, bits)
    dot: Dot | None = DOTS[number] if number >= 0 else None
    factor, total = F32, F32
    if dot:
        factor = I8 if dot.factor_bits == 8 else I16
        total = I16 if dot.fold_after else I32
    return Panel(
        *(f"peak {'int' if dot else 'float'}{bits}", ROWS, lanes * vectors, multiply_panel),
        *(literals, (factor, INDEX, total), dot.name if dot else FMA, dot.depth if dot else 1),
    )


def _llvm_type(kind: Any) -> ir.Type:
    if isinstance(kind, types.CPointer):
        return _llvm_type(kind.dtype).as_pointer()
    return ir.FloatType() if kind == types.float32 else ir.IntType(kind.bitwidth)


def _emit(module: ir.Module, panel: Panel) -> None:
    """Add a function around a microkernel; members of named tuples are arguments of their own."""
    kinds = [*map(types.literal, panel.literals), *panel.arguments]
    signature, generate = panel.microkernel._defn(None, *kinds)
    known = {(i, member): value for i, member, value in panel.constants}
    members = [_members(kind) for kind in panel.arguments]
    passed = [
        _llvm_type(kind)
        for i, own in enumerate(members)
        for name, kind in own.items()
        if (i, name) not in known
    ]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), passed), _symbol(panel))
    b = ir.IRBuilder(function.append_basic_block())
    arguments, values = iter(function.args), []
    for i, own in enumerate(members):
        taken = [_I64(known[i, n]) if (i, n) in known else next(arguments) for n in own]
        values.append(taken[0] if "" in own else _tuple(b, taken))
    generate(_Context(), b, signature, [*[None] * len(panel.literals), *values])
    b.ret_void()


def _members(kind: Any) -> dict[str, Any]:
    """Return the types of a named tuple's members by name; that of another argument by no name."""
    if isinstance(kind, types.NamedTuple):
        return dict(zip(kind.fields, kind.types, strict=True))
    return {"": kind}


def _tuple(b: ir.IRBuilder, members: list[ir.Value]) -> ir.Value:
    value = ir.Constant(ir.LiteralStructType([m.type for m in members]), ir.Undefined)
    for i, member in enumerate(members):
        value = b.insert_value(value, member, i)
    return value


def _symbol(panel: Panel) -> str:
    return panel.name.replace(" ", "_")


def machine_of(target: Target) -> Any:
    """Return LLVM's machine for a CPU, as `scripts/compile_kernels.py` has it."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


def compiled(target: Target, listed: list[Panel]) -> str:
    """Return the assembly of panels for a CPU."""
    machine = machine_of(target)
    module = ir.Module(target.name)
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    for panel in listed:
        _emit(module, panel)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    return str(machine.emit_assembly(parsed))


@cache
def hot_loops(target: Target) -> tuple[Hot, ...]:
    """Return the inner loop of each panel for a CPU."""
    listed = list(panels(target.using))
    functions = assembly_loops.functions(compiled(target, listed))
    return tuple(hot_loop(panel, functions[_symbol(panel)]) for panel in listed)


def hot_loop(panel: Panel, lines: list[str]) -> Hot:
    """Find the inner loop of a panel: of the innermost loops, that with the most products.

    A loop that also scales the sums of a group is preferred: it runs where a group is one turn.
    """

    def work(loop: assembly_loops.Loop) -> tuple[bool, int]:
        scales = panel.group > 0 and products(bodies[loop], FMA) > 0
        return scales, products(bodies[loop], panel.multiply)

    blocks = assembly_loops.blocks(lines)
    found = assembly_loops.loops(blocks)
    bodies = {loop: assembly_loops.body(blocks, loop) for loop in assembly_loops.innermost(found)}
    hot = max(bodies, key=work)
    body = bodies[hot]
    every = products(body, panel.multiply)
    if not every or every % (panel.macs * panel.parts):
        raise ValueError(
            f"{panel.name}: {every} products in the inner loop, not a multiple of "
            f"{panel.macs * panel.parts}: {', '.join(sorted(set(map(_name, body))))}"
        )
    outer = assembly_loops.around(found, hot) if panel.group else None
    in_loops = sorted(frozenset().union(*(loop.blocks for loop in found)) - hot.blocks)
    others = [line for i in in_loops for line in blocks[i].lines]
    return Hot(
        panel,
        body,
        every // panel.parts,
        assembly_loops.turn(blocks, outer, hot) if outer else ([], []),
        assembly_loops.stack_accesses(body),
        assembly_loops.stack_accesses(others),
    )


_name = assembly_loops.mnemonic


def products(body: list[str], multiply: str) -> int:
    """Count the products of the instructions that multiply."""
    return sum(_products_of(line) for line in body if re.fullmatch(MULTIPLY[multiply], _name(line)))


def _products_of(line: str) -> int:
    """Return the products of an instruction, by its registers."""
    if register := re.search(r"%([xyz])mm", line):
        bits = {"x": 128, "y": 256, "z": 512}[register[1]]
        return next(bits // n for names, n in _FACTOR_BITS if re.fullmatch(names, _name(line)))
    lanes = re.search(r"v\d+\.(4s|8h)", line)
    if lanes is None:
        return 0
    return _ARM_PRODUCTS.get(_name(line)) or _ARM_PRODUCTS[lanes[1]]
