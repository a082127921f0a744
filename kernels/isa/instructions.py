"""Instruction sets that the kernels use: one record each, chosen by the CPU or the environment.

docs/howto/add-an-instruction-set.md says how to add one. `isa.dot_products` emits what `Dot`
describes, and `isa.targets` lists the CPUs that kernels are compiled for ahead of time.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

VARIABLE = "FCS_EDGE_KERNELS"
"""Environment variable that forces one of `available()`."""

TRACE = "FCS_EDGE_TRACE"
"""Environment variable of a process that traces streams for a target: the record of its kernels.

`VARIABLE` then names the target's set, which this CPU need not have.
"""

Flags = frozenset[str]
"""What a CPU can do, in the words of Linux or of LLVM."""


class Dot(NamedTuple):
    """An instruction, or a short sequence, that adds products of integers to lanes of sums.

    ``sums[i] += sum_j weight[i * n + j] * activation[i * n + j]``, n = depth / sums_per_lane.
    """

    name: str
    depth: int
    """Products that one int32 lane receives."""
    factor_bits: int
    """Bits of a weight and of an activation: 8 or 16."""
    unsigned_weights: bool = False
    """Whether the weights are uint8; int8 weights are then stored plus 128."""
    by_lane: bool = False
    """Whether a factor comes from any lane of a register at no cost."""
    sums_per_lane: int = 1
    """Sums beside each other in one int32 lane."""
    fold_after: int = 0
    """Steps of 4-bit weights after which int16 sums must be added to int32; 0: sums are int32."""
    across: bool = False
    """Whether a register holds inputs of one output: each output has a register of sums."""

    @property
    def split(self) -> bool:
        """Whether an activation of 12 bits goes in as two parts of 8."""
        return self.factor_bits == 8

    @property
    def number(self) -> int:
        """Index in `DOTS`: kernels are told apart by the numbers in them."""
        return DOTS.index(self)


VPDPBUSD = Dot("vpdpbusd", depth=4, factor_bits=8, unsigned_weights=True)
PMADDWD = Dot("pmaddwd", depth=2, factor_bits=16)
SDOT = Dot("sdot", depth=4, factor_bits=8, by_lane=True)
SMLAL = Dot("smlal", depth=1, factor_bits=16, by_lane=True)
# 8 steps of two products, or 16 of one, each at most 15 * 127, fit into int16.
PMADDUBSW = Dot(
    "pmaddubsw", depth=4, factor_bits=8, unsigned_weights=True, sums_per_lane=2, fold_after=8
)
MLA = Dot("mla", depth=1, factor_bits=8, unsigned_weights=True, by_lane=True, fold_after=16)
# 64 products, each at most 8 * 127, fit into int16 together: those of 4 steps of an output.
SMULL = Dot("smull", depth=16, factor_bits=8, sums_per_lane=8, fold_after=4, across=True)
# Two products, each at most 127 * 127, fit into int16.
SADALP = Dot("sadalp", depth=16, factor_bits=8, across=True)

# Bytes of one parity at a time, as pairs of 16 bits.
PMADDWD_BYTES = Dot("pmaddwd_bytes", depth=4, factor_bits=8, unsigned_weights=True)

DOTS = (VPDPBUSD, PMADDWD, SDOT, SMLAL, PMADDUBSW, MLA, SMULL, SADALP, PMADDWD_BYTES)


@dataclass(frozen=True)
class Instructions:
    """How matrix products are cut up for one kind of CPU.

    Sums of four rows, a vector of each weight and one of activations stay in registers. AVX2 and
    SSE have 16 registers, AVX-512 and NEON 32.
    """

    name: str
    machines: tuple[str, ...]
    """Values of `platform.machine()` in lower case; empty: any other machine."""
    is_supported: Callable[[Flags], bool]
    """Whether a CPU of these machines with these flags has the set."""
    lanes: int
    """Float32 numbers in a register."""
    float_vectors: int
    """Registers across a wide panel of float weights."""
    int8_lanes: int
    """Int32 sums of one step with int8 weights, in one register or two."""
    int8_vectors: int
    """Such steps across a wide panel of int8 weights: 1, 2 or 4."""
    int8_dot: Dot
    """What multiplies int8 weights."""
    int4_lanes: int
    """Int32 sums of one step with 4-bit weights."""
    int4_vectors: int
    """Such steps across a wide panel of 4-bit weights: an even number."""
    int4_dot: Dot
    """What multiplies 4-bit weights."""
    half: bool
    """Whether float16 can be widened in registers."""
    grouped: tuple[int, int, Dot]
    """Of int8 weights with activations of 8 bits: int32 sums of a step, steps across a wide panel,
    what multiplies."""
    fused: bool = True
    """Whether `multiply_add` rounds once where the CPU can. False: it rounds twice everywhere."""

    @property
    def int8_panels(self) -> tuple[int, ...]:
        """Steps across the panels of int8 weights, widest first."""
        return tuple(dict.fromkeys((self.int8_vectors, 1)))

    @property
    def int4_panels(self) -> tuple[int, ...]:
        """Steps across the panels of 4-bit weights, widest first."""
        return (self.int4_vectors,) if self.int4_dot.across else (self.int4_vectors, 1)


_X86 = ("x86_64", "amd64")
_ARM = ("aarch64", "arm64")
_AVX2_FLAGS = frozenset({"avx2", "fma", "f16c"})
_AVX512_FLAGS = _AVX2_FLAGS | {"avx512f", "avx512bw"}


def _always(flags: Flags) -> bool:
    return True


def _is_named(flags: Flags) -> bool:
    return os.environ.get(VARIABLE) == "wasm"


def _has_avx2(flags: Flags) -> bool:
    return flags >= _AVX2_FLAGS


def _has_avx512(flags: Flags) -> bool:
    return flags >= _AVX512_FLAGS


def _has_vnni(flags: Flags) -> bool:
    return flags >= _AVX512_FLAGS and bool(flags & {"avx512vnni", "avx512_vnni"})


_DOTPROD_PARTS = {"0xd05", "0xd0a", "0xd0b", "0xd0c"}
"""Cortex-A55, A75, A76, Neoverse N1."""


def _has_dotprod(flags: Flags) -> bool:
    if "dotprod" in flags or ("asimddp" in flags and cpu_part() in _DOTPROD_PARTS):
        return True
    if "asimddp" not in flags:
        return False
    import llvmlite.binding as llvm

    # Some versions of LLVM do not name the CPU's flags, but generate code for every core they know.
    return bool(llvm.get_host_cpu_name() != "generic")


VNNI = Instructions(
    *("vnni", _X86, _has_vnni, 16, 4, 16, 2, VPDPBUSD, 16, 2, VPDPBUSD),
    half=True,
    grouped=(16, 2, VPDPBUSD),
)
AVX512 = Instructions(
    *("avx512", _X86, _has_avx512, 16, 4, 16, 4, PMADDWD, 16, 2, PMADDUBSW),
    half=True,
    grouped=(16, 2, PMADDWD),
)
AVX2 = Instructions(
    *("avx2", _X86, _has_avx2, 8, 3, 8, 2, PMADDWD, 8, 2, PMADDUBSW),
    half=True,
    grouped=(8, 2, PMADDWD),
)
SSE2 = Instructions(
    *("sse2", _X86, _always, 4, 2, 4, 2, PMADDWD, 8, 2, MLA), half=False, grouped=(4, 2, PMADDWD)
)
DOTPROD = Instructions(
    *("dotprod", _ARM, _has_dotprod, 4, 4, 4, 2, SDOT, 4, 4, SDOT), half=True, grouped=(4, 4, SDOT)
)
# A wide panel of int8 weights leaves too few registers.
NEON = Instructions(
    *("neon", _ARM, _always, 4, 4, 8, 1, SMLAL, 1, 4, SMULL), half=True, grouped=(4, 1, SADALP)
)
GENERIC = Instructions(
    *("generic", (), _always, 4, 4, 8, 2, SMLAL, 8, 2, MLA), half=False, grouped=(8, 2, SMLAL)
)

# WebAssembly has neither half floats nor fused multiply-add. An x86-64 CPU computes its bits, where
# the environment names it.
WASM = Instructions(
    *("wasm", _X86, _is_named, 4, 2, 4, 2, PMADDWD, 4, 2, PMADDWD_BYTES),
    half=False,
    grouped=(4, 2, PMADDWD),
    fused=False,
)

SETS = (VNNI, AVX512, AVX2, SSE2, DOTPROD, NEON, GENERIC, WASM)
"""All sets; of those that a CPU has, the first is the best."""

PLAIN = "plain"
"""Plain loops: every CPU runs them, and the tests compare with them."""


def supported() -> tuple[Instructions, ...]:
    """Return the sets that this CPU has, the best first; the target's where one is traced for."""
    if os.environ.get(TRACE):
        return tuple(s for s in SETS if s.name == os.environ.get(VARIABLE))
    return of_this_cpu()


@cache
def of_this_cpu() -> tuple[Instructions, ...]:
    """Return the sets that this CPU has, the best first, whatever the environment says."""
    machine, flags = platform.machine().lower(), cpu_flags()
    sets = tuple(s for s in SETS if machine in s.machines and s.is_supported(flags))
    return sets or (GENERIC,)


@cache
def cpu_flags() -> Flags:
    """Return what the CPU can do, in Linux's words, or in LLVM's where there is no Linux."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.M)
    if match:
        return frozenset(match[1].split())
    import llvmlite.binding as llvm

    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def cpu_part() -> str | None:
    """Return the part number of an ARM core, where Linux reports it."""
    match = re.search(r"^CPU part\s*:\s*(\S+)$", _cpuinfo(), re.M)
    return match[1] if match else None


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""


def available() -> tuple[str, ...]:
    """Return the names that the environment variable may hold."""
    return (*(s.name for s in supported()), PLAIN)


CHOICE = os.environ.get(VARIABLE) or supported()[0].name
"""The name of the set in use, or `PLAIN`; loading a model refuses any other value."""


def chosen() -> Instructions:
    """Return the set in use; the best one where the choice is `PLAIN` or unknown."""
    return next((s for s in supported() if s.name == CHOICE), supported()[0])


_emitted: Instructions | None = None


@contextmanager
def emitting(using: Instructions) -> Iterator[None]:
    """Emit kernels for a set that need not be the one in use."""
    global _emitted
    before, _emitted = _emitted, using
    try:
        yield
    finally:
        _emitted = before


def fuses() -> bool:
    """Return whether the kernels that are emitted round a product and its sum once."""
    return (_emitted or chosen()).fused
