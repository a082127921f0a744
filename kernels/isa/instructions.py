"""Which vector instructions the kernels use: chosen by the CPU, or by the environment."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

VARIABLE = "FCS_EDGE_KERNELS"
"""Environment variable that forces one of `available()`."""

Dot = Literal["vpdpbusd", "pmaddwd", "sdot", "smlal"]
DOTS: tuple[Dot, ...] = ("vpdpbusd", "pmaddwd", "sdot", "smlal")
"""By number: kernels are told apart by the numbers in them."""
DEPTH: dict[Dot, int] = {"vpdpbusd": 4, "pmaddwd": 2, "sdot": 4, "smlal": 1}
"""Integer products that one lane sums."""

Int4Dot = Literal["vpdpbusd", "pmaddubsw", "sdot", "mla"]
INT4_DOTS: tuple[Int4Dot, ...] = ("vpdpbusd", "pmaddubsw", "sdot", "mla")
INT4_DEPTH: dict[Int4Dot, int] = {"vpdpbusd": 4, "pmaddubsw": 4, "sdot": 4, "mla": 1}
"""Products with 4-bit weights that one lane sums."""

NARROW: dict[Int4Dot, int] = {"pmaddubsw": 8, "mla": 16}
"""Steps whose sums int16 holds: a step adds two products of 15 * 127 at most, or one."""

SPLIT = frozenset({"vpdpbusd", "sdot"})
"""What takes an activation of 12 bits in two parts of 8."""

BY_LANE = frozenset({"sdot", "smlal", "mla"})
"""What can take one factor from any lane of a register, or from one moved out of it."""


@dataclass(frozen=True)
class Instructions:
    """How matrix products are cut up for one kind of CPU.

    Sums of four rows, a vector of each weight and one of activations stay in registers: AVX2 and
    SSE have 16 of them, AVX-512 and NEON 32.
    """

    name: str
    lanes: int
    """Float32 numbers in a register."""
    float_vectors: int
    """Registers across a wide panel of float weights."""
    int8_lanes: int
    """Int32 sums that one operation on integers makes, in one register or two."""
    int8_vectors: int
    """Such operations across a wide panel of integer weights: 1, 2 or 4."""
    int8_dot: Dot
    """What multiplies integers."""
    int4_lanes: int
    """Int32 sums that one operation on 4-bit weights makes."""
    int4_vectors: int
    """Such operations across a wide panel of 4-bit weights: an even number."""
    int4_dot: Int4Dot
    """What multiplies 4-bit weights."""
    half: bool
    """Whether float16 can be widened in registers."""

    @property
    def int8_depth(self) -> int:
        """Integer products summed into one lane by one step."""
        return DEPTH[self.int8_dot]


VNNI = Instructions("vnni", 16, 4, 16, 2, "vpdpbusd", 16, 2, "vpdpbusd", half=True)
AVX512 = Instructions("avx512", 16, 4, 16, 4, "pmaddwd", 16, 2, "pmaddubsw", half=True)
AVX2 = Instructions("avx2", 8, 3, 8, 2, "pmaddwd", 8, 2, "pmaddubsw", half=True)
SSE2 = Instructions("sse2", 4, 2, 4, 2, "pmaddwd", 8, 2, "mla", half=False)
DOTPROD = Instructions("dotprod", 4, 4, 4, 2, "sdot", 4, 4, "sdot", half=True)
NEON = Instructions("neon", 4, 4, 8, 2, "smlal", 8, 2, "mla", half=True)
GENERIC = Instructions("generic", 4, 4, 8, 2, "smlal", 8, 2, "mla", half=False)

PLAIN = "plain"
"""Plain loops, which every CPU runs and the tests compare with."""


@cache
def supported() -> tuple[Instructions, ...]:
    """Return the sets that this CPU has, the best first."""
    machine = platform.machine().lower()
    flags = cpu_flags()
    if machine in ("x86_64", "amd64"):
        sets = [SSE2]
        if flags >= {"avx2", "fma", "f16c"}:
            sets.insert(0, AVX2)
            if flags >= {"avx512f", "avx512bw"}:
                sets.insert(0, AVX512)
                if flags & {"avx512vnni", "avx512_vnni"}:
                    sets.insert(0, VNNI)
        return tuple(sets)
    if machine in ("aarch64", "arm64"):
        return (DOTPROD, NEON) if _has_dotprod(flags) else (NEON,)
    return (GENERIC,)


_DOTPROD_PARTS = {"0xd05", "0xd0a", "0xd0b", "0xd0c"}
"""Cortex-A55, A75, A76, Neoverse N1."""


def _has_dotprod(flags: frozenset[str]) -> bool:
    if "dotprod" in flags or ("asimddp" in flags and cpu_part() in _DOTPROD_PARTS):
        return True
    if "asimddp" not in flags:
        return False
    import llvmlite.binding as llvm

    # LLVM does not name them on every version, but makes code for every core it knows.
    return bool(llvm.get_host_cpu_name() != "generic")


@cache
def cpu_flags() -> frozenset[str]:
    """Return what the CPU can do, in Linux's words, or in LLVM's where there is no Linux."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.M)
    if match:
        return frozenset(match[1].split())
    import llvmlite.binding as llvm

    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def cpu_part() -> str | None:
    """Return the number that an ARM core says it is, where Linux tells."""
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
"""The name of the set in use, or `PLAIN`; anything else is refused when a model is loaded."""


def chosen() -> Instructions:
    """Return the set in use; the best one where plain loops, or something unknown, are chosen."""
    return next((s for s in supported() if s.name == CHOICE), supported()[0])
