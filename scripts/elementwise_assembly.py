"""Print the inner loops of elementwise kernels for each CPU, as JSON; `loop_rates.py` runs this.

    python scripts/elementwise_assembly.py

Numba lowers the kernels as for a library. That needs settings which Numba reads when it is
imported, so this is a program of its own.
"""

from __future__ import annotations

import compile_kernels  # isort: skip # First: it sets what Numba reads.

import json
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target

import assembly_loops
from assembly_loops import moved
from fcs_edge.kernels.isa.targets import TARGETS

KERNELS = {
    "gelu": "ops.gelu.gelu",
    "exp": "ops.softmax.exponentials",
    "tanh": "ops.dynamic_tanh.dynamic_tanh",
    "layer_norm": "ops.layer_norm.layer_norm",
}
"""A name, and the kernel whose loops it stands for."""
TYPES = compile_kernels.SIGNATURES | {"ops.softmax.exponentials": "f1w float -> float"}

SUMS = {"layer_norm": ("mean", "squares")}
"""Loops of a kernel that only read, in their order."""

Loop = dict[str, Any]
"""A loop's name, its instructions (body) and the elements of one turn."""


def lowered() -> str:
    """Return the kernels as Numba lowers them, with a plain function around each."""
    context = cpu_target.target_context
    compile_kernels._keep_out_of_engine(context.codegen())
    code = context.codegen().create_library("elementwise")
    module = code.create_ir_module("elementwise")
    for name, path in KERNELS.items():
        place, _, function = path.rpartition(".")
        kernel = getattr(import_module(f"fcs_edge.kernels.{place}"), function)
        arguments, _, returned = TYPES[path].partition(" -> ")
        types_ = arguments.split(), returned or "none"
        _, library = compile_kernels._raw(context, module, kernel, name, *types_)
        code.add_linking_library(library)
    pointer = ir.IntType(8).as_pointer()
    freed = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), compile_kernels._FREE)
    ir.IRBuilder(freed.append_basic_block()).ret_void()
    code.add_ir_module(module)
    code.finalize()
    return str(code.get_llvm_str())


def loops_of(name: str, lines: list[str]) -> Iterator[Loop]:
    """Yield the vector loops of a kernel: of those that only read, and of those that write."""
    blocks = assembly_loops.blocks(lines)
    found = assembly_loops.innermost(assembly_loops.loops(blocks))
    bodies = [assembly_loops.body(blocks, loop) for loop in sorted(found, key=lambda a: a.header)]
    sums = SUMS.get(name, ())
    readers = [body for body in bodies if not moved(body)[1] and moved(body)[0]]
    largest = sorted(readers, key=lambda body: -moved(body)[0])[: len(sums)]
    in_order = [body for body in readers if body in largest]
    for part, body in zip(sums, in_order, strict=False):
        yield {"name": f"{name}, {part}", "body": body, "elements": moved(body)[0]}
    writer = max(bodies, key=lambda body: moved(body)[1])
    title = f"{name}, output" if sums else name
    yield {"name": title, "body": writer, "elements": moved(writer)[1]}


def main() -> None:
    """Print the loops of each target."""
    warnings.simplefilter("ignore", NumbaWarning)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    with global_compiler_lock:
        text = lowered()
    found = {}
    for target in TARGETS:
        assembly = compile_kernels.optimized(target, text, set(KERNELS), "emit_assembly")
        functions = assembly_loops.functions(assembly)
        found[target.name] = [loop for name in KERNELS for loop in loops_of(name, functions[name])]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
