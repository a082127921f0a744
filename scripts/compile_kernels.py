"""Compile the kernels ahead of time, into one shared library for each CPU.

    python scripts/compile_kernels.py [--target NAME ...] [FOLDER]

FOLDER is kernels/compiled by default, which a wheel takes in. Numba types and lowers each kernel as
it does at run time; LLVM then optimises that for the CPU named, and GNU ld links it (Debian:
binutils, and binutils-aarch64-linux-gnu for ARM, or the other way round). What each kernel is
called with stands in `SIGNATURES` and `made_kernels`; `kernels/runtime/aot_library.py`
loads the result.
"""

from __future__ import annotations

import os
import tempfile

# Optimised later, for another CPU than this one: nothing of it belongs into Numba's cache.
os.environ.update(NUMBA_OPT="0", NUMBA_LOOP_VECTORIZE="0", NUMBA_SLP_VECTORIZE="0")
os.environ.update(NUMBA_CACHE_DIR=tempfile.mkdtemp(), FCS_EDGE_COMPILED="off")

import argparse
import atexit
import json
import platform
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import compiler, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target
from numba.np import arrayobj, numpy_support

from fcs_edge.files import replacing
from fcs_edge.kernels.gemm import core_limits, products
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import DOTS, INT4_DOTS, Instructions
from fcs_edge.kernels.ops import attention, depthwise
from fcs_edge.kernels.runtime import aot_library

# Numba has no types.
numba_compiler: Any = compiler
numba_arrays: Any = arrayobj

SIGNATURES = {
    "gemm.core_limits.read": "f1 int -> float",
    "gemm.linear_plain.widen": "H2 f2",
    "gemm.packing.pack_float": "f2 f3",
    "gemm.packing.pack_half": "H2 H3",
    "gemm.packing.pack_int4": "B2 int int int int B1",
    "gemm.packing.pack_int8": "b2 int int int b1",
    "gemm.quantized_weights.best_int4": "f2 f3 int f2 B2",
    "ops.attention.dot": "f1 f1 -> float",
    "ops.attention.position_gate": "f2 f2 f1 f1 f2",
    "ops.binary.codes": "H1 f2",
    "ops.binary.normalize": "f2 f2",
    "ops.binary.quantize": "f2 H1",
    "ops.code_search.choose": "f2 f2 f3 f1 f2 f1 float int int int f2 f4 f2 l2 f2 f1 f1 f2",
    "ops.dynamic_tanh.dynamic_tanh": "f2 float f2",
    "ops.focal.aggregate": "f2 f2 int f2 f2",
    "ops.focal.divide": "f2 float",
    "ops.focal.modulate": "f2 f2",
    "ops.gelu.gelu": "f2 f2",
    "ops.history.copy": "f2 f2",
    "ops.history.follow": "f2 int l1 f3",
    "ops.history.keep_last": "f3 int int",
    "ops.history.write": "f2 f2 int",
    "ops.layer_norm.layer_norm": "f2 f1 f1 float f2",
    "ops.layer_norm.layer_norm_gelu": "f2 f1 f1 float f2",
    "ops.residual.add": "f2 f2",
    "ops.residual.add_scaled": "f2 f2 f1",
    "ops.samples.clip": "f1 f1",
    "ops.samples.sanitize": "f1 float f1 -> int",
    "ops.snake.snake": "f2 f1 f1 f2",
    "ops.spectrum.log_bands": "f1 int f1 l1 f2 f2 float float f2 f2",
}
"""What each kernel takes: arrays, contiguous, by the letter of their type and their dimensions, and
numbers. It returns nothing unless that is said."""

_ARRAY = re.compile(r"([fHbBhil])([1-4])")
_NUMBERS = {"int": types.int64, "float": types.float32, "bool": types.boolean}
_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_PASSED = {"int": _I64, "float": ir.FloatType(), "bool": _I8}
_FREE = "NRT_MemInfo_call_dtor"
_FROM_LIBC = {"memcpy", "memset", "memmove"}


@dataclass(frozen=True)
class Target:
    """A kind of CPU."""

    name: str
    using: Instructions
    architecture: str
    cpu: str
    features: str = ""

    @property
    def triple(self) -> str:
        """What LLVM calls the system."""
        return f"{self.architecture}-unknown-linux-gnu"

    def linker(self) -> str:
        """Return the path of GNU ld for it."""
        native = platform.machine() == self.architecture
        name = "ld" if native else f"{self.architecture}-linux-gnu-ld"
        found = shutil.which(name)
        if found is None:
            package = "binutils" if native else f"binutils-{self.architecture}-linux-gnu"
            sys.exit(f"compile_kernels: no {name}: install {package.replace('_', '-')}")
        return found


TARGETS = (
    Target("x86-64-v3", instructions.AVX2, "x86_64", "x86-64-v3"),
    # Registers of 512 bits, which LLVM does not use for this CPU of its own accord.
    Target(
        *("x86-64-v4-vnni", instructions.VNNI, "x86_64", "x86-64-v4"),
        "+avx512vnni,-prefer-256-bit",
    ),
    Target("cortex-a53", instructions.NEON, "aarch64", "cortex-a53"),
    Target("cortex-a72", instructions.NEON, "aarch64", "cortex-a72"),
    Target("cortex-a76", instructions.DOTPROD, "aarch64", "cortex-a76"),
)


def made_kernels(using: Instructions) -> Iterator[tuple[str, Any, str]]:
    """List the kernels made for a set of instructions: name, function, what it takes."""
    lanes = using.lanes
    for half in (False, True):
        weight = "H" if half else "f"
        for n in (using.float_vectors, 1):
            made = products.linear_float(lanes, n, half)
            yield (
                f"gemm.products.linear_float{lanes, n, half}",
                made,
                f"f1 int {weight}3 f1 f2 int int",
            )
        for ring in ("f", "H"):
            kinds = lanes, depthwise.VECTORS, half, ring == "H"
            taken = f"f2 {ring}3 l1 {weight}3 f1 f2"
            yield (
                f"ops.depthwise.depthwise_panels{kinds}",
                depthwise.depthwise_panels(*kinds),
                taken,
            )
        # Windows of the past and columns of a head, of any number from the lanes of a register on.
        for keys in range(1, using.float_vectors + 1):
            for values in range(1, using.float_vectors + 1):
                panels = (lanes, keys, lanes, values, half)
                attend = attention.attend_panels(*panels)
                taken = f"f2 f2 f2 {weight}4 {weight}4 l1 f2 f2"
                yield f"ops.attention.attend_panels{panels}", attend, taken
    dot8, dot4 = DOTS.index(using.int8_dot), INT4_DOTS.index(using.int4_dot)
    for n in (using.int8_vectors, 1):
        eight = (using.int8_lanes, n, dot8)
        taken = "f1 int b1 f1 f1 int f2 int int"
        yield f"gemm.products.linear_int8{eight}", products.linear_int8(*eight), taken
    for n in (using.int4_vectors, 1):
        four = (using.int4_lanes, n, dot4)
        taken = "f1 int B1 H2 f1 int int f2 int int"
        yield f"gemm.products.linear_int4{four}", products.linear_int4(*four), taken
    for bits in (32, 8, 4):
        arguments, dtypes = core_limits.multiplier_arguments(using, bits)
        letters = [np.dtype(dtype).char for dtype in dtypes]
        taken = f"{letters[0]}1 int {letters[1]}1"
        yield f"gemm.core_limits.multiply{arguments}", core_limits.multiply(*arguments), taken


def named_kernels() -> Iterator[tuple[str, Any, str]]:
    """List the other kernels."""
    for name, taken in SIGNATURES.items():
        module, _, function = name.rpartition(".")
        yield name, getattr(import_module(f"fcs_edge.kernels.{module}"), function), taken


def compile_target(target: Target, folder: Path) -> Path:
    """Write the library of a CPU; it appears whole or not at all."""
    context = cpu_target.target_context
    _keep_out_of_engine(context.codegen())
    code = context.codegen().create_library(target.name)
    module = code.create_ir_module(target.name)
    kernels: dict[str, tuple[str, list[str], str]] = {}
    for name, function, taken in (*named_kernels(), *made_kernels(target.using)):
        arguments, _, returned = taken.partition(" -> ")
        symbol = f"fcs_{len(kernels)}"
        kernels[name] = symbol, arguments.split(), returned or "none"
        code.add_linking_library(_wrapped(context, module, function, *kernels[name]))
    # What frees an array that a kernel was the last to hold; they hold none.
    freed = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I8.as_pointer()]), _FREE)
    ir.IRBuilder(freed.append_basic_block()).ret_void()
    _replay(module)
    manifest = (
        json.dumps({"sources": aot_library.sources_hash(), "kernels": kernels}).encode() + b"\0"
    )
    text = ir.Constant(ir.ArrayType(_I8, len(manifest)), bytearray(manifest))
    held = ir.GlobalVariable(module, text.type, aot_library.MANIFEST)
    held.initializer, held.global_constant = text, True
    code.add_ir_module(module)
    code.finalize()
    exported = {symbol for symbol, _, _ in kernels.values()} | {
        aot_library.MANIFEST,
        aot_library.REPLAY,
    }
    exported |= {
        aot_library.AGAIN.format(s) for s, _, returned in kernels.values() if returned == "none"
    }
    return _link(target, _object(target, code.get_llvm_str(), exported), folder)


def _keep_out_of_engine(codegen: Any) -> None:
    """Let Numba's engine make no machine code of what may be for another CPU than this one."""
    add = type(codegen)._add_module

    def add_what_runs_here(module: Any) -> None:
        if not re.search(r"@llvm\.(aarch64|x86)\.", str(module)):
            add(codegen, module)

    codegen._add_module = add_what_runs_here


def _wrapped(
    context: Any, module: ir.Module, function: Any, symbol: str, taken: list[str], returned: str
) -> Any:
    """Emit ``symbol(...)``, which takes array objects, and return what it calls.

    It returns what the kernel does, or 0; where an array is not as it should be, its number.
    """
    flags = numba_compiler.Flags()
    function.targetdescr.options.parse_as_flags(flags, function.targetoptions)
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    kinds = [_type(t) for t in taken]
    compiled = numba_compiler.compile_extra(
        cpu_target.typing_context, context, function.py_func, kinds, None, flags, {}
    )
    inner_type = context.call_conv.get_function_type(
        compiled.fndesc.restype, compiled.fndesc.argtypes
    )
    inner = ir.Function(module, inner_type, compiled.fndesc.llvm_func_name)
    passed = [_PASSED.get(t, _I8.as_pointer()) for t in taken]
    result = _PASSED.get(returned, _I32)
    outer = ir.Function(module, ir.FunctionType(result, passed), symbol)
    b = ir.IRBuilder(outer.append_basic_block())
    arguments = []
    for number, (argument, kind, t) in enumerate(zip(outer.args, kinds, taken, strict=True), 1):
        if isinstance(kind, types.Array):
            arguments.append(_array(context, b, argument, kind, ir.Constant(result, number)))
        else:
            arguments.append(b.trunc(argument, ir.IntType(1)) if t == "bool" else argument)
    _, value = context.call_conv.call_function(
        b, inner, compiled.fndesc.restype, compiled.fndesc.argtypes, arguments
    )
    b.ret(ir.Constant(_I32, 0) if returned == "none" else value)
    if returned == "none":
        _again(module, outer, taken)
    return compiled.library


def _again(module: ir.Module, outer: ir.Function, taken: list[str]) -> None:
    """Emit ``again(arguments)``, which calls with array objects and numbers at these addresses."""
    pointer = _I8.as_pointer()
    kind = ir.FunctionType(_I32, [pointer.as_pointer()])
    function = ir.Function(module, kind, aot_library.AGAIN.format(outer.name))
    b = ir.IRBuilder(function.append_basic_block())
    arguments = []
    for i, t in enumerate(taken):
        address = b.load(b.gep(function.args[0], [_I64(i)]))
        if t in _PASSED:
            address = b.load(b.bitcast(address, _PASSED[t].as_pointer()))
        arguments.append(address)
    b.ret(b.call(outer, arguments))


def _replay(module: ir.Module) -> None:
    """Emit ``replay(steps, n)``: n times a function and its arguments; 0, or what one returned."""
    pointers = _I8.as_pointer().as_pointer()
    called = ir.FunctionType(_I32, [pointers]).as_pointer()
    function = ir.Function(module, ir.FunctionType(_I32, [pointers, _I64]), aot_library.REPLAY)
    steps, n = function.args
    start, test, body, done = (function.append_basic_block() for _ in range(4))
    b = ir.IRBuilder(start)
    b.branch(test)
    b.position_at_end(test)
    i, said = b.phi(_I64), b.phi(_I32)
    more = b.and_(b.icmp_signed("<", i, n), b.icmp_signed("==", said, _I32(0)))
    b.cbranch(more, body, done)
    b.position_at_end(body)
    of = b.mul(i, _I64(2))
    call = b.bitcast(b.load(b.gep(steps, [of])), called)
    arguments = b.bitcast(b.load(b.gep(steps, [b.add(of, _I64(1))])), pointers)
    now = b.call(call, [arguments])
    following = b.add(i, _I64(1))
    for phi, first, then in ((i, _I64(0), following), (said, _I32(0), now)):
        phi.add_incoming(first, start)
        phi.add_incoming(then, body)
    b.branch(test)
    b.position_at_end(done)
    b.ret(said)


def _type(text: str) -> Any:
    match = _ARRAY.fullmatch(text)
    if match is None:
        return _NUMBERS[text]
    return types.Array(numpy_support.from_dtype(np.dtype(match[1])), int(match[2]), "C")


def _array(
    context: Any, b: ir.IRBuilder, address: ir.Value, kind: Any, refused: ir.Constant
) -> ir.Value:
    """Return the array of an array object, as Numba holds it; return `refused` if it is another."""

    def field(at: int, of: ir.Type, base: ir.Value = address) -> ir.Value:
        return b.load(b.bitcast(b.gep(base, [_I64(at)]), of.as_pointer()))

    pointer = _I8.as_pointer()
    letter = numpy_support.as_dtype(kind.dtype).char
    right = b.icmp_signed("==", field(aot_library.NDIM, _I32), _I32(kind.ndim))
    # The first of an array's flags: contiguous, in the order of C.
    contiguous = b.trunc(field(aot_library.FLAGS, _I32), ir.IntType(1))
    described = field(aot_library.TYPE, pointer)
    found = field(aot_library.TYPE_CHARACTER, _I8, described)
    typed = b.icmp_signed("==", found, _I8(ord(letter)))
    with b.if_then(b.not_(b.and_(b.and_(right, contiguous), typed)), likely=False):
        b.ret(refused if refused.type == _I32 else ir.Constant(refused.type, 0))
    sizes = field(aot_library.SHAPE, _I64.as_pointer())
    shape = [b.load(b.gep(sizes, [_I64(i)])) for i in range(kind.ndim)]
    item = _I64(np.dtype(letter).itemsize)
    strides = [item]
    for size in reversed(shape[1:]):
        strides.insert(0, b.mul(strides[0], size))
    array = context.make_array(kind)(context, b)
    data = b.bitcast(field(aot_library.DATA, pointer), array.data.type)
    numba_arrays.populate_array(
        array, data=data, shape=shape, strides=strides, itemsize=item, meminfo=None
    )
    return array._getvalue()


def _object(target: Target, text: str, exported: set[str]) -> bytes:
    """Optimise IR for a CPU, and return the object file."""
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )
    text = re.sub(r'target triple = ".*"', f'target triple = "{target.triple}"', text)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    for name, kind in (("sqrtf", "f32"), ("sqrt", "f64")):
        text = re.sub(rf"@{name}\(", f"@llvm.sqrt.{kind}(", text)
    text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)
    text = re.sub(r"\b(noinline|optnone)\b", "", text)
    text = re.sub(r"attributes (#\d+) = \{\s*\}", r"attributes \1 = { nounwind }", text)
    module = llvm.parse_assembly(text)
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name not in exported:
            value.linkage = "internal"
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    declared = (f.name for f in module.functions if f.is_declaration)
    unknown = {n for n in declared if not n.startswith("llvm.")} - _FROM_LIBC
    if unknown:
        sys.exit(f"compile_kernels: kernels call what no library has: {', '.join(unknown)}")
    if re.search(r"inttoptr \(i64 \d{5,}", str(module)):
        sys.exit("compile_kernels: a kernel holds an address of this process")
    compiled: bytes = machine.emit_object(module)
    return compiled


def _link(target: Target, compiled: bytes, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}.so"
    options = ("-shared", "-s", "--gc-sections", "-z", "noexecstack")
    with tempfile.TemporaryDirectory() as work, replacing(path) as made:
        part = Path(work) / "kernels.o"
        part.write_bytes(compiled)
        subprocess.run([target.linker(), *options, "-o", made, part], check=True)
    return path


def main() -> None:
    """Compile the libraries asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [target.name for target in TARGETS]
    parser.add_argument("--target", action="append", choices=names, help="default: all")
    parser.add_argument("folder", nargs="?", type=Path, default=aot_library.FOLDER)
    options = parser.parse_args()
    atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"])
    # That what is not optimised yet cannot be cached.
    warnings.simplefilter("ignore", NumbaWarning)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for target in TARGETS:
        if options.target is None or target.name in options.target:
            start = time.perf_counter()
            with global_compiler_lock:
                path = compile_target(target, options.folder)
            seconds = time.perf_counter() - start
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
