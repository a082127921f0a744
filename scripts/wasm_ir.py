"""LLVM's IR of the set `WASM`, made ready for a target: the instructions of WebAssembly for x86's.

The set emits the instructions of x86-64, so that one emission serves all of its targets.
"""

from __future__ import annotations

import re

from fcs_edge.kernels.isa import dot_products
from fcs_edge.kernels.isa.targets import Target

RELAXED = "relaxed-simd"
_RELAXED_DOT = "llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed"
_EXACT = {"i32x4.relaxed_dot_i8x16_i7x16_add_s"}
"""Instructions of relaxed-simd with one result on all engines, for the factors of these kernels."""


def is_relaxed(target: Target) -> bool:
    """Return whether a target has relaxed-simd."""
    return RELAXED in target.flags


def translated(target: Target, text: str) -> str:
    """Return IR with the instructions of a target of WebAssembly, before it is optimised."""
    text = text.replace("@llvm.x86.sse2.pmadd.wd(", "@llvm.wasm.dot(")
    if not is_relaxed(target):
        return text
    four, bytes_ = "<4 x i32>", "<16 x i8>"
    # The activation comes first: the second factor must not be negative.
    body = (
        f"define linkonce_odr {four} @{dot_products.BYTES}({bytes_} %w, {bytes_} %a, {four} %s) "
        f"alwaysinline {{\n  %r = call {four} @{_RELAXED_DOT}({bytes_} %a, {bytes_} %w, {four} %s)"
        f"\n  ret {four} %r\n}}\n"
        f"declare {four} @{_RELAXED_DOT}({bytes_}, {bytes_}, {four})\n"
    )
    defined = rf"define [^\n]*@{dot_products.BYTES}\(.*?\n}}\n"
    text, found = re.subn(defined, body, text, flags=re.DOTALL)
    assert found == 1, "one function of the dot product"
    return text


def strict_selects(text: str) -> str:
    """Return optimised IR that selects float vectors as integers.

    LLVM makes relaxed minima and maxima of a comparison and a selection. Engines differ in what
    those give for zeros and NaN.
    """
    number = iter(range(1 << 30))

    def strict(match: re.Match[str]) -> str:
        result, chooses, kind, lanes, one, other = match.groups()
        name, words = f"%strict.{next(number)}", f"<{lanes} x i32>"
        return (
            f"  {name}.a = bitcast {kind} {one} to {words}\n"
            f"  {name}.b = bitcast {kind} {other} to {words}\n"
            f"  {name}.c = select {chooses}, {words} {name}.a, {words} {name}.b\n"
            f"  {result} = bitcast {words} {name}.c to {kind}"
        )

    select = r"  (%\S+) = select (?:[a-z]+ )*(<\d+ x i1> \S+), (<(\d+) x float>) (.+), \3 ([^,\n]+)"
    return re.sub(select + r"(?=,|$)", strict, text, flags=re.MULTILINE)


def inexact(assembly: str) -> set[str]:
    """Return the instructions of assembly whose results depend on the engine."""
    return set(re.findall(r"\S*relaxed_\w+", assembly)) - _EXACT
