"""The coders of tokens with checked indices: no token and no byte leads outside of an array."""

from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import prior_cases
import pytest

from fcs_edge.entropy import TokenCoder, neutral_coder
from fcs_edge.kernels.ops import network_coder
from fcs_edge.kernels.ops import neutral_coder as neutral


@pytest.fixture(scope="module")
def checked_kernels() -> Iterator[None]:
    """Compile the kernels, and the helpers inlined into them, with checks of each index."""
    compile_checked = numba.njit(boundscheck=True, error_model="numpy")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (network_coder, "code_with_network"),
            (neutral, "code_neutrally"),
        ):
            patch.setattr(module, name, compile_checked(getattr(module, name).py_func))
        yield


@pytest.fixture(params=["neutral", "prior"])
def make(request: pytest.FixtureRequest, checked_kernels: None) -> Callable[[int], TokenCoder]:
    if request.param == "neutral":
        return neutral_coder
    return lambda bits: prior_cases.drawn(bits, 5, bits).coder()


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_any_tokens_and_any_bytes_stay_inside(make: Callable[[int], TokenCoder], bits: int) -> None:
    coder, random_numbers = make(bits), np.random.default_rng(bits)
    for n in (0, 1, 2, 9, 120):
        tokens = random_numbers.integers(0, 1 << bits, n).astype(np.uint16)
        assert np.array_equal(coder.decode(coder.encode(tokens), n), tokens)
        coder.fit(tokens, n)
        coder.decode(random_numbers.bytes(n // 2), n)
        coder.decode(b"", n)
        known = np.where(random_numbers.random(n) < 0.5, tokens.astype(np.int32), -1)
        coder.decode(random_numbers.bytes(n // 2), n, known)


def test_the_most_unlikely_tokens_fit_the_memory(make: Callable[[int], TokenCoder]) -> None:
    """Each bit is the one that the coder expects less."""
    coder = make(4)
    tokens: list[int] = []
    for _ in range(60):
        costs = [len(coder.encode(np.array([*tokens, t] * 3, np.uint16))) for t in range(16)]
        tokens.append(int(np.argmax(costs)))
    assert coder.decode(coder.encode(np.array(tokens)), 60).tolist() == tokens


def test_an_index_outside_would_be_found(checked_kernels: None) -> None:
    arguments: tuple[Any, ...] = neutral_coder(3)._work  # type: ignore[attr-defined]
    small = np.zeros(2, np.uint8)
    with pytest.raises(IndexError):
        neutral.code_neutrally(
            *(np.arange(8, dtype=np.uint16) % 8, np.zeros(8, np.uint8), False, -1),
            *(np.zeros(9, np.uint16), *arguments, np.zeros(6, np.int64), small),
        )
