"""Where datasets lie: each file whole or not at all, one run at a time, one line for each fault."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fcs_edge.corpus.storage import (
    Folder,
    ObjectStore,
    Storage,
    checked_name,
    data_name,
    open_storage,
    shard_names,
)
from fcs_edge.errors import CorpusError
from helpers import limited_file_size

NAME = "0123456789abcdef"


def folder(tmp_path: Path) -> Storage:
    return Folder(tmp_path / "out", create=True)


def local_store(tmp_path: Path) -> Storage:
    fs = pytest.importorskip("pyarrow.fs")
    (tmp_path / "bucket").mkdir()
    return ObjectStore(
        fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket", "s3://b"
    )


def mock_store(tmp_path: Path) -> Storage:
    fs = pytest.importorskip("pyarrow._fs")
    return ObjectStore(fs._MockFileSystem(), "bucket/tokens", "mock://bucket/tokens")


@pytest.fixture(params=[folder, local_store, mock_store])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    opened: Storage = request.param(tmp_path)
    return opened


def put(storage: Storage, name: str, data: bytes = b"data") -> None:
    with storage.write(name) as file:
        file.write(data)


def test_files_are_written_read_moved_and_deleted(storage: Storage) -> None:
    put(storage, data_name(NAME), b"first")
    put(storage, data_name(NAME), b"second")
    put(storage, "npz/a/b.wav.npz")
    put(storage, "README.md")
    assert storage.read(data_name(NAME)) == b"second"
    with storage.open(data_name(NAME)) as file:
        file.seek(3)
        assert file.read(2) == b"on"
    assert storage.names() == ["README.md"]
    assert storage.names("data") == [f"{NAME}.parquet"]
    assert list(storage.tree("npz")) == ["npz/a/b.wav.npz"]
    assert storage.exists("npz/a/b.wav.npz")
    assert not storage.exists("npz/a")
    storage.move(data_name(NAME), f"stale/{NAME}.parquet")
    assert shard_names(storage) == []
    assert shard_names(storage, "stale") == [NAME]
    storage.delete(f"stale/{NAME}.parquet")
    storage.delete(f"stale/{NAME}.parquet")
    assert storage.names("stale") == storage.names("no folder") == []


def write_until_interrupted(storage: Storage, name: str) -> None:
    with storage.write(name) as file:
        file.write(b"part")
        raise KeyboardInterrupt


def test_a_file_that_is_not_finished_does_not_exist(storage: Storage) -> None:
    put(storage, "a", b"old")
    for name in ("a", "data/b"):
        with pytest.raises(KeyboardInterrupt):
            write_until_interrupted(storage, name)
    assert storage.read("a") == b"old"
    assert storage.names("data") == []


def test_a_place_that_takes_files_is_left_as_it_was(storage: Storage) -> None:
    storage.probe()
    assert storage.names("data") == []
    assert storage.clean() == 0
    with storage.lock():
        pass
    assert storage.names() == []


def test_a_probe_that_is_interrupted_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcs_edge.corpus.storage._sync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder(tmp_path).probe()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_file_is_one_line(storage: Storage) -> None:
    for call in (storage.read, storage.open):
        with pytest.raises(CorpusError, match=r"data/x: no such file$"):
            call("data/x")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "data/../../a", "a//b", "./a", "a\0"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, storage: Storage) -> None:
    with pytest.raises(CorpusError, match="is no name of a dataset's file"):
        checked_name(name)
    for call in (storage.read, storage.delete, storage.exists, lambda n: storage.move(n, "b")):
        with pytest.raises(CorpusError, match="is no name"):
            call(name)
    with pytest.raises(CorpusError, match="is no name"), storage.write(name):
        pass


def test_only_names_of_shards_are_shards(storage: Storage) -> None:
    for name in ("0123.parquet", f"{NAME}.parquet", f".{NAME}.parquet", f"{NAME.upper()}.parquet"):
        put(storage, f"data/{name}")
    assert shard_names(storage) == [NAME]


def test_a_folder_is_opened_by_path_or_uri(tmp_path: Path) -> None:
    out = tmp_path / "an out"
    with pytest.raises(CorpusError, match="an out: no such folder"):
        open_storage(out)
    assert open_storage(out, create=True).location == str(out)
    storage = open_storage(f"file://{tmp_path}/an%20out")
    assert isinstance(storage, Folder)
    assert storage.location == str(out)
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="file: is a file; a dataset is a folder"):
        open_storage(tmp_path / "file", create=True)
    for text in ("", "a\0b"):
        with pytest.raises(CorpusError, match="is no name of a folder"):
            open_storage(text)


def test_a_uri_opens_an_object_store() -> None:
    pytest.importorskip("pyarrow")
    storage = open_storage("mock:///bucket/")
    assert isinstance(storage, ObjectStore)
    assert storage.label("data/x") == "mock:///bucket/data/x"
    assert open_storage("mock:///bucket?a=b").label("x") == "mock:///bucket/x"
    for uri in ("nowhere://bucket", "mock:///"):
        with pytest.raises(CorpusError, match=f"^{uri}: not the URI of a folder"):
            open_storage(uri)


def test_a_uri_needs_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(CorpusError, match=r"needs pyarrow: pip install pyarrow$"):
        open_storage("s3://bucket/tokens")


def test_a_second_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    second = folder(tmp_path)
    refused = pytest.raises(CorpusError, match="another run writes to it")
    with storage.lock(), refused, second.lock():
        pass
    with folder(tmp_path).lock():
        pass
    assert os.listdir(tmp_path / "out") == []


def in_killed_process(out: Path, work: str) -> None:
    """Do something with the `storage` of a folder in a process that is killed when it is done."""
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from fcs_edge.corpus.storage import Folder\n"
        f"storage = Folder(Path({str(out)!r}))\n"
        f"{work}\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program])
    assert done.returncode == -signal.SIGKILL


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    in_killed_process(tmp_path / "out", "lock = storage.lock(); lock.__enter__()")
    assert (tmp_path / "out" / ".lock").exists()
    with storage.lock():
        pass
    assert os.listdir(tmp_path / "out") == []


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    put(storage, data_name(NAME))
    in_killed_process(
        tmp_path / "out",
        "del os.O_TMPFILE  # as where no file is without a name\n"
        "files = [storage.write(n) for n in ('data/b.parquet', 'npz/a/c.npz', 'd.json')]\n"
        "for file in files: file.__enter__()",
    )
    left = {path.name for path in (tmp_path / "out").rglob(".*")}
    assert len(left) == 3
    out = tmp_path / "out" / "data"
    (out / ".mine").touch()
    held = out / ".e-01234567.parquet"
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert storage.clean() == 3
    assert {path.name for path in (tmp_path / "out").rglob(".*")} == {".mine", held.name}
    assert storage.clean() == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    put(storage, data_name(NAME), b"whole")
    for name in (data_name(NAME), "npz/a.npz"):
        with (
            pytest.raises(CorpusError, match=f"{name}: File too large$"),
            limited_file_size(1000),
            storage.write(name) as file,
        ):
            file.write(bytes(5000))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"whole"]


def test_a_place_that_refuses_is_one_line(tmp_path: Path) -> None:
    refusing = Path("/proc/self/task")
    if os.geteuid() != 0:
        refusing = tmp_path / "read-only"
        refusing.mkdir()
        refusing.chmod(0o555)
    with pytest.raises(CorpusError, match=rf"^{refusing}/data[^:]*: ") as raised:
        Folder(refusing).probe()
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_gone_is_not_created_again(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    storage.probe()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(CorpusError, match="out: the folder is gone"):
        put(storage, data_name(NAME))
    assert not (tmp_path / "out").exists()
    assert shard_names(storage) == []


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    storage = folder(tmp_path)
    os.mkfifo(tmp_path / "out" / "dataset.json")
    with pytest.raises(CorpusError, match=r"dataset.json: not a regular file"):
        storage.read("dataset.json")
