"""The elementary functions against float64, over all of their range."""

import math
from collections.abc import Callable

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.ops import vecmath

F64 = NDArray[np.float64]
Function = Callable[[F32], F32]

# Errors as the docstrings claim them. Half a unit in the last place is 6e-8.
EXP = 3e-7
LOG = 3e-7
ERFC = 4e-7
TANH = 3e-7
SIN_SQUARED = 4e-7
SIN = 3e-7
# gelu(x) is off by |x| / 2 times erfc's error, and by its own last rounding.
GELU = 3e-7
# 1 / (1 + e): e's relative error, and two roundings.
SIGMOID = EXP + 1.2e-7

SMALLEST_NORMAL = np.finfo(np.float32).tiny
EXTREMES = np.array(
    [0, 1e-45, 1e-40, 1e-38, 1e-30, 1e-19, 87, 88, 89, 100, 1e4, 1e7, 1e10, 1e20, 1e30, 3.4e38],
    np.float32,
)


def lifted(function: Callable[[np.float32], np.float32]) -> Function:
    """Compile a loop around a function; not cached, so that it is always today's function."""

    @numba.njit(error_model="numpy")
    def loop(x: F32, out: F32) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x: F32) -> F32:
        out = np.full_like(x, np.nan)
        loop(x, out)
        return out

    return call


@pytest.fixture(scope="module")
def functions() -> dict[str, Function]:
    names = ("exp", "log", "erfc", "gelu", "tanh", "sin_squared", "sigmoid")
    found = {name: lifted(getattr(vecmath, name)) for name in names}
    found["sin"] = lifted(numba.njit(lambda x: vecmath.sin(x, False)))
    found["cos"] = lifted(numba.njit(lambda x: vecmath.sin(x, True)))
    return found


def sweep(low: float, high: float, n: int = 200_001) -> F32:
    return np.linspace(low, high, n).astype(np.float32)


def magnitudes(low: float, high: float, n: int = 100_001) -> F32:
    """Both signs, evenly spread over the exponents."""
    x = np.geomspace(low, high, n).astype(np.float32)
    return np.concatenate([-x, x])


def elementwise(function: Callable[[float], float], x: F32) -> F64:
    return np.array([function(v) for v in x.tolist()])


def worst(actual: F32, expected: F64, scale: F64 | float = 1.0) -> float:
    """Return the largest error, each one divided by its scale; NaN where a result is NaN."""
    return float((np.abs(actual - expected) / scale).max())


@pytest.mark.parametrize("x", [sweep(-87, 88), sweep(-1, 1), magnitudes(1e-38, 1)])
def test_exp_relative_error(functions: dict[str, Function], x: F32) -> None:
    expected = np.exp(x.astype(np.float64))
    assert worst(functions["exp"](x), expected, expected) < EXP


def test_exp_clamps_its_argument(functions: dict[str, Function]) -> None:
    x = np.array([-1e30, -100, -87, 88, 100, 1e30], np.float32)
    y = functions["exp"](x)
    assert y[0] == y[1] == y[2] > 0
    assert y[5] == y[4] == y[3] < np.inf


def test_log_over_all_normal_numbers(functions: dict[str, Function]) -> None:
    x = np.concatenate([magnitudes(SMALLEST_NORMAL, 3.4e38), sweep(0.5, 2)])
    x = x[x > 0]
    expected = np.log(x.astype(np.float64))
    found = functions["log"](x)
    # A result of 88 has its last place at 8e-6.
    assert worst(found, expected, np.maximum(1, np.abs(expected))) < LOG


def test_log_near_one_is_relatively_right(functions: dict[str, Function]) -> None:
    x = 1 + np.concatenate([sweep(1e-6, 0.4), sweep(-0.25, -1e-6)])
    expected = np.log(x.astype(np.float64))
    assert worst(functions["log"](x), expected, np.abs(expected)) < LOG


@pytest.mark.parametrize("x", [sweep(0, 1), sweep(0, 12), np.abs(magnitudes(1e-38, 1))])
def test_erfc_absolute_error(functions: dict[str, Function], x: F32) -> None:
    assert worst(functions["erfc"](x), elementwise(math.erfc, x)) < ERFC


@pytest.mark.parametrize("x", [sweep(-12, 12), sweep(-1, 1), magnitudes(SMALLEST_NORMAL, 100)])
def test_gelu_error_relative_to_its_argument(functions: dict[str, Function], x: F32) -> None:
    wide = x[x != 0]
    expected = elementwise(lambda v: v * math.erfc(-v / math.sqrt(2)) / 2, wide)
    assert worst(functions["gelu"](wide), expected, np.abs(wide.astype(np.float64))) < GELU


@pytest.mark.parametrize("x", [sweep(-12, 12), sweep(-0.7, 0.7), magnitudes(1e-38, 100)])
def test_tanh_relative_error_near_zero_too(functions: dict[str, Function], x: F32) -> None:
    wide = x[x != 0]
    expected = np.tanh(wide.astype(np.float64))
    assert worst(functions["tanh"](wide), expected, np.abs(expected)) < TANH


@pytest.mark.parametrize("limit", [2, 10, 100, 1e3, 1e4])
def test_sin_squared_absolute_error(functions: dict[str, Function], limit: float) -> None:
    x = sweep(-limit, limit)
    assert worst(functions["sin_squared"](x), np.sin(x.astype(np.float64)) ** 2) < SIN_SQUARED


def test_sin_squared_at_multiples_of_half_pi(functions: dict[str, Function]) -> None:
    x = (np.arange(-6000, 6001) * (math.pi / 2)).astype(np.float32)
    assert worst(functions["sin_squared"](x), np.sin(x.astype(np.float64)) ** 2) < SIN_SQUARED


def test_sin_squared_near_zero_is_the_square(functions: dict[str, Function]) -> None:
    x = magnitudes(1e-15, 1e-4)
    square = x.astype(np.float64) ** 2
    assert worst(functions["sin_squared"](x), square, square) < SIN_SQUARED


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sin_and_cos(functions: dict[str, Function], name: str) -> None:
    """At multiples of half pi too; and bounded, where a float has no phase any more."""
    function, exact = functions[name], getattr(np, name)
    turns = (np.arange(-6000, 6001) * (math.pi / 2)).astype(np.float32)
    for x in (sweep(-10, 10), sweep(-1e4, 1e4), magnitudes(1e-30, 1), turns):
        assert worst(function(x), exact(x.astype(np.float64))) < SIN
    tiny = magnitudes(1e-30, 1e-4)
    assert worst(functions["sin"](tiny), tiny.astype(np.float64), tiny.astype(np.float64)) < SIN
    assert (np.abs(function(np.concatenate([EXTREMES, -EXTREMES]))) < 10).all()


@pytest.mark.parametrize("x", [sweep(-87, 87), sweep(-5, 5)])
def test_sigmoid_relative_error(functions: dict[str, Function], x: F32) -> None:
    expected = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert worst(functions["sigmoid"](x), expected, expected) < SIGMOID


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("exp", 0, 2e38), ("gelu", -1, 3.5e38), ("tanh", -1, 1), ("sigmoid", 0, 1)],
)
def test_extremes_stay_in_range(
    functions: dict[str, Function], name: str, low: float, high: float
) -> None:
    y = functions[name](np.concatenate([EXTREMES, -EXTREMES])).astype(np.float64)
    assert (y >= low).all()
    assert (y <= high).all()


def test_erfc_of_extremes_stays_in_range(functions: dict[str, Function]) -> None:
    y = functions["erfc"](EXTREMES)
    assert (y >= 0).all()
    assert (y <= 1).all()


def test_sin_squared_of_extremes(functions: dict[str, Function]) -> None:
    y = functions["sin_squared"](np.concatenate([EXTREMES, -EXTREMES]))
    assert not np.isnan(y).any()
    near = functions["sin_squared"](magnitudes(1e-45, 1e7))
    assert (near >= 0).all()
    assert (near <= 1 + SIN_SQUARED).all()


def test_values_at_zero(functions: dict[str, Function]) -> None:
    x = np.array([0.0, -0.0], np.float32)
    expected = {"exp": 1, "erfc": 1, "gelu": 0, "tanh": 0, "sin_squared": 0, "sigmoid": 0.5}
    tolerance = np.finfo(np.float32).eps
    for name, value in expected.items():
        assert np.abs(functions[name](x) - value).max() <= tolerance, name
    for name in ("gelu", "tanh", "sin_squared"):
        assert (functions[name](x) == 0).all(), name


def test_saturation(functions: dict[str, Function]) -> None:
    big = np.array([20, 88, 100, 1e4, 1e30], np.float32)
    np.testing.assert_array_equal(functions["gelu"](big), big)
    assert np.abs(functions["gelu"](-big)).max() < 1e-30
    np.testing.assert_array_equal(functions["tanh"](big), np.ones_like(big))
    np.testing.assert_array_equal(functions["tanh"](-big), -np.ones_like(big))
    np.testing.assert_array_equal(functions["sigmoid"](big), np.ones_like(big))


def test_odd_and_even_symmetry(functions: dict[str, Function]) -> None:
    x = sweep(0, 50)
    np.testing.assert_array_equal(functions["tanh"](-x), -functions["tanh"](x))
    gelu = functions["gelu"]
    np.testing.assert_allclose(gelu(x) - gelu(-x) - x, 0, atol=50 * GELU)
