"""How every kernel is compiled: ahead of time, or by Numba, which is imported only then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar, cast

from fcs_edge.kernels.runtime import aot_library

_PACKAGE = "fcs_edge.kernels."
_F = TypeVar("_F", bound=Callable[..., Any])

_held: list[tuple[Any, Callable[..., Any], Callable[..., Any]]] = []
"""What modules hold in place of what Numba makes of a function; the function; how it is made."""
_taken_over = False
"""Whether Numba compiles though there is a library."""


def kernel(function: _F) -> _F:
    """Compile a kernel whose every operation keeps its written order (fused multiply-add aside)."""
    return _made(function, lambda f: _compiled(f, {"contract", "nsz"}))


def reduction(function: _F) -> _F:
    """Compile a kernel whose sums may be reordered, so that they run in vector lanes."""
    return _made(function, lambda f: _compiled(f, {"contract", "nsz", "reassoc"}))


def inline(function: _F) -> _F:
    """Compile a helper into each kernel that calls it."""
    if uses_numba():
        return cast(_F, _inlined(function))
    _held.append((function, function, _inlined))
    return function


def factory(build: _F) -> _F:
    """Make a function that builds a kernel for its arguments give each kernel once.

    A kernel compiled ahead is taken where there is one for these arguments. `build` is called
    only where Numba compiles, and imports what it needs of that, as globals: Numba's cache tells
    closures apart by what they hold, and intrinsics are never the same again.
    """

    @cache
    def get(*arguments: Any) -> Any:
        found = None if uses_numba() else aot_library.find(f"{_name(build)}{arguments}")
        if found is None:
            use_numba()
            found = build(*arguments)
        return found

    return cast(_F, wraps(build)(get))


def use_numba() -> None:
    """Hand all kernels over to Numba: something that was not compiled ahead is asked for.

    It compiles functions that call each other, which must all be its own.
    """
    global _taken_over
    _taken_over = True
    made = [(held, compile_(function)) for held, function, compile_ in _held]
    _held.clear()
    modules = [sys.modules[n] for n in list(sys.modules) if n.startswith(_PACKAGE)]
    for module in modules if made else ():
        for name, value in list(vars(module).items()):
            for held, compiled in made:
                if value is held:
                    setattr(module, name, compiled)


def uses_numba() -> bool:
    """Tell whether Numba compiles the kernels."""
    return _taken_over or aot_library.library() is None


def _made(function: _F, compile_: Callable[..., Any]) -> _F:
    if uses_numba():
        return cast(_F, compile_(function))
    found = aot_library.find(_name(function)) or _late(function)
    _held.append((found, function, compile_))
    return cast(_F, found)


def _late(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what compiles a kernel when it is first called."""

    def late(*arguments: Any) -> Any:
        use_numba()
        return getattr(sys.modules[function.__module__], function.__name__)(*arguments)

    return late


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__.removeprefix(_PACKAGE)}.{function.__name__}"


def _inlined(function: Callable[..., Any]) -> Any:
    import numba

    return numba.njit(inline="always", error_model="numpy")(function)


def _compiled(function: Callable[..., Any], fastmath: set[str]) -> Any:
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(**options, cache=True)(function)
    except RuntimeError:
        # Neither this folder nor a home folder can be written: compile at every start.
        return numba.njit(**options)(function)
