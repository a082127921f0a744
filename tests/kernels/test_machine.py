"""The kernels that measure the machine do the work that they are timed for."""

import re
from typing import Any

import numba
import numpy as np
import pytest

from fcs_edge.kernels import instructions, machine
from fcs_edge.kernels.instructions import DEPTH, Instructions
from fcs_edge.kernels.panels import DOTS

MULTIPLIERS = {
    f"{using.name} {kind}": (using, kind)
    for using in instructions.supported()
    for kind in ("floats", "integers")
}
PRODUCT = r"\b(vfmadd\d+ps|v?mulps|fmla|fmadd)\b"
INTEGER_PRODUCT = {
    "pmaddwd": r"\b(v?pmaddwd|vpdpwssd)\b",
    "sdot": r"\bsdot\b",
    "smlal": r"\bsmlal2?\b",
}


def made(using: Instructions, kind: str) -> tuple[Any, int, int, int]:
    """Return the kernel, and its lanes, products a lane and vectors."""
    if kind == "floats":
        return machine.multiplier(using.lanes, 3, -1), using.lanes, 1, 3
    which, lanes = DOTS.index(using.dot), using.integer_lanes
    vectors = 3 if lanes == using.lanes else 2
    return machine.multiplier(lanes, vectors, which), lanes, DEPTH[using.dot], vectors


@pytest.mark.parametrize("passes", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 7, 64, 1001])
def test_read_is_a_sum(size: int, passes: int) -> None:
    x = np.random.default_rng(size).standard_normal(size, np.float32)
    assert machine.read(x, passes) == pytest.approx(passes * x.sum(dtype=np.float64), abs=1e-4)


@pytest.mark.parametrize("count", [1, 8, 21])
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_multiply_against_formula(name: str, count: int) -> None:
    using, kind = MULTIPLIERS[name]
    kernel, lanes, depth, vectors = made(using, kind)
    rng = np.random.default_rng(count)
    shape = (8, 4 + vectors, lanes, depth)
    if kind == "floats":
        factors, sums = rng.standard_normal(shape, np.float32), np.zeros(0, np.float32)
    else:
        element = np.int8 if using.dot == "sdot" else np.int16
        factors, sums = rng.integers(-127, 128, shape).astype(element), np.zeros(0, np.int32)
    sums = np.zeros(4 * vectors * lanes, sums.dtype)
    kernel(factors.reshape(-1), count, sums)
    exact = factors.astype(np.float64)[np.arange(count) % 8]
    expected = np.einsum("imnd,ivnd->mvn", exact[:, :4], exact[:, 4:])
    np.testing.assert_allclose(sums.reshape(4, vectors, lanes), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="compiled for another processor")
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_no_product_is_merged_or_moved_out_of_the_loop(name: str) -> None:
    using, kind = MULTIPLIERS[name]
    if using.name == "generic":
        pytest.skip("unknown processor")
    kernel, lanes, depth, vectors = made(using, kind)
    options = {key: kernel.targetoptions[key] for key in ("nogil", "error_model", "fastmath")}
    compiled = numba.njit(**options)(kernel.py_func)
    dtypes: tuple[Any, Any] = (np.float32, np.float32)
    if kind == "integers":
        dtypes = (np.int8 if using.dot == "sdot" else np.int16, np.int32)
    sizes = (8 * (4 + vectors) * lanes * depth, 4 * vectors * lanes)
    compiled(np.ones(sizes[0], dtypes[0]), 1, np.ones(sizes[1], dtypes[1]))
    (assembly,) = compiled.inspect_asm().values()
    pattern = PRODUCT if kind == "floats" else INTEGER_PRODUCT[using.dot]
    assert len(re.findall(pattern, assembly)) >= 4 * vectors


@pytest.mark.parametrize("using", instructions.supported(), ids=lambda using: using.name)
def test_rates(using: Instructions) -> None:
    for rate in (machine.float_rate(using, 0.01), machine.integer_rate(using, 0.01)):
        assert rate.best >= rate.median > 0
    rate = machine.read_rate(1 << 16, 0.01)
    assert rate.best >= rate.median > 0
