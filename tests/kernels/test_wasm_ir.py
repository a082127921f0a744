"""Kernels of WebAssembly: one IR for three targets, and no result that depends on the engine."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest
import wasm_ir
from llvmlite import ir

from fcs_edge.kernels.isa import dot_products, instructions, simd, targets
from fcs_edge.kernels.isa.simd import FLOAT, I8, I32

PLAIN, RELAXED = targets.MODULES
CLAMP = """
define <8 x float> @clamp(<8 x float> %x, <8 x float> %most) {
  %less = fcmp olt <8 x float> %x, %most
  %low = select <8 x i1> %less, <8 x float> %x, <8 x float> %most
  %more = fcmp ogt <8 x float> %low, zeroinitializer
  %out = select <8 x i1> %more, <8 x float> %low, <8 x float> zeroinitializer
  ret <8 x float> %out
}
"""


def assembly(target: targets.Target, text: str) -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        features=target.features, opt=3, reloc="static", codemodel="default"
    )
    return str(machine.emit_assembly(llvm.parse_assembly(text)))


def dot() -> str:
    """Return IR that multiplies 4-bit weights as the set does."""
    module, four, bytes_ = ir.Module(), simd.vector(I32, 4), simd.vector(I8, 16)
    function = ir.Function(module, ir.FunctionType(four, [bytes_, bytes_, four]), "dot")
    b = ir.IRBuilder(function.append_basic_block())
    b.ret(dot_products.emit(b, instructions.PMADDWD_BYTES, *function.args))
    return str(llvm.parse_assembly(str(module)))


def test_llvm_takes_relaxed_minima_of_what_is_not_strict() -> None:
    """Otherwise `strict_selects` is of no use any more."""
    if not wasm_ir.inexact(assembly(RELAXED, CLAMP)):
        pytest.skip("this LLVM takes none")
    assert not wasm_ir.inexact(assembly(PLAIN, CLAMP))


def test_strict_selects_keep_minima() -> None:
    text = wasm_ir.strict_selects(CLAMP)
    assert text.count("select <8 x i1>") == 2
    assert "select <8 x i1> %less, <8 x i32>" in text
    assert not wasm_ir.inexact(assembly(RELAXED, text))


def test_relaxed_simd_multiplies_in_one_instruction() -> None:
    found = assembly(RELAXED, wasm_ir.translated(RELAXED, dot()))
    assert found.count("relaxed_dot_i8x16_i7x16_add_s") == 1
    assert "i32x4.dot_i16x8_s" not in found
    found = assembly(PLAIN, wasm_ir.translated(PLAIN, dot()))
    assert "relaxed" not in found
    assert found.count("i32x4.dot_i16x8_s") == 2


def test_the_set_rounds_twice() -> None:
    """A product and a sum stay two operations, whatever a CPU has."""
    for using, name in ((instructions.WASM, "fmul"), (instructions.AVX2, "fmuladd")):
        module = ir.Module()
        function = ir.Function(module, ir.FunctionType(FLOAT, [FLOAT] * 3), "f")
        b = ir.IRBuilder(function.append_basic_block())
        with instructions.emitting(using):
            b.ret(simd.multiply_add(b, *function.args))
        assert name in str(module)
        assert ("fmuladd" in str(module)) is using.fused
