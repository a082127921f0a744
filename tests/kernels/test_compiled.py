"""What the compiler generates for the kernels: no allocation, and vector instructions."""

import importlib
import pkgutil
import platform
import re
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from kernel_arguments import ARGUMENTS, BUILT, HALF, cursor, depthwise_arguments, filled, ones
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import _nrt_python as runtime
from numba.core.runtime import rtsys

from fcs_edge import kernels
from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import epilogue, products
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import attention, code_search, depthwise, spectrum, whole_attention


def kernel(name: str) -> Dispatcher:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"fcs_edge.kernels.{module}"), function)


def all_kernels() -> Iterator[str]:
    for info in pkgutil.walk_packages(kernels.__path__, "fcs_edge.kernels."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            own = isinstance(value, Dispatcher) and value.__module__ == module.__name__
            if own and value.targetoptions.get("inline") != "always":
                yield f"{info.name}.{name}".removeprefix("fcs_edge.kernels.")


def test_every_kernel_has_arguments_here() -> None:
    assert sorted(all_kernels()) == sorted(ARGUMENTS)


@pytest.fixture
def allocations() -> Iterator[Callable[..., int]]:
    """Count what a second call allocates in Numba's runtime."""

    def count(function: Callable[..., Any], *arguments: Any) -> int:
        function(*arguments)
        before = rtsys.get_allocation_stats().alloc
        function(*arguments)
        return int(rtsys.get_allocation_stats().alloc - before)

    # The first compilation of all starts the runtime, and its counters anew.
    numba.njit(lambda: None)()
    runtime.memsys_enable_stats()
    yield count
    runtime.memsys_disable_stats()


def arrays_in(arguments: tuple[Any, ...]) -> int:
    """An array argument costs its wrapper one small record of who owns the memory."""
    return sum(isinstance(argument, np.ndarray) for argument in arguments)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_kernel_allocates_nothing(name: str, allocations: Callable[..., int]) -> None:
    arguments = ARGUMENTS[name]
    assert allocations(kernel(name), *arguments) == arrays_in(arguments)


def test_an_allocation_would_be_counted(allocations: Callable[..., int]) -> None:
    @numba.njit
    def allocate(x: F32) -> float:
        return np.empty(x.size)[0]

    @numba.njit
    def nothing(x: F32) -> None:
        pass

    assert allocations(nothing, ones(3)) == 1
    assert allocations(allocate, ones(3)) == 2


@pytest.mark.parametrize("name", BUILT)
def test_product_allocates_nothing(name: str, allocations: Callable[..., int]) -> None:
    compiled, arguments = BUILT[name]
    width = int(name.split()[-1])
    arguments = (*arguments, ones(4, 2 * width + 1), 1, epilogue.GELU, 0, 2)
    assert allocations(compiled, *arguments) == arrays_in(arguments)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("choice", instructions.available())
def test_attention_allocates_nothing(
    choice: str,
    half: bool,
    monkeypatch: pytest.MonkeyPatch,
    allocations: Callable[..., int],
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", choice)
    attend = attention.RingAttention(3, 3, 13, half)
    keys, values = attend.rings()
    arguments = (ones(9, 27), ones(9, 3), ones(3, 21), keys, values, cursor(0, 0), attend.scores())
    assert allocations(attend, *arguments, ones(9, 9)) == arrays_in(arguments) + 1


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("choice", instructions.available())
def test_whole_attention_allocates_nothing(
    choice: str, half: bool, monkeypatch: pytest.MonkeyPatch, allocations: Callable[..., int]
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", choice)
    layer = whole_attention.WholeAttention(3, 3, half)
    keys, values = layer.memory(200)
    assert allocations(layer.store, ones(9, 18), 5, keys, values) == 3
    q, gate, bias, workspace, out = (
        ones(9, 9),
        ones(9, 3),
        ones(3, 7),
        layer.workspace(9),
        ones(9, 9),
    )
    assert allocations(layer, q, gate, bias, keys, values, 5, workspace, out) == 9


@pytest.mark.parametrize("using", instructions.supported(), ids=lambda using: using.name)
def test_depthwise_allocates_nothing(
    using: instructions.Instructions, allocations: Callable[..., int]
) -> None:
    arguments = depthwise_arguments(using, np.float32)
    compiled = depthwise.depthwise_panels(using.lanes, depthwise.VECTORS, False, False)
    assert allocations(compiled, *arguments) == arrays_in(arguments)


def test_log_bands_allocate_nothing(allocations: Callable[..., int]) -> None:
    tables = ones(8), np.arange(8), ones(4, 2), ones(3, 5), filled(np.int64, 3, 2)
    arrays = ones(20), ones(8, 2, spectrum.LANES), ones(2, 3)
    arguments = (ones(14), 7, *tables, HALF, HALF, *arrays)
    assert allocations(spectrum.log_bands(), *arguments) == arrays_in(arguments)


@pytest.mark.parametrize("using", instructions.supported(), ids=lambda using: using.name)
def test_code_search_allocates_nothing(
    using: instructions.Instructions,
    monkeypatch: pytest.MonkeyPatch,
    allocations: Callable[..., int],
) -> None:
    monkeypatch.setattr(instructions, "CHOICE", using.name)
    predictor = code_search.Predictor(ones(2, 3, 7), ones(7), ones(7, 5), ones(5))
    search = code_search.CodeSearch(predictor, code_search.Settings(HALF, 2, 2, 2, 2))
    work = search.workspace()
    arguments = (ones(4, 3), ones(4, 5), ones(2, 3), work, ones(4, 3))
    # The network is four arrays.
    assert allocations(search, *arguments) == arrays_in(arguments) + len(work) + 4


INSTRUCTIONS = {
    "vnni floats": (r"\bvfmadd\d+ps\b.*%zmm",),
    "vnni halves": (r"\bvfmadd\d+ps\b.*%zmm", r"\bvcvtph2ps\b.*%zmm"),
    "vnni int8": (r"\bvpdpbusd\b.*%zmm", r"\bprefetcht0\b"),
    "vnni int4": (r"\bvpdpbusd\b.*%zmm", r"\bprefetcht0\b"),
    "vnni grouped": (r"\bvpdpbusd\b.*%zmm", r"\bprefetcht0\b"),
    "avx512 grouped": (r"\b(vpmaddwd|vpdpwssd)\b.*%zmm",),
    "avx2 grouped": (r"\b(vpmaddwd|vpdpwssd)\b.*%ymm",),
    "sse2 grouped": (r"\bv?pmaddwd\b|\bvpdpwssd\b",),
    "dotprod grouped": (r"\bsdot(\.4s|\s+v\d+\.4s)",),
    "neon grouped": (r"\bsmlal2(\.8h|\s+v\d+\.8h)", r"\bsadalp(\.4s|\s+v\d+\.4s)"),
    "avx512 int8": (r"\b(vpmaddwd|vpdpwssd)\b.*%zmm",),
    "avx512 int4": (r"\bvpmaddubsw\b.*%zmm",),
    "avx2 floats": (r"\bvfmadd\d+ps\b.*%ymm",),
    "avx2 halves": (r"\bvfmadd\d+ps\b.*%ymm", r"\bvcvtph2ps\b.*%ymm"),
    "avx2 int8": (r"\b(vpmaddwd|vpdpwssd)\b.*%ymm",),
    "avx2 int4": (r"\bvpmaddubsw\b.*%ymm",),
    "sse2 floats": (r"\bv?mulps\b|\bvfmadd\d+ps\b",),
    "sse2 int8": (r"\bv?pmaddwd\b|\bvpdpwssd\b",),
    "sse2 int4": (r"\bv?pmullw\b|\bv?pmadd",),
    "dotprod floats": (r"\bfmla(\.4s|\s+v\d+\.4s)",),
    "dotprod halves": (r"\bfmla(\.4s|\s+v\d+\.4s)", r"\bfcvtl"),
    "dotprod int8": (r"\bsdot(\.4s|\s+v\d+\.4s)",),
    "dotprod int4": (r"\bsdot(\.4s|\s+v\d+\.4s)",),
    "neon floats": (r"\bfmla(\.4s|\s+v\d+\.4s)",),
    "neon halves": (r"\bfmla(\.4s|\s+v\d+\.4s)", r"\bfcvtl"),
    "neon int8": (r"\bsmlal2?(\.4s|\s+v\d+\.4s)",),
    "neon int4": (r"\bsmlal2?(\.8h|\s+v\d+\.8h)",),
}
"""Instructions that the hot loop of a product must contain, by set of instructions and weights."""


@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="compiled for another processor")
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_products_use_the_instructions_they_are_built_for(name: str) -> None:
    set_name, kind = name.split()
    using = next((s for s in instructions.supported() if s.name == set_name), None)
    if using is None:
        pytest.skip(f"this CPU has no {set_name}")
    assembly = assembly_of(using, kind)
    for pattern in INSTRUCTIONS[name]:
        # Four rows of sums, of one vector at least, in one loop.
        assert len(re.findall(pattern, assembly)) >= 4


def assembly_of(using: instructions.Instructions, kind: str) -> str:
    built = products.kernels(using)
    width, cached = next(iter(getattr(built, kind).items()))
    arguments = BUILT[f"{using.name} {'floats' if kind == 'halves' else kind} {width}"][1]
    if kind == "halves":
        arguments = (*arguments[:2], arguments[2].astype(np.uint16), *arguments[3:])
    return recompiled(cached, (*arguments, ones(4, 2 * width + 1), 1, epilogue.WRITE, 0, 2))


def recompiled(cached: Dispatcher, arguments: tuple[Any, ...]) -> str:
    """Return a kernel's assembly: code from the cache cannot be inspected."""
    options = {key: cached.targetoptions[key] for key in ("nogil", "error_model", "fastmath")}
    compiled = numba.njit(**options)(cached.py_func)
    compiled(*arguments)
    (assembly,) = compiled.inspect_asm().values()
    return str(assembly)


@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="compiled for another processor")
@pytest.mark.parametrize("name", [n for n in INSTRUCTIONS if n.endswith(("floats", "halves"))])
def test_depthwise_uses_the_instructions_it_is_built_for(name: str) -> None:
    set_name, kind = name.split()
    using = next((s for s in instructions.supported() if s.name == set_name), None)
    if using is None:
        pytest.skip(f"this CPU has no {set_name}")
    half = kind == "halves"
    compiled = depthwise.depthwise_panels(using.lanes, depthwise.VECTORS, half, half)
    dtype = np.uint16 if half else np.float32
    assembly = recompiled(compiled, depthwise_arguments(using, dtype))
    multiply_add, *widen = INSTRUCTIONS[name]
    assert len(re.findall(multiply_add, assembly)) >= 4
    assert all(re.search(pattern, assembly) for pattern in widen)


VECTOR_MULTIPLY_ADD = {
    "x86_64": r"\bvfmadd\d+ps\b.*%[yz]mm",
    "aarch64": r"\bfmla(\.4s|\s+v\d+\.4s)",
}


@pytest.mark.skipif(platform.machine() not in VECTOR_MULTIPLY_ADD, reason="unknown processor")
@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="compiled for another processor")
@pytest.mark.skipif(
    platform.machine() == "x86_64" and not llvm.get_host_cpu_features().get("fma"),
    reason="no fused multiply-add",
)
@pytest.mark.parametrize("name", ["gemm.linear_plain.linear_f32", "ops.gelu.gelu"])
def test_hot_loop_runs_in_vector_lanes(name: str) -> None:
    assembly = recompiled(kernel(name), ARGUMENTS[name])
    assert re.search(VECTOR_MULTIPLY_ADD[platform.machine()], assembly)
