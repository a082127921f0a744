"""The limit of memory that a shell sets with ``ulimit -v``."""

from __future__ import annotations

import errno
import resource

_LEAST_BYTES = 400_000_000
"""Below it LLVM, which compiles kernels, ends the process without an exception."""

_REASONS = ("failed to map segment", "cannot allocate memory", "could not find/load shared object")


def address_limit() -> int | None:
    """Return the bytes of address space that this process may use; None if there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def check_address_space() -> None:
    """Refuse to compile kernels in too little address space.

    Raises
    ------
    MemoryError
        The limit is too low.
    """
    limit = address_limit()
    if limit is not None and limit < _LEAST_BYTES:
        raise MemoryError


def shortage(error: Exception) -> str | None:
    """Return a line about an error for lack of memory; None for any other error.

    A library that cannot be loaded into a limited address space counts too.
    """
    limit = address_limit()
    short = isinstance(error, MemoryError)
    if isinstance(error, OSError):
        short = error.errno == errno.ENOMEM
    if limit is not None and isinstance(error, ImportError | OSError):
        short = short or any(reason in str(error).lower() for reason in _REASONS)
    if not short:
        return None
    if limit is None:
        return "out of memory"
    return f"out of memory: ulimit -v allows {limit // 1000**2} MB of address space; raise it"
