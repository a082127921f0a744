"""CPUs that kernels are compiled for ahead of time: one record each.

`scripts/compile_kernels.py` builds a library for each, and `runtime.aot_library` loads the one
that fits. The Makefile's `TARGETS` names the same libraries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import AVX2, DOTPROD, NEON, VNNI, WASM, Flags, Instructions


@dataclass(frozen=True)
class Target:
    """A kind of CPU."""

    name: str
    """Of the library, without its suffix."""
    using: Instructions
    architecture: str
    """As `platform.machine()` names it on Linux."""
    flags: Flags
    """What the CPU must have, in Linux's words."""
    cpu: str
    """What LLVM compiles for."""
    features: str = ""
    """LLVM's features beyond those of the CPU."""
    parts: frozenset[str] = frozenset()
    """Part numbers of the ARM cores; empty: any."""

    @property
    def triple(self) -> str:
        """LLVM's name for the system."""
        if self.architecture == "wasm32":
            return "wasm32-unknown-unknown"
        return f"{self.architecture}-unknown-linux-gnu"


_V3 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}
_ARM_V8_2 = frozenset({"asimddp", "atomics", "fphp", "asimdhp"})
_CRC = frozenset({"crc32"})

TARGETS = (
    Target("x86-64-v3", AVX2, "x86_64", _V3, "x86-64-v3"),
    # LLVM uses no registers of 512 bits for this CPU unless told to.
    Target(*("x86-64-v4-vnni", VNNI, "x86_64", _V4, "x86-64-v4"), "+avx512vnni,-prefer-256-bit"),
    Target("cortex-a76", DOTPROD, "aarch64", _ARM_V8_2, "cortex-a76"),
    Target("cortex-a72", NEON, "aarch64", _CRC, "cortex-a72", parts=frozenset({"0xd08"})),
    Target("cortex-a53", NEON, "aarch64", _CRC, "cortex-a53"),
)
"""Of those that a wheel has and that fit a CPU, the first is the best."""

_SIMD128 = "+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext,+mutable-globals"
_V2 = frozenset({"ssse3", "sse4_1", "sse4_2", "popcnt"})

MODULES = (
    Target("wasm", WASM, "wasm32", frozenset({"simd128"}), "generic", _SIMD128),
    Target(
        *("wasm-relaxed", WASM, "wasm32", frozenset({"relaxed-simd"}), "generic"),
        f"{_SIMD128},+relaxed-simd",
    ),
)
"""WebAssembly: no CPU has these flags."""

ORACLE = Target("x86-64-v2-wasm", WASM, "x86_64", _V2, "x86-64-v2")
"""Computes the bits of `MODULES`: tests compare with it, and no wheel has it."""

COMPILED = (*TARGETS, *MODULES, ORACLE)
"""All that `scripts/compile_kernels.py` compiles for."""


def named(name: str) -> Target:
    """Return a target of `COMPILED` by its name."""
    return next(target for target in COMPILED if target.name == name)


def fitting() -> Target | None:
    """Return the target for this CPU and the chosen instructions, None where there is none."""
    flags, choice = instructions.cpu_flags(), instructions.CHOICE
    if os.environ.get(instructions.TRACE):
        # Only packing runs, and that in the best library.
        choice = instructions.of_this_cpu()[0].name
    for target in (*TARGETS, ORACLE):
        is_part = not target.parts or instructions.cpu_part() in target.parts
        if target.using.name == choice and flags >= target.flags and is_part:
            return target
    return None
