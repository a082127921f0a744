"""Kernels compiled ahead of time: a library for this CPU, called without Numba.

`scripts/compile_kernels.py` builds the libraries, and says how. A kernel of a library takes NumPy
arrays: it reads address and shape from the array object, and refuses other types. It runs with the
GIL released. Numba compiles the same functions where there is no library for this CPU, where it was
built from other sources, or where it lacks a kernel.

A record beside each library has its size and SHA-256. They are checked before the library is
mapped: reading a page that a cut file lacks would end the process.
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
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels.isa import instructions, targets

VARIABLE = "FCS_EDGE_COMPILED"
"""Environment variable: a folder of libraries, or "off"."""

_KERNELS = Path(__file__).parent.parent
_RUNTIME = _KERNELS / "runtime"
_BUILT_FROM = "_jit", "aot_library", "program", "thread_team_code", "thread_team_layout"
"""Modules of `kernels/runtime` that decide what a library holds; `program` has the order of words.
"""
FOLDER = _KERNELS / "compiled"
MANIFEST = "fcs_edge_kernels"
"""Symbol of a library's manifest: JSON, the sources' hash and each kernel's symbol and types."""

TABLE = "fcs_edge_table"
"""Symbol of the table of adapters: functions that call a kernel with arguments in words."""
RUN = "fcs_edge_run"
"""Symbol of the function that makes the calls of a program, one after the other."""


class KernelWarning(UserWarning):
    """Compiled kernels are damaged or cannot be kept: the results are right, but come later."""


Kernel = Callable[..., Any]
_Library = tuple[ctypes.CDLL, dict[str, Any]]

_PACKING = "gemm.packing.", "gemm.quantized_weights."
"""What names of kernels start with that a trace runs."""
_RETURNED = {"int": ctypes.c_int64, "float": ctypes.c_float}
_SCALARS = {"int": ctypes.c_int64, "float": ctypes.c_float, "bool": ctypes.c_bool}
NUMBERS = {"int": np.int64, "float": np.float32, "bool": np.bool_}
"""Types of numbers in memory."""

OBJECT_SIZE = 16
"""Bytes of an object before its own fields, in CPython with a GIL on a 64-bit machine."""
DATA, NDIM, SHAPE, TYPE, FLAGS = (OBJECT_SIZE + at for at in (0, 8, 16, 40, 48))
"""Offsets in an array object: address, dimensions, their sizes, type, flags."""
TYPE_CHARACTER = OBJECT_SIZE + 9
"""Offset of the letter in a type object; that of its byte order follows."""
READABLE, WRITEABLE = 0x101, 0x400
"""Flags of an array: contiguous, in the order of C, and aligned; writeable."""


def sources_hash() -> str:
    """Return the SHA-256 of the sources that a library is built from, or that say how to call it.

    The other modules of `kernels/runtime` only use a library: it fits whatever they do.
    """
    digest = hashlib.sha256()
    for path in sorted(_KERNELS.rglob("*.py")):
        name = path.relative_to(_KERNELS).as_posix()
        if path.parent != _RUNTIME or path.stem in _BUILT_FROM:
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def target() -> str | None:
    """Return the name of the library for this CPU and the chosen instructions, if there is one."""
    fitting = targets.fitting()
    return fitting.name if fitting else None


def folder() -> Path:
    """Return the folder of the libraries."""
    return Path(os.environ.get(VARIABLE) or FOLDER)


def record_of(library: Path) -> Path:
    """Return the path of a library's record."""
    return library.with_suffix(".json")


def record(data: bytes, sources: str) -> bytes:
    """Return the record of a library: its size, its SHA-256, and the hash of its sources."""
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "sources": sources}
    return json.dumps(facts).encode()


def difference(data: bytes, recorded: bytes, sources: str) -> str:
    """Return how a library differs from its record or from these sources; empty where it fits."""
    try:
        facts = dict(json.loads(recorded))
    except (ValueError, TypeError, RecursionError):
        return "its record is damaged"
    if facts.get("sources") != sources:
        return "it was built from other sources"
    if facts.get("bytes") != len(data):
        return f"it has {len(data):,} bytes, not {facts.get('bytes')}"
    if facts.get("sha256") != hashlib.sha256(data).hexdigest():
        return "its SHA-256 differs from its record"
    return ""


@cache
def library() -> _Library | None:
    """Return the library in use and its kernels by name, None where Numba compiles."""
    opened = _open()
    return None if isinstance(opened, str) else opened


@cache
def fault() -> str:
    """Return what is wrong with this CPU's library; empty where it is used, or where none is."""
    opened = None if library() else _open()
    return opened if isinstance(opened, str) else ""


def _open() -> _Library | str | None:
    """Return this CPU's library, what is wrong with it, or None where there is none."""
    name = target()
    if os.environ.get(VARIABLE) == "off" or name is None or not _array_layout_is_known():
        return None
    path = folder() / f"{name}.so"
    if not os.path.exists(path) and not os.environ.get(VARIABLE):
        return None
    try:
        wrong = difference(path.read_bytes(), record_of(path).read_bytes(), sources_hash())
        if not wrong:
            loaded = ctypes.CDLL(str(path))
            text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(loaded, MANIFEST)))
            return loaded, dict(json.loads(text)["kernels"])
    except OSError as error:
        named = f"{Path(error.filename).name}: " if error.filename else ""
        wrong = f"{named}{error.strerror or error}"
    except (ValueError, KeyError, TypeError):
        wrong = "it holds no kernels"
    return (
        f"{path}: these compiled kernels are not used ({wrong}), and Numba compiles others; "
        f"install fcs-edge again, or set {VARIABLE}=off"
    )


def _array_layout_is_known() -> bool:
    """Return whether array objects lie in memory as the libraries read them."""
    if sys.implementation.name != "cpython" or object.__basicsize__ != OBJECT_SIZE:
        return False
    array = np.zeros((3, 5, 7), np.uint16)
    array.flags.writeable = False
    at, long_at = id(array), ctypes.c_int64.from_address
    kind = ctypes.string_at(long_at(at + TYPE).value + TYPE_CHARACTER, 2)
    return (
        long_at(at + DATA).value == array.__array_interface__["data"][0]
        and ctypes.c_int.from_address(at + NDIM).value == 3
        and [long_at(long_at(at + SHAPE).value + 8 * i).value for i in range(3)] == [3, 5, 7]
        and long_at(at + TYPE).value == id(array.dtype)
        and kind == array.dtype.char.encode() + b"="
        and ctypes.c_int.from_address(at + FLAGS).value & 0x503 == READABLE
    )


_Calls = list[tuple["Compiled", tuple[Any, ...]]]


class _Thread(threading.local):
    calls: _Calls | None = None
    execute = True


_thread = _Thread()


class Compiled:
    """A kernel of the library in use.

    Parameters
    ----------
    name : str
        Its name, with the arguments of its factory.
    function : callable
        Calls it.
    types : sequence of str
        Types of its arguments.
    number : int
        Its index in the library's table of adapters, -1 for a kernel that returns a value: no
        program calls it.
    """

    def __init__(self, name: str, function: Kernel, types: Sequence[str], number: int) -> None:
        self.name = name
        self._function, self.types, self.number = function, types, number

    def __call__(self, *arguments: Any) -> Any:
        """Call it; inside `recorded_calls`, record the arguments."""
        if _thread.calls is None:
            return self._function(*arguments)
        if self.number < 0 and not _thread.execute:
            raise RuntimeError(f"{self.name} returns a value, so no program can call it")
        _thread.calls.append((self, arguments))
        return self._function(*arguments) if _thread.execute else None


@contextmanager
def recorded_calls(execute: bool = True) -> Iterator[_Calls]:
    """Record the calls that this thread makes; without `execute`, only record them.

    Raises
    ------
    RuntimeError
        A kernel that returns a value is called without `execute`.
    """
    calls: _Calls = []
    _thread.calls, _thread.execute = calls, execute
    try:
        yield calls
    finally:
        _thread.calls, _thread.execute = None, True


@cache
def run_program() -> Callable[[int, int, int], None]:
    """Return the function that makes a program's calls.

    It takes the address of the program's words, their number, and the address of the bases. A call
    is a kernel's number, the number of its words, and these: see `Compiled.number`.
    """
    opened = library()
    assert opened is not None
    function = opened[0][RUN]
    function.argtypes, function.restype = [ctypes.c_int64] * 3, None
    run: Callable[[int, int, int], None] = function
    return run


@cache
def adapters() -> NDArray[np.int64]:
    """Return the address of each adapter in the library's table, by a kernel's number."""
    opened = library()
    assert opened is not None
    loaded, kernels = opened
    n = sum(number >= 0 for *_, number in kernels.values())
    table: NDArray[np.int64] = np.array((ctypes.c_int64 * n).in_dll(loaded, TABLE))
    return table


def find(name: str) -> Kernel | None:
    """Return a kernel by name, None where the library in use has none."""
    opened = library()
    if opened is None or name not in opened[1]:
        return None
    loaded, kernels = opened
    symbol, types, returned, number = kernels[name]
    function = getattr(loaded, symbol)
    function.argtypes = [_SCALARS.get(t, ctypes.py_object) for t in types]
    function.restype = _RETURNED.get(returned, check)
    return Compiled(name, function, types, number)


def traced(name: str) -> Kernel | None:
    """Return a kernel of the target that this process traces for, which runs nothing.

    It is None for what packs weights, and where nothing is traced. A kernel that the target's
    library lacks fails when it is called.
    """
    known = _traced_kernels()
    if known is None or name.startswith(_PACKING):
        return None
    if name not in known:
        return partial(_refuse, f"{name}: the target's library has no such kernel")
    types, number = known[name]
    outside = partial(_refuse, f"{name} is called outside a trace")
    return Compiled(name, outside, types.split(), number)


@cache
def _traced_kernels() -> dict[str, tuple[str, int]] | None:
    """Return the types and the number of each kernel of the target that is traced for."""
    path = os.environ.get(instructions.TRACE)
    if not path:
        return None
    kernels = json.loads(Path(path).read_bytes())["kernels"]
    return {name: (types, number) for number, (name, types) in enumerate(kernels)}


def _refuse(reason: str, *arguments: Any) -> None:
    raise RuntimeError(reason)


def check(refused: int) -> None:
    """Raise for an argument that a kernel refused, by its number; 0 is none."""
    if refused:
        raise TypeError(
            f"argument {refused}: no contiguous array of the expected type and dimensions, "
            "or a read-only one where the kernel writes"
        )
