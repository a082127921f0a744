"""What the kernel tests share: shapes, seeded draws, and two ways of comparing."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.kernels._types import F32

ROWS = range(1, 10)
COLUMNS = (1, 3, 7, 8, 17, 40, 513)


@pytest.fixture(params=product(ROWS, COLUMNS), ids="{0[0]}x{0[1]}".format)
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Rows and columns: every length of tail that a loop in vector lanes can leave."""
    size: tuple[int, int] = request.param
    return size


@pytest.fixture
def normal() -> Callable[..., F32]:
    """Draws from the standard normal distribution: ``normal(rows, columns)``."""
    rng = np.random.default_rng(2505)

    def draw(*shape: int) -> F32:
        return rng.standard_normal(shape, np.float32)

    return draw


@pytest.fixture
def assert_near() -> Callable[[F32, NDArray[np.float64], float], None]:
    """Assert that the largest error is within `tolerance` times the largest expected value."""

    def check(actual: F32, expected: NDArray[np.float64], tolerance: float) -> None:
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()

    return check


@pytest.fixture
def assert_same_bits() -> Callable[[F32, F32], None]:
    """Assert that two arrays are equal to the bit, zeros' signs included."""

    def check(actual: F32, expected: F32) -> None:
        np.testing.assert_array_equal(
            np.ascontiguousarray(actual).view(np.uint32),
            np.ascontiguousarray(expected).view(np.uint32),
        )

    return check
