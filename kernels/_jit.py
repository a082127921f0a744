"""How every kernel is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile a kernel whose every operation keeps its written order (fused multiply-add aside)."""
    return _compile(function, {"contract", "nsz"})


def reduction(function: _F) -> _F:
    """Compile a kernel whose sums may be reordered, so that they run in vector lanes."""
    return _compile(function, {"contract", "nsz", "reassoc"})


def inline(function: _F) -> _F:
    """Compile a helper into each kernel that calls it."""
    compiled: Any = numba.njit(inline="always", error_model="numpy")(function)
    helper: _F = compiled
    return helper


def _compile(function: _F, fastmath: set[str]) -> _F:
    compiled: Any
    try:
        compiled = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=True)(
            function
        )
    except RuntimeError:
        # Neither this folder nor a home folder can be written: compile at every start.
        compiled = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    kernel: _F = compiled
    return kernel
