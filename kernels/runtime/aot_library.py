"""Kernels compiled ahead of time: a library for this CPU, called without Numba.

`scripts/compile_kernels.py` makes the libraries, and says how. A kernel of one takes NumPy arrays
as they are: it reads address and shape from the array object, refuses what it was not compiled
for, and runs with the GIL released. Where there is no library for this CPU, or it was made of other
sources, or something it lacks is asked for, Numba compiles the same functions.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fcs_edge.kernels.isa import instructions

VARIABLE = "FCS_EDGE_COMPILED"
"""Environment variable: a folder of libraries, or "off"."""

_KERNELS = Path(__file__).parent.parent
FOLDER = _KERNELS / "compiled"
MANIFEST = "fcs_edge_kernels"
"""What a library holds by this name: JSON, the sources' hash and each kernel's symbol and types."""

AGAIN = "{}_again"
"""The symbol of a kernel that returns nothing, for a call whose arguments lie in memory."""
REPLAY = "fcs_edge_replay"
"""The symbol of what makes such calls, one after the other."""

Kernel = Callable[..., Any]

_RETURNED = {"int": ctypes.c_int64, "float": ctypes.c_float}
_SCALARS = {"int": ctypes.c_int64, "float": ctypes.c_float, "bool": ctypes.c_bool}
NUMBERS = {"int": np.int64, "float": np.float32, "bool": np.bool_}
"""What numbers are in memory."""

OBJECT_SIZE = 16
"""Bytes of an object before its own fields, in CPython with a GIL on a 64-bit machine."""
DATA, NDIM, SHAPE, TYPE, FLAGS = (OBJECT_SIZE + at for at in (0, 8, 16, 40, 48))
"""Where an array object has its address, its dimensions and their sizes, its type, its flags."""
TYPE_CHARACTER = OBJECT_SIZE + 9
"""Where a type object has its letter."""


def sources_hash() -> str:
    """Return the SHA-256 of the kernels' sources."""
    digest = hashlib.sha256()
    for path in sorted(_KERNELS.rglob("*.py")):
        name = path.relative_to(_KERNELS).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def target() -> str | None:
    """Return the name of the library for this CPU and the instructions chosen, if one is made."""
    flags = instructions.cpu_flags()
    if instructions.CHOICE == "vnni" and flags >= _V4:
        return "x86-64-v4-vnni"
    if instructions.CHOICE == "avx2" and flags >= _V3:
        return "x86-64-v3"
    if instructions.CHOICE == "dotprod" and flags >= {"asimddp", "atomics", "fphp", "asimdhp"}:
        return "cortex-a76"
    if instructions.CHOICE == "neon" and flags >= {"crc32"}:
        return "cortex-a72" if instructions.cpu_part() == "0xd08" else "cortex-a53"
    return None


_V3 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}


def folder() -> Path:
    """Return where the libraries are."""
    return Path(os.environ.get(VARIABLE) or FOLDER)


@cache
def library() -> tuple[ctypes.CDLL, dict[str, Any]] | None:
    """Return the library in use and its kernels by name, None where Numba compiles."""
    name = target()
    if os.environ.get(VARIABLE) == "off" or name is None or not _arrays_are_as_known():
        return None
    try:
        loaded = ctypes.CDLL(str(folder() / f"{name}.so"))
        text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(loaded, MANIFEST)))
    except (OSError, ValueError):
        return None
    manifest = json.loads(text)
    return (loaded, manifest["kernels"]) if manifest["sources"] == sources_hash() else None


def _arrays_are_as_known() -> bool:
    """Tell whether array objects lie in memory as the libraries read them."""
    if sys.implementation.name != "cpython" or object.__basicsize__ != OBJECT_SIZE:
        return False
    array = np.zeros((3, 5, 7), np.uint16)
    array.flags.writeable = False
    at, long_at = id(array), ctypes.c_int64.from_address
    kind = ctypes.c_char.from_address(long_at(at + TYPE).value + TYPE_CHARACTER).value
    return (
        long_at(at + DATA).value == array.__array_interface__["data"][0]
        and ctypes.c_int.from_address(at + NDIM).value == 3
        and [long_at(long_at(at + SHAPE).value + 8 * i).value for i in range(3)] == [3, 5, 7]
        and long_at(at + TYPE).value == id(array.dtype)
        and kind == array.dtype.char.encode()
        and ctypes.c_int.from_address(at + FLAGS).value & 0x403 == 0x001
    )


_Calls = list[tuple["Compiled", tuple[Any, ...]]]


class _Thread(threading.local):
    calls: _Calls | None = None


_thread = _Thread()


class Compiled:
    """A kernel of the library in use.

    Parameters
    ----------
    function : callable
        What calls it.
    types : sequence of str
        What it takes.
    again : int
        The address that `replay` calls it by, 0 where it has none.
    """

    def __init__(self, function: Kernel, types: Sequence[str], again: int) -> None:
        self._function, self.types, self.again = function, types, again

    def __call__(self, *arguments: Any) -> Any:
        """Call it; the arguments are kept where calls are."""
        if _thread.calls is not None:
            _thread.calls.append((self, arguments))
        return self._function(*arguments)


@contextmanager
def kept_calls() -> Iterator[_Calls]:
    """Keep the calls that this thread makes."""
    calls: _Calls = []
    _thread.calls = calls
    try:
        yield calls
    finally:
        _thread.calls = None


@cache
def replay() -> Callable[[int, int], None]:
    """Return what makes calls again: of the address of the first step, and their number."""
    found = library()
    assert found is not None
    function = found[0][REPLAY]
    function.argtypes, function.restype = [ctypes.c_int64, ctypes.c_int64], _accepted
    made: Callable[[int, int], None] = function
    return made


def find(name: str) -> Kernel | None:
    """Return a kernel by name, None where the library in use has none."""
    found = library()
    if found is None or name not in found[1]:
        return None
    loaded, kernels = found
    symbol, types, returned = kernels[name]
    function = getattr(loaded, symbol)
    function.argtypes = [_SCALARS.get(t, ctypes.py_object) for t in types]
    function.restype = _RETURNED.get(returned, _accepted)
    again = None
    if returned == "none":
        again = ctypes.cast(loaded[AGAIN.format(symbol)], ctypes.c_void_p).value
    return Compiled(function, types, again or 0)


def _accepted(refused: int) -> None:
    if refused:
        raise TypeError(f"argument {refused}: no contiguous array of the type and dimensions asked")
