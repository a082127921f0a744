"""What the compiler makes of the kernels: no allocation, and vector instructions."""

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
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import _nrt_python as runtime
from numba.core.runtime import rtsys

from fcs_edge import kernels
from fcs_edge.kernels import linear
from fcs_edge.kernels._types import F32, U16


def ones(*shape: int) -> F32:
    return np.ones(shape, np.float32)


def tokens(n: int) -> U16:
    return np.ones(n, np.uint16)


HALF = np.float32(0.5)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "attention.position_gate": (ones(4, 21), ones(2, 7), ones(2), ones(3), ones(4, 3)),
    "attention.store": (ones(4, 63), 3, ones(3, 7, 5), ones(3, 5, 7)),
    "attention.attend": (
        *(ones(4, 63), ones(4, 3), ones(3, 9)),
        *(ones(3, 7, 5), ones(3, 5, 7), 3, 5, ones(5), ones(4, 21)),
    ),
    "binary.normalize": (ones(4, 12), ones(4, 12)),
    "binary.quantize": (ones(4, 12), tokens(4)),
    "binary.codes": (tokens(4), ones(4, 12)),
    "depthwise.depthwise": (ones(9, 17), 7, ones(5, 17), ones(17), ones(4, 17)),
    "dynamic_tanh.dynamic_tanh": (ones(4, 17), HALF, ones(4, 17)),
    "focal.aggregate": (ones(4, 17), ones(4, 3), 1, ones(4, 17), ones(4, 17)),
    "focal.divide": (ones(4, 17), HALF),
    "focal.modulate": (ones(4, 17), ones(4, 17)),
    "gelu.gelu": (ones(4, 17), ones(4, 17)),
    "layer_norm.layer_norm": (ones(4, 17), ones(17), ones(17), HALF, ones(4, 17)),
    "linear.linear_f32": (ones(68), 17, ones(5, 17), ones(5), ones(4, 6), 1),
    "linear.linear_panels": (
        *(ones(68), 17, ones(2, 17, linear.WIDE), ones(2 * linear.WIDE)),
        *(ones(4, 2 * linear.WIDE + 1), 1),
    ),
    "residual.add": (ones(4, 17), ones(4, 17)),
    "residual.add_scaled": (ones(4, 17), ones(4, 17), ones(17)),
    "ring.write": (ones(4, 17), ones(9, 17), 7),
    "ring.keep_last": (ones(2, 9, 17), 4, 5),
    "samples.sanitize": (ones(17), HALF, ones(17)),
    "samples.clip": (ones(17), ones(17)),
    "snake.snake": (ones(4, 17), ones(17), ones(17), ones(4, 17)),
}


def kernel(name: str) -> Dispatcher:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"fcs_edge.kernels.{module}"), function)


def all_kernels() -> Iterator[str]:
    for info in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"fcs_edge.kernels.{info.name}")
        for name, value in vars(module).items():
            own = isinstance(value, Dispatcher) and value.__module__ == module.__name__
            if own and value.targetoptions.get("inline") != "always":
                yield f"{info.name}.{name}"


def test_no_kernel_is_forgotten_here() -> None:
    assert sorted(all_kernels()) == sorted(ARGUMENTS)


@pytest.fixture
def allocations() -> Iterator[Callable[..., int]]:
    """Count what a second call allocates in Numba's runtime."""

    def count(function: Callable[..., Any], *arguments: Any) -> int:
        function(*arguments)
        before = rtsys.get_allocation_stats().alloc
        function(*arguments)
        return int(rtsys.get_allocation_stats().alloc - before)

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
@pytest.mark.parametrize(
    "name", ["linear.linear_f32", "linear.linear_panels", "gelu.gelu", "depthwise.depthwise"]
)
def test_hot_loop_runs_in_vector_lanes(name: str) -> None:
    cached = kernel(name)
    # Code from the cache cannot be inspected: compile it again.
    compiled = numba.jit(**cached.targetoptions)(cached.py_func)
    compiled(*ARGUMENTS[name])
    (assembly,) = compiled.inspect_asm().values()
    assert re.search(VECTOR_MULTIPLY_ADD[platform.machine()], assembly)
