"""Records of instruction sets and targets: complete, and chosen by a CPU's flags."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from fcs_edge.kernels.isa import dot_products, instructions, targets

ROOT = Path(__file__).parents[2]
V3 = "avx2 fma f16c bmi1 bmi2 movbe abm"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


def test_every_dot_product_has_an_emitter() -> None:
    assert sorted(dot_products._EMIT) == sorted(dot.name for dot in instructions.DOTS)


def test_the_makefile_builds_every_target() -> None:
    match = re.search(r"^TARGETS := (.+)$", (ROOT / "Makefile").read_text(), re.M)
    assert match is not None
    assert sorted(match[1].split()) == sorted(target.name for target in targets.TARGETS)


@pytest.mark.parametrize(
    ("machine", "flags", "part", "sets", "target"),
    [
        ("x86_64", "sse2", None, "sse2", None),
        ("x86_64", "avx2 fma f16c", None, "avx2 sse2", None),
        ("AMD64", V3, None, "avx2 sse2", "x86-64-v3"),
        ("x86_64", V4, None, "avx512 avx2 sse2", None),
        ("x86_64", f"{V4} avx512_vnni", None, "vnni avx512 avx2 sse2", "x86-64-v4-vnni"),
        ("x86_64", f"{V4} avx512vnni", None, "vnni avx512 avx2 sse2", None),
        ("aarch64", "asimd crc32", "0xd03", "neon", "cortex-a53"),
        ("aarch64", "asimd crc32", "0xd08", "neon", "cortex-a72"),
        ("aarch64", "asimd", "0xd08", "neon", None),
        ("arm64", "asimddp atomics fphp asimdhp", "0xd0b", "dotprod neon", "cortex-a76"),
        ("riscv64", "", None, "generic", None),
    ],
)
def test_sets_and_target_of_a_cpu(
    machine: str,
    flags: str,
    part: str | None,
    sets: str,
    target: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(instructions, "cpu_flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr(instructions, "cpu_part", lambda: part)
    supported = instructions.of_this_cpu.__wrapped__()
    assert [s.name for s in supported] == sets.split()
    monkeypatch.setattr(instructions, "CHOICE", supported[0].name)
    fitting = targets.fitting()
    assert (fitting.name if fitting else None) == target


def test_the_set_of_webassembly_is_used_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    flags = frozenset(f"{V4} ssse3 sse4_1 sse4_2 popcnt".split())
    monkeypatch.setattr(instructions, "cpu_flags", lambda: flags)
    assert instructions.WASM not in instructions.of_this_cpu.__wrapped__()
    monkeypatch.setenv(instructions.VARIABLE, "wasm")
    monkeypatch.setattr(instructions, "CHOICE", "wasm")
    assert instructions.of_this_cpu.__wrapped__()[-1] is instructions.WASM
    assert targets.fitting() is targets.ORACLE
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert instructions.WASM not in instructions.of_this_cpu.__wrapped__()
