"""The kernels of this machine's C library: the bits of Numba's, and of the wheel's wrappers."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import native_library
import numpy as np
import pytest
from kernel_arguments import ARGUMENTS, BUILT, depthwise_arguments

import toolchain
from fcs_edge.errors import FcsError
from fcs_edge.export import libraries, object_files
from fcs_edge.kernels.isa import instructions, targets
from fcs_edge.kernels.ops import depthwise
from fcs_edge.kernels.runtime import aot_library
from native_tools import compiled, lacking, needed

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def library() -> libraries.Library:
    """The C library for this CPU."""
    target = targets.fitting()
    if target is None:
        pytest.skip("no library is built for this CPU")
    try:
        return libraries.find(target.name)
    except FcsError as error:
        lacking(str(error))


class Table:
    """The table of kernels in an archive."""

    def __init__(self, path: Path, library: libraries.Library) -> None:
        self._loaded = ctypes.CDLL(str(path))
        self._loaded.table_types.restype = ctypes.c_char_p
        self._loaded.table_types.argtypes = [ctypes.c_int64]
        self._loaded.table_call.argtypes = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
        self._loaded.table_call.restype = None
        self._loaded.table_id.restype = ctypes.c_void_p
        self.identity = ctypes.string_at(self._loaded.table_id(), 8)
        self.types = [self._types(i) for i in range(self._loaded.table_size())]
        self.numbers = {name: i for i, (name, _) in enumerate(library.kernels)}

    def _types(self, number: int) -> str:
        text: bytes = self._loaded.table_types(number)
        return text.decode()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a kernel; its arrays lie behind all four bases in turn."""
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        bases = [a.ctypes.data - 64 * i for i, a in enumerate(arrays[:4])]
        bases += [0] * (4 - len(bases))
        words: list[int] = []
        n_arrays = 0
        for value, kind in zip(arguments, self.types[self.numbers[name]].split(), strict=True):
            if isinstance(value, np.ndarray):
                base = n_arrays % 4
                words += [base, value.ctypes.data - bases[base], *value.shape]
                n_arrays += 1
            elif kind == "float":
                # The high half of a float's word does not matter.
                words.append(int(np.float32(value).view(np.uint32)) | 0x5EA << 32)
            else:
                words.append(int(value))
        table, program = np.array(bases, np.int64), np.array(words, np.int64)
        self._loaded.table_call(self.numbers[name], table.ctypes.data, program.ctypes.data)


@pytest.fixture(scope="module")
def table(library: libraries.Library, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Link the kernels with what shows their table."""
    folder = tmp_path_factory.mktemp("table")
    members = object_files.members_of(library.read(native_library.ARCHIVE))
    (folder / "kernels.o").write_bytes(members[native_library.KERNELS])
    sources = HERE / "kernel_table.c", folder / "kernels.o"
    return Table(compiled(folder / "table.so", "-shared", "-fPIC", *sources), library)


@pytest.fixture
def wrapper(library: libraries.Library, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The wheel's kernels by name."""
    monkeypatch.setenv(aot_library.VARIABLE, str(library.folder.parent))
    opened = aot_library._open()
    assert isinstance(opened, tuple), opened
    monkeypatch.setattr(aot_library, "library", lambda: opened)
    return aot_library.find


def test_the_table_is_what_its_record_says(table: Table, library: libraries.Library) -> None:
    assert table.types == [types for _, types in library.kernels]
    assert [name for name, _ in library.kernels] == sorted(table.numbers)
    assert table.identity == library.kernels_id
    assert not [types for types in table.types if "->" in types]


def drawn(arguments: tuple[Any, ...], seed: int) -> tuple[Any, ...]:
    """Return copies with random numbers for float32 and int8; sizes and places stay as they are."""
    rng = np.random.default_rng(seed)
    out: list[Any] = []
    for value in arguments:
        if not isinstance(value, np.ndarray):
            out.append(value)
        elif value.dtype == np.float32:
            out.append(rng.standard_normal(value.shape, np.float32))
        elif value.dtype == np.int8:
            out.append(rng.integers(-127, 128, value.shape, np.int8))
        else:
            out.append(value.copy())
    return tuple(out)


def named(name: str) -> Any:
    """Return Numba's kernel of a name."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"fcs_edge.kernels.{module}"), function)


def built() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """List kernels of this CPU's set: name, Numba's kernel, arguments."""
    using = instructions.chosen()
    names = {
        "floats": lambda width: (
            "products.linear_float",
            (using.lanes, width // using.lanes, False),
        ),
        "int8": lambda width: ("products.linear_integer", _integers(8, width)),
        "int4": lambda width: ("products.linear_integer", _integers(4, width)),
        "grouped": lambda width: ("grouped_products.linear_grouped", _grouped(width)),
    }
    for title, (kernel, arguments) in BUILT.items():
        set_name, kind, width = title.split()
        if set_name == using.name:
            name, numbers = names[kind](int(width))
            if kind == "int4" and using.half:
                # Scales are half floats: each is 1.
                scales = np.full(arguments[3].shape, 0x3C00, np.uint16)
                arguments = *arguments[:3], scales, *arguments[4:]
            out = np.ones((4, 2 * int(width) + 1), np.float32)
            yield f"gemm.{name}{numbers}", kernel, (*arguments, out, 1, 0, 0, 2)
    for half in (False, True):
        kinds = using.lanes, depthwise.VECTORS, half, half
        arguments = depthwise_arguments(using, np.uint16 if half else np.float32)
        name = f"ops.depthwise.depthwise_panels{kinds}"
        yield name, depthwise.depthwise_panels(*kinds), arguments


def _floats(width: int) -> tuple[int, int, bool]:
    lanes = instructions.chosen().lanes
    return lanes, width // lanes, False


def _integers(bits: int, width: int) -> tuple[int, int, int, int]:
    using = instructions.chosen()
    lanes = using.int8_lanes if bits == 8 else using.int4_lanes
    dot = using.int8_dot if bits == 8 else using.int4_dot
    return bits, lanes, width // lanes, dot.number


def _grouped(width: int) -> tuple[int, int, int]:
    lanes, _, dot = instructions.chosen().grouped
    return lanes, width // lanes, dot.number


def test_every_kernel_computes_the_bits_of_numba(
    table: Table, wrapper: Callable[[str], Any]
) -> None:
    """By its wrapper, which takes arrays, and by its adapter, which takes words."""
    listed = [(n, named(n), ARGUMENTS[n]) for n in table.numbers if "(" not in n]
    listed += built()
    assert len(listed) > 30
    for seed, (name, kernel, arguments) in enumerate(listed):
        calls = kernel, wrapper(name), partial(table.call, name)
        assert len({_result(call, drawn(arguments, seed)) for call in calls}) == 1, name


def _result(call: Callable[..., object], arguments: tuple[Any, ...]) -> bytes:
    call(*arguments)
    return b"".join(a.tobytes() for a in arguments if isinstance(a, np.ndarray))


def test_the_library_needs_and_exports_no_other_symbol(library: libraries.Library) -> None:
    members = object_files.members_of(library.read(native_library.ARCHIVE))
    assert native_library.undefined(members.values()) <= native_library.PLATFORM
    found = subprocess.run(
        [needed("readelf"), "--dyn-syms", "--wide", library.folder / native_library.SHARED],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [line.split() for line in found.splitlines() if "GLOBAL" in line]
    assert {row[7] for row in rows if row[6] == "UND"} <= native_library.PLATFORM
    exported = {row[7] for row in rows if row[6] != "UND"}
    header = (libraries.NATIVE / "fcs.h").read_text()
    assert len(exported) > 10
    assert all(name.startswith("fcs_") and f"{name}(" in header for name in exported)


def test_a_call_of_the_c_library_would_be_found(tmp_path: Path) -> None:
    if toolchain.find("clang") is None:
        lacking(toolchain.missing("clang"))
    source = tmp_path / "call.c"
    source.write_text('int puts(const char *); int f(void); int f(void) { return puts(""); }\n')
    data = native_library.compiled("aarch64-unknown-linux-gnu", source)
    assert native_library.undefined([data]) == {"puts"}


def test_records_without_execution(wrapper: Callable[[str], Any]) -> None:
    x, out = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    gelu, read = wrapper("ops.gelu.gelu"), wrapper("gemm.peak.read")
    with aot_library.recorded_calls(execute=False) as calls:
        gelu(x, out)
        with pytest.raises(RuntimeError, match=r"gemm\.peak\.read returns a value"):
            read(x[0], 2)
    assert [(kernel.name, a[1] is out) for kernel, a in calls] == [("ops.gelu.gelu", True)]
    assert not out.any()
    gelu(x, out)
    assert out.all()
