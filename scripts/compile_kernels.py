"""Compile the kernels ahead of time, into one shared library for each CPU.

    python scripts/compile_kernels.py [--target NAME ...] [--tests] [--without-c] [FOLDER]

FOLDER is kernels/compiled by default; a wheel includes it. With --tests, a library also holds the
plain loops and the kernels of the CPU's other instruction sets, which only tests call.

NAME.fcs in FOLDER is the C library of a CPU: the kernels of streams, and `export/native`. It needs
clang; `--without-c` leaves it out, and `--tests` too. The target "wasm" is two WebAssembly modules,
"x86-64-v2-wasm" the library that tests compare them with.

Numba types and lowers each kernel as it does at run time. LLVM then optimises the result for the
named CPU, and GNU ld links it (Debian: binutils, and binutils-aarch64-linux-gnu for ARM, or the
other way round). CPUs with the same instruction set share the first half. `SIGNATURES` and
`built_kernels` hold the types of each kernel's arguments; `kernels/isa/targets.py` lists the CPUs,
and `kernels/runtime/aot_library.py` loads the result.
"""

from __future__ import annotations

import os
import tempfile

# The code is optimised later, for another CPU: nothing of it belongs into Numba's cache.
os.environ.update(NUMBA_OPT="0", NUMBA_LOOP_VECTORIZE="0", NUMBA_SLP_VECTORIZE="0")
os.environ.update(NUMBA_CACHE_DIR=tempfile.mkdtemp(), FCS_EDGE_COMPILED="off")

import argparse
import atexit
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from itertools import count, product
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import native_library
import numpy as np
import wasm_ir
import wasm_module
from llvmlite import ir
from numba.core import compiler, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target
from numba.np import arrayobj, numpy_support

from fcs_edge.files import creating
from fcs_edge.kernels.gemm import grouped_products, peak, products
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import SETS, WASM, Instructions
from fcs_edge.kernels.isa.targets import COMPILED, MODULES, ORACLE, TARGETS, Target
from fcs_edge.kernels.ops import attention, code_search, depthwise, spectrum, whole_attention
from fcs_edge.kernels.runtime import aot_library, thread_team_code

# Numba has no types.
numba_compiler: Any = compiler
numba_arrays: Any = arrayobj

SIGNATURES = {
    "gemm.peak.read": "f1 int -> float",
    "gemm.packing.group_sums": "b2 int h2w",
    "gemm.packing.pack_float": "f2 f3w",
    "gemm.packing.pack_half": "H2 H3w",
    "gemm.packing.pack_int4": "B2 int int int int int B1w",
    "gemm.packing.pack_int8": "b2 int int int b1w",
    "gemm.quantized_weights.best_int4": "f2 f3 int f2w B2w",
    "ops.attention.position_gate": "f2 f2 f1 f1 f2w",
    "ops.binary.codes": "H1 f2w",
    "ops.binary.normalize": "f2 f2w",
    "ops.binary.quantize": "f2 H1w",
    "ops.code_search.join": "f2 f2 f2w",
    "ops.code_search.rectify": "f2w",
    "ops.dynamic_tanh.dynamic_tanh": "f2 float f2w",
    "ops.focal.aggregate": "f2 f2 int f2w f2w",
    "ops.focal.add_rows": "f2 d1w",
    "ops.focal.aggregate_row": "f1 f2 int f2w",
    "ops.focal.divide": "f2w float",
    "ops.focal.global_context": "d1 int f1w",
    "ops.focal.modulate": "f2w f2",
    "ops.fourier.inverse_real": "f2 l1 f2 f4w f2w",
    "ops.gelu.gelu": "f2 f2w",
    "ops.history.copy": "f2 f2w",
    "ops.history.duplicate": "l1 l1w",
    "ops.history.append": "f2 int l1w f3w",
    "ops.history.keep_last": "f3w int int",
    "ops.history.write": "f2 f2w int",
    "ops.layer_norm.layer_norm": "f2 f1 f1 float f2w",
    "ops.layer_norm.layer_norm_gelu": "f2 f1 f1 float f2w",
    "ops.network_coder.code_with_network": (
        "H1w B1 bool int b2 h2 b2 b2 h2 i2 h2 H1 i2w l1w h1w h1w i1w l1w B1w"
    ),
    "ops.neighbours.cosines": "f2 f2 f1 f2w",
    "ops.neighbours.gather": "f2 l2 f3w",
    "ops.neighbours.gather_half": "H2 l2 f3w",
    "ops.neighbours.gather_int8": "b2 f1 f2 l2 f3w",
    "ops.neighbours.inverse_norms": "f2 float f1w",
    "ops.neighbours.largest": "f2 f1w l2w",
    "ops.neighbours.mean_of_nearest": "f2 f3 f1 l2 f1w l1w f2w",
    "ops.neutral_coder.code_neutrally": "H1w B1 bool int H1 i2w i1w l1w B1w",
    "ops.noise.append": "f2 int l1w f3w",
    "ops.resample.resample": "f1 f2 int int f1w",
    "ops.residual.add": "f2w f2",
    "ops.residual.add_scaled": "f2w f2 f1",
    "ops.samples.clip": "f1 f1w",
    "ops.samples.overlap_add": "f2 f1w f1w",
    "ops.samples.sanitize": "f1 float f1w l1w",
    "ops.snake.snake": "f2 f1 f1 f2w",
    "ops.vocos.divide_by_envelope": "f1w f1 int int f1w",
    "ops.vocos.last_columns": "f2 f1w",
    "ops.vocos.overlap_add": "f2 f1 int int f1w",
    "ops.vocos.spectra": "f2 f2w",
}
"""Argument types of each kernel: contiguous arrays, by the letter of their type and their
dimensions, and numbers. A kernel writes into those with a ``w``; to assign to others is an error of
types, but not through a pointer. It returns nothing unless ``->`` follows."""

PLAIN_SIGNATURES = {
    "gemm.linear_plain.linear_f32": "f1 int f2 f1 f2w int -> status",
    "gemm.linear_plain.linear_grouped": "f1 int b2 f1 f1 h1w f1w f2w int -> status",
    "gemm.linear_plain.linear_int4": "f1 int B2 f2 f1 int b1w f1w i1w f2w int -> status",
    "gemm.linear_plain.linear_int8": "f1 int b2 f1 f1 h1w f2w int -> status",
    "ops.attention_plain.attend": "f2 f2 f2 f4w f4w l1w f2w f2w -> status",
    "ops.depthwise.depthwise": "f2 f2w l1w f2 f1 f2w -> status",
    "ops.whole_attention_plain.attend_whole": "f2 f2 f2 f4 f4 int f2w f2w f2w f2w -> status",
}
"""The same of kernels that only tests call. No program calls one that returns a ``status``: Python
runs between plain loops."""

_NOT_STREAMED = (
    *("gemm.packing.", "gemm.peak.", "gemm.quantized_weights."),
    *("ops.focal.add_rows", "ops.focal.aggregate_row", "ops.focal.global_context"),
    *("ops.gelu.", "ops.history.duplicate", "ops.neighbours.", "ops.network_coder."),
    *("ops.neutral_coder.", "ops.resample.", "ops.vocos.divide_by_envelope"),
    *("ops.vocos.overlap_add", "ops.whole_attention."),
)
"""What names of kernels start with that no stream calls: those of whole signals, packing, tests."""

_ARRAY = re.compile(r"([fdHbBhil])([1-4])(w?)")
_NUMBERS = {"int": types.int64, "float": types.float32, "bool": types.boolean}
_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_PASSED = {"int": _I64, "float": ir.FloatType(), "bool": _I8}
_POINTER = _I8.as_pointer()
_BASES, _WORDS = _POINTER.as_pointer(), _I64.as_pointer()
_ADAPTER = ir.FunctionType(ir.VoidType(), [_BASES, _WORDS])
_RAW = "fcsk_"
"""What names of raw functions start with."""
_SHARED = "epilogue", "quantize_activations", "gelu_row"
"""What names of functions hold that many kernels call: one copy of each is enough."""
_FREE = "NRT_MemInfo_call_dtor"
EXPORTED = "fcs_kernels", "fcs_kernel_types", "fcs_n_kernels", "fcs_kernels_id"
"""Symbols of a C library's kernels: table of adapters, texts of types, number of both, identity."""
_FROM_LIBC = {"memcpy", "memset", "memmove"} | thread_team_code.LIBC


def built_kernels(using: Instructions) -> Iterator[tuple[str, Any, str]]:
    """List the kernels built for a set of instructions: name, function, argument types."""
    lanes = using.lanes
    # WebAssembly has no half floats.
    halves, rings = ((False,), "f") if using is WASM else ((False, True), "fH")
    for half in halves:
        weight = "H" if half else "f"
        for n in (using.float_vectors, 1):
            multiply = products.linear_float(lanes, n, half)
            yield (
                f"gemm.products.linear_float{lanes, n, half}",
                multiply,
                f"f1 int {weight}3 f1 f2w int int int int",
            )
        for ring in rings:
            kinds = lanes, depthwise.VECTORS, half, ring == "H"
            yield (
                f"ops.depthwise.depthwise_panels{kinds}",
                depthwise.depthwise_panels(*kinds),
                f"f2 {ring}3w l1w {weight}3 f1 f2w int int",
            )
        # For windows and head sizes of any number from the lanes of a register on.
        for keys in attention.key_choices(using):
            for values in attention.value_choices(using):
                yield _attention((lanes, keys, lanes, values, half))
        yield from _whole_attention(using, half)
    search = code_search.shape(using)
    yield (
        f"ops.code_search.search{search}",
        code_search.search(*search),
        "f2 f2 f2 f1 f3 f1 float int int int f2w f4w f2w l2w l1w f1w f1w f1w f2w f2w f2w",
    )
    yield (
        "ops.spectrum.log_bands()",
        spectrum.log_bands(),
        "f1 int f1 l1 f2 f2 l2 float float f1w f3w f2w",
    )
    for vectors, integers in (
        (using.int8_panels, (8, using.int8_lanes, using.int8_dot.number)),
        (using.int4_panels, (4, using.int4_lanes, using.int4_dot.number)),
    ):
        bits, integer_lanes, dot = integers
        weight, scale = ("b1", "f1") if bits == 8 else ("B1", "f2" if using is WASM else "H2")
        for n in vectors:
            shape = bits, integer_lanes, n, dot
            types_ = f"f1 int {weight} {scale} f1 int int b1w f2w int int int int"
            yield f"gemm.products.linear_integer{shape}", products.linear_integer(*shape), types_
    for grouped_lanes, n, which in products.grouped(using):
        grouped = grouped_lanes, n, which.number
        types_ = "f1 int b1 h1 f1 f1 int b1w f2w int int int int"
        name = f"gemm.grouped_products.linear_grouped{grouped}"
        yield name, grouped_products.linear_grouped(*grouped), types_
    for bits in (32, 8, 4):
        yield _multiplier(using, bits)


def _multiplier(using: Instructions, bits: int) -> tuple[str, Any, str]:
    """Return the kernel that finds the peak of multiply-accumulates."""
    arguments = peak.multiplier_arguments(using, bits)
    dtypes = peak.multiplier_dtypes(peak.integer_dot(using, bits))
    factor, total = (np.dtype(dtype).char for dtype in dtypes)
    return f"gemm.peak.multiply{arguments}", peak.multiply(*arguments), f"{factor}1 int {total}1w"


def _attention(panels: tuple[int, int, int, int, bool]) -> tuple[str, Any, str]:
    attend, ring = attention.attend_panels(*panels), "H" if panels[-1] else "f"
    types_ = f"f2 f2 f2 {ring}4w {ring}4w l1w f2w f2w int int"
    return f"ops.attention.attend_panels{panels}", attend, types_


def _whole_attention(using: Instructions, half: bool) -> Iterator[tuple[str, Any, str]]:
    stored = "H" if half else "f"
    for values in attention.value_choices(using):
        yield _blocks(using, (using.lanes, values), half)
    store = whole_attention.store_rows(half)
    yield f"ops.whole_attention.store_rows{(half,)}", store, f"f2 int {stored}4w {stored}4w"


def _blocks(using: Instructions, columns: tuple[int, int], half: bool) -> tuple[str, Any, str]:
    panels = *whole_attention.key_panel(using), *columns, half
    attend, stored = whole_attention.attend_blocks(*panels), "H" if half else "f"
    types_ = f"f2 f2 f2 {stored}4 {stored}4 int f2w f2w f2w f2w int int"
    return f"ops.whole_attention.attend_blocks{panels}", attend, types_


def export_kernels(using: Instructions) -> list[tuple[str, str]]:
    """List the kernels that streams of any model may call, by name, with their types."""
    listed = (*named_kernels(SIGNATURES), *built_kernels(using))
    return sorted((n, types_) for n, _, types_ in listed if not n.startswith(_NOT_STREAMED))


def kernels_id(listed: list[tuple[str, str]]) -> bytes:
    """Return what identifies the kernels of a C library: 8 bytes of names, types and sources."""
    return hashlib.sha256(json.dumps([listed, aot_library.sources_hash()]).encode()).digest()[:8]


def tested_kernels(best: Instructions) -> Iterator[tuple[str, Any, str]]:
    """List what only tests call: plain loops, and the sets below the best one of a CPU."""
    yield from named_kernels(PLAIN_SIGNATURES)
    for using in SETS[SETS.index(best) :]:
        if using.machines == best.machines:
            yield from built_kernels(using)
            # Heads of one column.
            for half, keys in product((False, True), attention.key_choices(using)):
                yield _attention((using.lanes, keys, 1, 1, half))
            yield from (_blocks(using, (1, 1), half) for half in (False, True))


def named_kernels(signatures: dict[str, str]) -> Iterator[tuple[str, Any, str]]:
    """List kernels by name."""
    for name, types_ in signatures.items():
        module, _, function = name.rpartition(".")
        yield name, getattr(import_module(f"fcs_edge.kernels.{module}"), function), types_


def emit(using: Instructions, for_tests: bool = False) -> tuple[str, set[str]]:
    """Return the IR of a library for a set of instructions, and the symbols that it exports."""
    listed = [*named_kernels(SIGNATURES), *built_kernels(using)]
    if for_tests:
        listed += tested_kernels(using)
    context = cpu_target.target_context
    _keep_out_of_engine(context.codegen())
    code = context.codegen().create_library(using.name)
    module = code.create_ir_module(using.name)
    kernels: dict[str, tuple[str, list[str], str, int]] = {}
    adapters: list[ir.Function] = []
    for name, function, types_ in listed:
        if name in kernels:
            continue
        arguments, _, returned = types_.partition(" -> ")
        symbol, kinds = f"fcs_{len(kernels)}", arguments.split()
        raw, library = _raw(context, module, function, f"{_RAW}{len(kernels)}", kinds, returned)
        code.add_linking_library(library)
        _emit_wrapper(raw, symbol, kinds, returned)
        kernels[name] = symbol, kinds, returned or "none", -1 if returned else len(adapters)
        if not returned:
            adapters.append(_emit_adapter(raw, kinds))
    # Numba calls this to free an array; no kernel owns one.
    freed = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER]), _FREE)
    ir.IRBuilder(freed.append_basic_block()).ret_void()
    _emit_run(module, _emit_table(module, aot_library.TABLE, adapters))
    _emit_export(module, using, {name: adapters[n] for name, (*_, n) in kernels.items() if n >= 0})
    architectures = (t.architecture for t in (*TARGETS, ORACLE) if t.using is using)
    team_functions = thread_team_code.emit(module, next(architectures, platform.machine()))
    manifest = json.dumps({"sources": aot_library.sources_hash(), "kernels": kernels})
    _constant(module, aot_library.MANIFEST, _text(manifest))
    code.add_ir_module(module)
    code.finalize()
    exported = {symbol for symbol, *_ in kernels.values()} | {
        *(aot_library.MANIFEST, aot_library.TABLE, aot_library.RUN),
        *team_functions,
    }
    return code.get_llvm_str(), exported


def _keep_out_of_engine(codegen: Any) -> None:
    """Let Numba's engine make no machine code of what may be for another CPU than this one."""
    add = type(codegen)._add_module

    def add_what_runs_here(module: Any) -> None:
        if not re.search(r"@llvm\.(aarch64|x86|wasm)\.", str(module)):
            add(codegen, module)

    codegen._add_module = add_what_runs_here


def _raw(
    context: Any, module: ir.Module, function: Any, symbol: str, types_: list[str], returned: str
) -> tuple[ir.Function, Any]:
    """Emit ``symbol(pointers, sizes, numbers)``; return it, and the library that it calls.

    An array is its address and its sizes. Wrapper and adapter call this function, and nothing is
    inlined into them: with sizes that it knows, LLVM would compile the kernel once more.
    """
    flags = numba_compiler.Flags()
    function.targetdescr.options.parse_as_flags(flags, function.targetoptions)
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    kinds = [_type(t) for t in types_]
    compiled = numba_compiler.compile_extra(
        cpu_target.typing_context, context, function.py_func, kinds, None, flags, {}
    )
    inner_type = context.call_conv.get_function_type(
        compiled.fndesc.restype, compiled.fndesc.argtypes
    )
    inner = ir.Function(module, inner_type, compiled.fndesc.llvm_func_name)
    passed: list[ir.Type] = []
    for kind, t in zip(kinds, types_, strict=True):
        is_array = isinstance(kind, types.Array)
        passed += [_POINTER, *[_I64] * kind.ndim] if is_array else [_PASSED[t]]
    result = _PASSED.get(returned, ir.VoidType())
    raw = ir.Function(module, ir.FunctionType(result, passed), symbol)
    b = ir.IRBuilder(raw.append_basic_block())
    values = iter(raw.args)
    arguments = []
    for kind, t in zip(kinds, types_, strict=True):
        value = next(values)
        if isinstance(kind, types.Array):
            shape = [next(values) for _ in range(kind.ndim)]
            arguments.append(_array(context, b, kind, value, shape))
        else:
            arguments.append(b.trunc(value, ir.IntType(1)) if t == "bool" else value)
    _, value = context.call_conv.call_function(
        b, inner, compiled.fndesc.restype, compiled.fndesc.argtypes, arguments
    )
    if returned in _PASSED:
        b.ret(value)
    else:
        b.ret_void()
    return raw, compiled.library


def _emit_wrapper(raw: ir.Function, symbol: str, types_: list[str], returned: str) -> None:
    """Emit ``symbol(...)``, which takes array objects.

    It returns the kernel's result, or 0; for an array of another type or shape, its number.
    """
    result = _PASSED.get(returned, _I32)
    kind = ir.FunctionType(result, [_PASSED.get(t, _POINTER) for t in types_])
    wrapper = ir.Function(raw.module, kind, symbol)
    b = ir.IRBuilder(wrapper.append_basic_block())
    values: list[ir.Value] = []
    for number, (argument, t) in enumerate(zip(wrapper.args, types_, strict=True), 1):
        if t in _PASSED:
            values.append(argument)
        else:
            values += _checked(b, argument, _type(t), ir.Constant(result, number))
    value = b.call(raw, values)
    b.ret(value if returned in _PASSED else _I32(0))


def _emit_adapter(raw: ir.Function, types_: list[str]) -> ir.Function:
    """Emit ``adapter(bases, words)``, which calls with arguments in words.

    An array is a base's number, an offset in bytes, and its sizes. A float is in the low half.
    """
    adapter = ir.Function(raw.module, _ADAPTER, raw.name.replace(_RAW, _RAW + "adapter_"))
    adapter.linkage = "internal"
    bases, words = adapter.args
    b = ir.IRBuilder(adapter.append_basic_block())
    at = count()

    def word() -> ir.Value:
        return b.load(b.gep(words, [_I64(next(at))]))

    values: list[ir.Value] = []
    for t in types_:
        if t == "float":
            values.append(b.bitcast(b.trunc(word(), _I32), ir.FloatType()))
        elif t in _PASSED:
            values.append(b.trunc(word(), _I8) if t == "bool" else word())
        else:
            base = b.load(b.gep(bases, [word()]))
            values.append(b.gep(base, [word()]))
            values += [word() for _ in range(_type(t).ndim)]
    b.call(raw, values)
    b.ret_void()
    return adapter


def _constant(module: ir.Module, name: str, value: ir.Constant) -> ir.GlobalVariable:
    """Emit a named constant."""
    held = ir.GlobalVariable(module, value.type, name)
    held.initializer, held.global_constant = value, True
    return held


def _text(text: str) -> ir.Constant:
    data = bytearray(text.encode() + b"\0")
    return ir.Constant(ir.ArrayType(_I8, len(data)), data)


def _emit_table(module: ir.Module, name: str, adapters: list[ir.Function]) -> ir.GlobalVariable:
    """Emit a table of adapters."""
    kind = ir.ArrayType(_ADAPTER.as_pointer(), len(adapters))
    return _constant(module, name, ir.Constant(kind, adapters))


def _emit_export(module: ir.Module, using: Instructions, adapters: dict[str, ir.Function]) -> None:
    """Emit what the C library has beside the kernels: their table, types and identity."""
    listed = export_kernels(using)
    names, texts, n, identity = EXPORTED
    _emit_table(module, names, [adapters[name] for name, _ in listed])
    pointers = []
    for i, (_, types_) in enumerate(listed):
        text = _constant(module, f"{texts}_{i}", _text(types_))
        pointers.append(text.bitcast(_POINTER))
    kind = ir.ArrayType(_POINTER, len(listed))
    _constant(module, texts, ir.Constant(kind, pointers))
    _constant(module, n, _I64(len(listed)))
    data = bytearray(kernels_id(listed))
    _constant(module, identity, ir.Constant(ir.ArrayType(_I8, len(data)), data))


def _emit_run(module: ir.Module, table: ir.GlobalVariable) -> None:
    """Emit ``run(words, n, bases)``, which makes the calls of a program.

    Each is a kernel's number in the table, how many words its arguments have, and these words.
    """
    parameters = [_WORDS, _I64, _BASES]
    kind = ir.FunctionType(ir.VoidType(), parameters)
    function = ir.Function(module, kind, aot_library.RUN)
    words, n, bases = function.args
    start, test, body, done = (function.append_basic_block() for _ in range(4))
    b = ir.IRBuilder(start)
    b.branch(test)
    b.position_at_end(test)
    at = b.phi(_I64)
    b.cbranch(b.icmp_signed("<", at, n), body, done)
    b.position_at_end(body)
    call = b.gep(words, [at])
    adapter = b.load(b.gep(table, [_I64(0), b.load(call)]))
    b.call(adapter, [bases, b.gep(call, [_I64(2)])])
    following = b.add(at, b.add(b.load(b.gep(call, [_I64(1)])), _I64(2)))
    at.add_incoming(_I64(0), start)
    at.add_incoming(following, body)
    b.branch(test)
    b.position_at_end(done)
    b.ret_void()


def _type(text: str) -> Any:
    match = _ARRAY.fullmatch(text)
    if match is None:
        return _NUMBERS[text]
    letter, dimensions, written = match.groups()
    dtype = numpy_support.from_dtype(np.dtype(letter))
    return types.Array(dtype, int(dimensions), "C", readonly=not written)


def _checked(b: ir.IRBuilder, address: ir.Value, kind: Any, refused: ir.Constant) -> list[ir.Value]:
    """Emit address and sizes of an array object; refuse another type by returning `refused`."""

    def field(at: int, of: ir.Type, base: ir.Value = address) -> ir.Value:
        return b.load(b.bitcast(b.gep(base, [_I64(at)]), of.as_pointer()))

    letter = numpy_support.as_dtype(kind.dtype).char
    dimensions = b.icmp_signed("==", field(aot_library.NDIM, _I32), _I32(kind.ndim))
    needed = _I32(aot_library.READABLE | (aot_library.WRITEABLE if kind.mutable else 0))
    usable = b.icmp_signed("==", b.and_(field(aot_library.FLAGS, _I32), needed), needed)
    # The letter of a type, and that of its byte order.
    order = np.dtype(letter).byteorder
    described = field(aot_library.TYPE, _POINTER)
    characters = field(aot_library.TYPE_CHARACTER, ir.IntType(16), described)
    expected = ir.Constant(ir.IntType(16), ord(letter) | ord(order) << 8)
    typed = b.icmp_signed("==", characters, expected)
    with b.if_then(b.not_(b.and_(b.and_(dimensions, usable), typed)), likely=False):
        b.ret(refused if refused.type == _I32 else ir.Constant(refused.type, 0))
    sizes = field(aot_library.SHAPE, _I64.as_pointer())
    shape = [b.load(b.gep(sizes, [_I64(i)])) for i in range(kind.ndim)]
    return [field(aot_library.DATA, _POINTER), *shape]


def _array(
    context: Any, b: ir.IRBuilder, kind: Any, address: ir.Value, shape: list[ir.Value]
) -> ir.Value:
    """Emit Numba's array of a contiguous array at an address."""
    item = _I64(numpy_support.as_dtype(kind.dtype).itemsize)
    strides = [item]
    for size in reversed(shape[1:]):
        strides.insert(0, b.mul(strides[0], size))
    array = context.make_array(kind)(context, b)
    data = b.bitcast(address, array.data.type)
    numba_arrays.populate_array(
        array, data=data, shape=shape, strides=strides, itemsize=item, meminfo=None
    )
    return array._getvalue()


def optimized(target: Target, text: str, exported: set[str], emit: str) -> Any:
    """Optimise IR for a CPU, and return what a method of LLVM's machine emits."""
    machine, module = _optimized_module(target, text, exported)
    return getattr(machine, emit)(module)


def _optimized_module(target: Target, text: str, exported: set[str]) -> tuple[Any, Any]:
    """Optimise IR for a CPU; return LLVM's machine, and the module."""
    is_wasm = target.architecture == "wasm32"
    reloc, codemodel = ("static", "default") if is_wasm else ("pic", "small")
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc=reloc, codemodel=codemodel
    )
    text = re.sub(r'target triple = ".*"', f'target triple = "{target.triple}"', text)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    for name, kind in (("sqrtf", "f32"), ("sqrt", "f64")):
        text = re.sub(rf"@{name}\(", f"@llvm.sqrt.{kind}(", text)
    text = wasm_ir.translated(target, text) if is_wasm else text
    text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)
    text = re.sub(r"\b(noinline|optnone)\b", "", text)
    text = re.sub(r"attributes (#\d+) = \{\s*\}", r"attributes \1 = { nounwind }", text)
    module = llvm.parse_assembly(_never_inlined(text))
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
        sys.exit(f"compile_kernels: kernels call unknown functions: {', '.join(unknown)}")
    if re.search(r"inttoptr \(i64 \d{5,}", str(module)):
        sys.exit("compile_kernels: a kernel holds an address of this process")
    if wasm_ir.is_relaxed(target):
        module = llvm.parse_assembly(wasm_ir.strict_selects(str(module)))
        if inexact := wasm_ir.inexact(machine.emit_assembly(module)):
            sys.exit(f"compile_kernels: results depend on the engine: {', '.join(inexact)}")
    return machine, module


def _never_inlined(text: str) -> str:
    """Return IR whose raw functions, and those of `_SHARED`, are inlined into none."""
    names = rf'{_RAW}\d|[^"(\s]*(?:{"|".join(_SHARED)})'
    head = rf'^(define [^\n]*@"?(?:{names})[^\n]*\)(?: (?:local_)?unnamed_addr)?)'
    return re.sub(head, r"\1 noinline", text, flags=re.M)


def _part(machine: Any, module: Any, exported: set[str]) -> bytes:
    """Return the object file of what some symbols need; the others are not seen outside."""
    part = module.clone()
    for value in (*part.functions, *part.global_variables):
        if value.is_declaration or value.linkage == llvm.Linkage.internal:
            continue
        if value.name not in exported:
            value.linkage = "internal"
        elif value.name in EXPORTED:
            value.visibility = "hidden"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(part, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    compiled: bytes = machine.emit_object(part)
    return compiled


def _link(target: Target, compiled: bytes, folder: Path) -> Path:
    """Write the library of a CPU; a failure leaves no partial file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}.so"
    options = ("-shared", "-s", "--gc-sections", "-z", "noexecstack")
    with tempfile.TemporaryDirectory() as work:
        part, linked = Path(work) / "kernels.o", Path(work) / path.name
        part.write_bytes(compiled)
        subprocess.run([native_library.linker(target), *options, "-o", linked, part], check=True)
        data = linked.read_bytes()
    with creating(path) as library, creating(aot_library.record_of(path)) as record:
        library.write(data)
        record.write(aot_library.record(data, aot_library.sources_hash()))
    return path


def _build_modules(text: str, folder: Path) -> None:
    """Write the WebAssembly modules; a model file fits both."""
    start, listed = time.perf_counter(), export_kernels(WASM)
    names = set(EXPORTED)
    kernels = {t.name: _part(*_optimized_module(t, text, names), names) for t in MODULES}
    built = wasm_module.build(kernels, listed, kernels_id(listed), folder)
    sizes = ", ".join(f"{path.stat().st_size / 1e3:.0f} KB" for path in built.glob("*.wasm"))
    print(f"{built}: {sizes}, {time.perf_counter() - start:.0f} s", flush=True)


def _build_export(target: Target, kernels: bytes, folder: Path) -> None:
    """Write the C library of a CPU."""
    start, listed = time.perf_counter(), export_kernels(target.using)
    built = native_library.build(target, kernels, listed, kernels_id(listed), folder)
    seconds, size = time.perf_counter() - start, (built / native_library.SHARED).stat().st_size
    print(f"{built}: {size / 1e6:.2f} MB, {seconds:.0f} s", flush=True)


def main() -> None:
    """Compile the requested libraries."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [target.name for target in COMPILED if target is not MODULES[1]]
    parser.add_argument("--target", action="append", choices=names, help="default: those of wheels")
    parser.add_argument("--tests", action="store_true", help="add what only tests call")
    parser.add_argument("--without-c", action="store_true", help="build no C libraries")
    parser.add_argument("folder", nargs="?", type=Path, default=aot_library.FOLDER)
    options = parser.parse_args()
    atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"])
    # Code which is not optimised yet cannot be cached.
    warnings.simplefilter("ignore", NumbaWarning)
    warnings.simplefilter("ignore", aot_library.KernelWarning)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    requested = options.target or [target.name for target in TARGETS]
    chosen = [t for t in COMPILED if t.name in requested]
    for using in {t.using.name: t.using for t in chosen}.values():
        start = time.perf_counter()
        with global_compiler_lock, instructions.emitting(using):
            text, exported = emit(using, options.tests)
        print(f"{using.name}: emitted in {time.perf_counter() - start:.0f} s", flush=True)
        if MODULES[0] in chosen and using is WASM:
            _build_modules(text, options.folder)
        for target in (t for t in chosen if t.using is using and t not in MODULES):
            start = time.perf_counter()
            with_c = target in TARGETS and not (options.tests or options.without_c)
            visible = exported | set(EXPORTED) if with_c else exported
            machine, module = _optimized_module(target, text, visible)
            path = _link(target, _part(machine, module, exported), options.folder)
            seconds = time.perf_counter() - start
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s", flush=True)
            if with_c:
                _build_export(target, _part(machine, module, set(EXPORTED)), options.folder)


if __name__ == "__main__":
    main()
