"""The kernels that measure peak rates do all of the work that is counted."""

import re

import numba
import numpy as np
import pytest

from fcs_edge.kernels.gemm import peak
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.isa.instructions import Instructions

MULTIPLIERS = {
    f"{using.name} {bits}": (using, bits)
    for using in instructions.supported()
    for bits in (32, 8, 4)
}
PRODUCT = r"\b(vfmadd\d+ps|v?mulps|fmla|fmadd)\b"
INTEGER_PRODUCT = {
    "vpdpbusd": r"\bvpdpbusd\b",
    "pmaddwd": r"\b(v?pmaddwd|vpdpwssd)\b",
    "pmaddubsw": r"\bvpmaddubsw\b",
    "sdot": r"\bsdot\b",
    "smlal": r"\bsmlal2?\b",
    "smull": r"\bs(mull|mlal)2?\b",
    "mla": r"\b([su]mlal2?|mla|v?pmullw|v?pmaddwd)\b",
}


def depth(using: Instructions, bits: int) -> int:
    if bits == 32:
        return 1
    return using.int8_dot.depth if bits == 8 else using.int4_dot.depth


@pytest.mark.parametrize("passes", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 7, 64, 1001])
def test_read_is_a_sum(size: int, passes: int) -> None:
    x = np.random.default_rng(size).standard_normal(size, np.float32)
    assert peak.read(x, passes) == pytest.approx(passes * x.sum(dtype=np.float64), abs=1e-4)


@pytest.mark.parametrize("count", [1, 8, 21])
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_multiply_against_formula(name: str, count: int) -> None:
    using, bits = MULTIPLIERS[name]
    kernel, sizes, dtypes, _ = peak.multiplier(using, bits)
    rng = np.random.default_rng(count)
    vectors = 3 if sizes[0] % 7 == 0 else 2
    factors = rng.integers(-15, 16, (8, 4 + vectors, sizes[0] // 8 // (4 + vectors)))
    # Some take only numbers from 0 on first.
    factors[:, :4] = abs(factors[:, :4])
    sums = np.zeros(sizes[1], dtypes[1])
    kernel(factors.astype(dtypes[0]).reshape(-1), count, sums)
    exact = factors[np.arange(count) % 8]
    products = np.einsum("imn,ivn->mvn", exact[:, :4], exact[:, 4:])
    # Products side by side are summed, all of a lane or two of four; or two halves of a register.
    dot = peak.integer_dot(using, bits)
    if dot and dot.across:
        products = products.reshape(-1, 2, dot.sums_per_lane).swapaxes(1, 2)
    summed = products.reshape(sizes[1], -1).sum(1)
    per_lane = dot.sums_per_lane if dot else 1
    assert products.size // sizes[1] == depth(using, bits) // per_lane
    np.testing.assert_array_equal(sums, summed)


@pytest.mark.skipif(numba.config.CPU_NAME is not None, reason="compiled for another processor")
@pytest.mark.parametrize("name", MULTIPLIERS)
def test_no_product_is_merged_or_moved_out_of_the_loop(name: str) -> None:
    using, bits = MULTIPLIERS[name]
    if using.name == "generic":
        pytest.skip("unknown processor")
    kernel, sizes, dtypes, macs = peak.multiplier(using, bits)
    options = {key: kernel.targetoptions[key] for key in ("nogil", "error_model", "fastmath")}
    compiled = numba.njit(**options)(kernel.py_func)
    compiled(np.ones(sizes[0], dtypes[0]), 1, np.ones(sizes[1], dtypes[1]))
    (assembly,) = compiled.inspect_asm().values()
    dots = {32: "", 8: using.int8_dot.name, 4: using.int4_dot.name}
    pattern = INTEGER_PRODUCT.get(dots[bits], PRODUCT)
    pairs = macs // (sizes[0] // 8 // (7 if sizes[0] % 7 == 0 else 6))
    assert len(re.findall(pattern, assembly)) >= pairs
