"""Numba's files of compiled kernels may be damaged, full or read-only: results are the same."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge.kernels.runtime import _jit, numba_cache
from fcs_edge.kernels.runtime.aot_library import KernelWarning

X = np.array([1, 2, 3], np.float32)


def double(x: Any, out: Any) -> None:
    """``out[i] = 2 x[i]``."""
    for i in range(x.size):
        out[i] = x[i] + x[i]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of compiled kernels."""
    monkeypatch.setattr(numba_cache, "_folders", lambda source: [str(tmp_path / "cache")])
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let warnings appear again, as in a new process."""
    monkeypatch.setattr(numba_cache._State, "damage_reported", False)
    monkeypatch.setattr(numba_cache._State, "loss_reported", False)


def run(dtype: Any = np.float32) -> tuple[int, list[str]]:
    """Call the kernel as a new process does; return how often it was compiled, and the warnings."""
    numba_cache._State.damage_reported = numba_cache._State.loss_reported = False
    compiled = _jit._compiled(double)
    out = np.zeros(3, dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled(X.astype(dtype), out)
    np.testing.assert_array_equal(out, [2, 4, 6])
    assert all(w.category is KernelWarning for w in caught)
    return sum(compiled.stats.cache_misses.values()), [str(w.message) for w in caught]


def test_a_kernel_is_compiled_once(folder: Path) -> None:
    assert run() == (1, [])
    assert run() == (0, [])
    assert run(np.float64) == (1, [])
    assert run(np.float64) == run() == (0, [])
    assert len(list(folder.glob("*.nbi"))) == 1
    assert len(list(folder.glob("*.nbc"))) == 2
    assert len(list(folder.iterdir())) == 3


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut to 3 bytes": lambda path: path.write_bytes(path.read_bytes()[:3]),
    "cut by half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "one bit": lambda path: path.write_bytes(
        bytes(byte ^ (i == 1000 % path.stat().st_size) for i, byte in enumerate(path.read_bytes()))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_files(suffix: str, damage: str, folder: Path) -> None:
    """One warning that names the folder; the next process finds all in order."""
    run()
    (path,) = folder.glob(f"*{suffix}")
    DAMAGES[damage](path)
    n, (warning,) = run()
    assert n == 1
    assert f"{folder}: the cache of compiled kernels is damaged ({path.name} " in warning
    assert run() == (0, [])


def test_many_damaged_files_are_one_warning(folder: Path) -> None:
    run()
    run(np.float64)
    for path in folder.iterdir():
        path.write_bytes(b"")
    compiled = _jit._compiled(double)
    with pytest.warns(KernelWarning) as caught:
        compiled(X, np.zeros(3, np.float32))
    assert len(caught) == 1
    compiled(X.astype(np.float64), np.zeros(3))  # a second warning would be an error


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_files_that_cannot_be_read_or_replaced(suffix: str, folder: Path) -> None:
    """A folder stands for them: root, who may run this, reads any file."""
    run()
    (path,) = folder.glob(f"*{suffix}")
    replace_by_folder(path)
    n, found = run()
    assert n == 1
    assert "the cache of compiled kernels cannot be read (Is a directory)" in found[0]
    assert "compiled kernels cannot be kept" in found[1]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_missing_file_is_no_damage(suffix: str, folder: Path) -> None:
    run()
    (path,) = folder.glob(f"*{suffix}")
    path.unlink()
    assert run() == (1, [])
    assert run() == (0, [])


def test_what_cannot_be_rebuilt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksum holds, but Numba refuses what it covers."""
    run()

    def refuse(*_: Any) -> None:
        raise EOFError("no")

    monkeypatch.setattr(numba_cache.CompileResult, "_rebuild", refuse)
    n, found = run()
    assert n == 1
    assert "(no)" in found[0]


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [0, 200])
def test_a_full_disk(n_bytes: int, folder: Path) -> None:
    with file_size_limit(n_bytes):
        n, (warning,) = run()
    assert n == 1
    assert f"cannot be kept ({folder}: File too large)" in warning
    assert "set NUMBA_CACHE_DIR" in warning
    assert list(folder.iterdir()) == []
    assert run() == (1, [])
    assert run() == (0, [])


def test_no_folder_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    folders = [str(tmp_path / "file" / name) for name in ("first", "second")]
    monkeypatch.setattr(numba_cache, "_folders", lambda source: folders)
    n, (warning,) = run()
    assert n == 1
    assert f"cannot be kept ({folders[0]}: Not a directory), so that each start" in warning
    assert _jit._compiled(double).stats.cache_path is None


def test_a_complete_folder_is_read_where_it_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(
        numba_cache, "_folders", lambda source: [str(folder), str(tmp_path / "home")]
    )

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    before = {path: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        save = numba_cache._Files.save
        patch.setattr(
            numba_cache._Files,
            "save",
            lambda files, *a: refuse() if files.folder == str(folder) else save(files, *a),
        )
        assert run() == (0, [])
        # What it lacks goes to the next folder.
        assert run(np.float64) == (1, [])
        assert run(np.float64) == (0, [])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_which_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numba_cache._folders.cache_clear()
    source = str(tmp_path / "package" / "kernels.py")
    monkeypatch.setattr(numba_cache.config, "CACHE_DIR", "")
    package, home = numba_cache._folders(source)
    assert package == str(tmp_path / "package" / "__pycache__")
    assert "numba" in home
    monkeypatch.setattr(numba_cache.config, "CACHE_DIR", str(tmp_path / "a" / "b"))
    numba_cache._folders.cache_clear()
    (named,) = numba_cache._folders(source)
    assert named.startswith(str(tmp_path / "a" / "b"))
    numba_cache._folders.cache_clear()
    (tmp_path / "a").write_bytes(b"")
    assert numba_cache._folders(source) == [named, package, home]
    numba_cache._folders.cache_clear()


def test_two_processes_that_compile_different_kernels_mix_nothing(tmp_path: Path) -> None:
    """Each reads the index before the other writes it, as if both wrote at once."""
    files = [numba_cache._Files(str(tmp_path), "kernel", b"sources") for _ in range(2)]
    empty: dict[Any, str] = {}
    for one, key in zip(files, ("first", "second"), strict=True):
        one._load_index = lambda: dict(empty)  # type: ignore[method-assign]
        one.save(key, f"code of the {key}")
    files = [numba_cache._Files(str(tmp_path), "kernel", b"sources") for _ in range(2)]
    assert files[0].load("second") == "code of the second"
    assert files[0].load("first") is None
    files[0].save("first", "code of the first")
    assert [files[1].load(key) for key in ("first", "second")] == [
        "code of the first",
        "code of the second",
    ]
    assert numba_cache._Files(str(tmp_path), "kernel", b"others").load("first") is None


AT_ONCE = """
import sys
sys.path[:0] = sys.argv[1:2]
import test_damaged_cache as t
for _ in sys.stdin:
    print(t.run(), flush=True)
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    """On an empty folder, then on a damaged one: both give the right result."""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(Path(__file__).parent)],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for _ in range(3):
        for process in both:
            assert process.stdin is not None
            print(file=process.stdin, flush=True)
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(("(1, [", "(0, ["))
        files = [path for path in tmp_path.rglob("*double*") if path.is_file()]
        assert sorted(path.suffix for path in files) == [".nbc", ".nbi"]
        for path in files:
            path.write_bytes(b"damaged")
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_numbas_compiler_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _jit.obstacle() == ""
    monkeypatch.setattr(numba_cache.config, "DISABLE_JIT", True)
    assert "NUMBA_DISABLE_JIT is set" in _jit.obstacle()
