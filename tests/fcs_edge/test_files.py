"""New files: complete or absent, under races, signals, full disks, and on any file system."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from fcs_edge import files
from fcs_edge.errors import FcsError
from fcs_edge.files import creating, naming, remains, replacing
from helpers import limited_file_size

OLD, NEW = b"old", b"new" * 1000


@pytest.fixture(params=["unnamed", "unnamed without links", "hidden", "without links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of each kind of file system."""
    if not request.param.startswith("unnamed"):
        monkeypatch.setattr(files, "_unnamed", lambda path: None)
    if request.param.endswith("without links"):

        def refuse(source: str, path: Path) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source)

        monkeypatch.setattr(files, "_link", refuse)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_file_appears_complete(folder: Path) -> None:
    with creating(folder / "a.wav", overwrite=False) as file:
        file.write(NEW)
        file.seek(0)
        file.write(b"N")
        file.flush()
        assert not (folder / "a.wav").exists()
    assert contents(folder) == {"a.wav": b"N" + NEW[1:]}
    mask = os.umask(0)
    os.umask(mask)
    assert (folder / "a.wav").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_path_leads_to_the_new_file(folder: Path) -> None:
    with replacing(folder / "a") as path:
        path.write_bytes(NEW)
        with path.open("r+b") as file:
            file.write(b"N")
    assert contents(folder) == {"a": b"N" + NEW[1:]}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_nothing_remains_after_an_error(folder: Path, error: type[BaseException]) -> None:
    (folder / "a").write_bytes(OLD)

    def fail(file: BinaryIO) -> None:
        file.write(NEW)
        raise error

    with pytest.raises(error), creating(folder / "a") as file:
        fail(file)
    assert contents(folder) == {"a": OLD}


def test_a_file_that_appears_meanwhile_stays(folder: Path) -> None:
    """The result is not lost: it gets the next free name, and the message says which."""

    def write(file: BinaryIO) -> None:
        file.write(NEW)
        (folder / "a.fcs").write_bytes(OLD)

    for number in (1, 2):
        with (
            pytest.raises(FcsError, match=rf"a\.fcs: another .* in .*a-{number}\.fcs"),
            creating(folder / "a.fcs", overwrite=False) as file,
        ):
            write(file)
    assert contents(folder) == {"a.fcs": OLD, "a-1.fcs": NEW, "a-2.fcs": NEW}


def write_at_once(path: Path, **options: bool) -> int:
    """Write one file from eight threads, which end at the same time; return how many fail."""
    barrier = threading.Barrier(8)
    failed = []

    def write(number: int) -> None:
        try:
            with creating(path, **options) as file:
                file.write(bytes([number]) * 100)
                barrier.wait()
        except FcsError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(failed)


def test_writers_at_once_lose_nothing(folder: Path) -> None:
    """Of eight threads with one new name, one gets it."""
    assert write_at_once(folder / "a", overwrite=False) == 7
    assert len(set(contents(folder).values())) == len(contents(folder)) == 8


def test_writers_at_once_that_replace_leave_one_file(folder: Path) -> None:
    assert write_at_once(folder / "a") == 0
    assert list(contents(folder)) == ["a"]
    assert len(contents(folder)["a"]) == 100


def test_a_replaced_file_keeps_its_access(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(OLD)
    path.chmod(0o600)
    os.link(path, folder / "other")
    with creating(path) as file:
        file.write(NEW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert contents(folder) == {"a": NEW, "other": OLD}


@pytest.mark.parametrize("dangling", [True, False])
def test_a_symbolic_link_leads_to_its_file(folder: Path, dangling: bool) -> None:
    (folder / "there").mkdir()
    (folder / "a").symlink_to("there/target")
    if not dangling:
        (folder / "there/target").write_bytes(OLD)
    with creating(folder / "a", overwrite=not dangling) as file:
        file.write(NEW)
    assert (folder / "a").is_symlink()
    assert contents(folder / "there") == {"target": NEW}


def test_a_device_is_not_replaced(folder: Path) -> None:
    os.mkfifo(folder / "a")
    for overwrite in (True, False):
        with (
            pytest.raises(FcsError, match="a device or pipe"),
            creating(folder / "a", overwrite=overwrite),
        ):
            pass
    assert (folder / "a").is_fifo()


def test_a_long_name(folder: Path) -> None:
    path = folder / ("ü" * 125 + ".wav")
    for _ in range(2):
        with creating(path) as file:
            file.write(NEW)
    assert contents(folder) == {path.name: NEW}


@pytest.mark.parametrize("limit", [0, 4096, 100_000])
def test_a_full_disk(folder: Path, limit: int) -> None:
    for overwrite in (True, False):
        with (
            pytest.raises(OSError, match="File too large") as caught,
            limited_file_size(limit),
            creating(folder / "a", overwrite=overwrite) as file,
        ):
            file.write(bytes(limit + 1))
        assert caught.value.filename == str(folder / "a")
        assert contents(folder) == {}


def killed(write: Callable[[], None]) -> int:
    """Run a function in a child process that ends by SIGKILL within it; return the signal."""
    pid = os.fork()
    if pid == 0:
        write()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_killed_process_leaves_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing where files need no name; elsewhere a file that is named while nobody writes it."""

    def write() -> None:
        with creating(tmp_path / "a.wav") as file:
            file.write(NEW)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    if (descriptor := files._unnamed(tmp_path / "a")) is not None:
        os.close(descriptor)
        assert killed(write) == signal.SIGKILL
        assert contents(tmp_path) == {}
    monkeypatch.setattr(files, "_unnamed", lambda path: None)
    assert killed(write) == signal.SIGKILL
    (left,) = tmp_path.iterdir()
    (tmp_path / ".b-12345678.wav").touch()
    (tmp_path / ".a-1234567g.wav").touch()
    assert remains(tmp_path / "a.wav") == [left]
    with creating(tmp_path / "a.wav"):
        assert remains(tmp_path / "a.wav") == [left]
    assert left.exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EIO, "Input/output error"), "a.wav: Input/output error"),
        (OSError(errno.EIO, "Input/output error", "b"), "b: Input/output error"),
        (OSError("odd"), "a.wav: odd"),
        (MemoryError(), "a.wav: out of memory"),
        (EOFError(), "a.wav: ends too early"),
        (RecursionError(), "a.wav: is nested too deeply"),
    ],
)
def test_errors_name_their_file(error: Exception, text: str) -> None:
    with pytest.raises((OSError, FcsError)) as caught, naming("a.wav"):
        raise error
    found = caught.value
    if isinstance(found, OSError):
        assert f"{found.filename}: {found.strerror}" == text
    else:
        assert str(found) == text
        assert found.__cause__ is error


def test_a_file_that_replaces_another_is_no_remain(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a").write_bytes(b"old")
    found, rename = [], files._rename

    def noted(hidden: Path, path: Path, overwrite: bool) -> None:
        assert hidden.exists()
        found.append(files.remains_in(folder))
        rename(hidden, path, overwrite)

    monkeypatch.setattr(files, "_rename", noted)
    with creating(folder / "a") as file:
        file.write(b"new")
    assert found == [[]]
    assert contents(folder) == {"a": b"new"}
