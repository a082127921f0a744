"""How every kernel is compiled: ahead of time, or by Numba, which is imported only when used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar, cast

from fcs_edge.kernels.runtime import aot_library

_PACKAGE = "fcs_edge.kernels."
_F = TypeVar("_F", bound=Callable[..., Any])

_held: list[tuple[Any, Callable[..., Any], Callable[..., Any]]] = []
"""What a module holds in place of a function compiled by Numba; the function; what compiles it."""
_numba_compiles = False
"""Whether Numba compiles although there is a library."""


def kernel(function: _F) -> _F:
    """Compile a kernel whose every operation is done as written, so that CPUs agree to the bit.

    The compiler neither reorders sums nor fuses a product and a sum. A kernel that needs this for
    speed says so: `ops.sums` sums in lanes, `ops.vecmath.multiply_add` fuses.
    """
    return _compile(function, _compiled)


def inline(function: _F) -> _F:
    """Compile a helper into each kernel that calls it."""
    return cast(_F, _helper(function, _inlined))


def intrinsic(function: Callable[..., Any]) -> Any:
    """Emit LLVM's instructions for a helper: `function` takes Numba's types, and says which.

    It is called only where Numba compiles, and imports then what it needs.
    """
    return _helper(function, _emitted)


def factory(build: _F) -> _F:
    """Cache a function that builds a kernel for its arguments.

    The library's kernel is used where it has one for these arguments. `build` is called only where
    Numba compiles, and then imports intrinsics as globals. Numba's cache tells closures apart by
    the values that they hold, and an intrinsic is never equal to that of another process.
    """

    @cache
    def get(*arguments: Any) -> Any:
        name = f"{_name(build)}{arguments}"
        compiled: Any = aot_library.traced(name)
        if compiled is None and not uses_numba():
            compiled = aot_library.find(name)
        if compiled is None:
            use_numba()
            compiled = build(*arguments)
        return compiled

    return cast(_F, wraps(build)(get))


def use_numba() -> None:
    """Hand all kernels over to Numba: the library lacks one that is needed.

    Numba compiles functions that call each other, and can call no function of the library.
    """
    global _numba_compiles
    _numba_compiles = True
    replacements = [(held, compile_(function)) for held, function, compile_ in _held]
    _held.clear()
    modules = [sys.modules[n] for n in list(sys.modules) if n.startswith(_PACKAGE)]
    for module in modules if replacements else ():
        for name, value in list(vars(module).items()):
            for held, compiled in replacements:
                if value is held:
                    setattr(module, name, compiled)


def uses_numba() -> bool:
    """Return whether Numba compiles the kernels."""
    return _numba_compiles or aot_library.library() is None


def obstacle() -> str:
    """Return why no kernel can run here; empty where all can."""
    if not uses_numba():
        return ""
    from numba.core import config

    if not config.DISABLE_JIT:
        return ""
    return "NUMBA_DISABLE_JIT is set, but the codec needs the compiler of Numba: unset it"


@cache
def warn_of_library() -> None:
    """Warn once where a library is there, but cannot be used."""
    if text := aot_library.fault():
        warnings.warn(text, aot_library.KernelWarning, stacklevel=1)


def _compile(function: _F, compile_: Callable[..., Any]) -> _F:
    if traced := aot_library.traced(_name(function)):
        return cast(_F, traced)
    if uses_numba():
        return cast(_F, compile_(function))
    held = aot_library.find(_name(function)) or _deferred(function)
    _held.append((held, function, compile_))
    return cast(_F, held)


def _helper(function: Callable[..., Any], compile_: Callable[..., Any]) -> Any:
    if uses_numba():
        return compile_(function)
    _held.append((function, function, compile_))
    return function


def _deferred(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that hands all kernels to Numba when it is first called."""

    def deferred(*arguments: Any) -> Any:
        use_numba()
        return getattr(sys.modules[function.__module__], function.__name__)(*arguments)

    return deferred


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__.removeprefix(_PACKAGE)}.{function.__name__}"


def _inlined(function: Callable[..., Any]) -> Any:
    import numba

    return numba.njit(inline="always", error_model="numpy")(function)


def _emitted(function: Callable[..., Any]) -> Any:
    from numba import extending

    return extending.intrinsic(function)


def _compiled(function: Callable[..., Any]) -> Any:
    import numba

    from fcs_edge.kernels.runtime.numba_cache import KernelCache

    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath=False)(function)
    compiled._cache = KernelCache(function)
    return compiled
