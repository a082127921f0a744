"""How every kernel is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}


def kernel(function: _F) -> _F:
    """Compile a kernel whose every operation keeps its written order (fused multiply-add aside)."""
    compiled: _F = numba.njit(fastmath={"contract", "nsz"}, **_OPTIONS)(function)
    return compiled


def reduction(function: _F) -> _F:
    """Compile a kernel whose sums may be reordered, so that they run in vector lanes."""
    compiled: _F = numba.njit(fastmath={"contract", "nsz", "reassoc"}, **_OPTIONS)(function)
    return compiled


def inline(function: _F) -> _F:
    """Compile a helper into each kernel that calls it."""
    compiled: _F = numba.njit(inline="always", error_model="numpy")(function)
    return compiled
