"""Inputs to items: folders, globs, files, lists of paths."""

from __future__ import annotations

import io
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fcs_edge.corpus.items import Item
from fcs_edge.corpus.scan import scan
from fcs_edge.errors import CorpusError


def fill(folder: Path, *names: str) -> Path:
    """Create files of a few bytes, and their folders."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    return folder


def ids(*inputs: object, **options: Any) -> list[str]:
    return [item.id for item in scan([str(given) for given in inputs], **options)]


def errors(*inputs: object, **options: Any) -> dict[str, str | None]:
    return {item.id: item.error for item in scan([str(i) for i in inputs], **options)}


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_sounds_in_the_order_of_their_paths(tmp_path: Path) -> None:
    fill(
        tmp_path, "b/y.flac", "b/x.wav", "a.wav", "b.mp3", "notes.txt", "b-1.ogg", "wav", "c/z.WAV"
    )
    assert ids(tmp_path) == ["a.wav", "b-1.ogg", "b.mp3", "b/x.wav", "b/y.flac", "c/z.WAV"]


def test_an_item_has_the_absolute_path_and_the_file_s_size_and_time(current: Path) -> None:
    fill(current, "in/a.wav")
    os.utime(current / "in/a.wav", ns=(1, 1234567890123456789))
    (item,) = scan(["in"])
    path = str(current / "in/a.wav")
    assert item == Item("a.wav", path, size=5, mtime_ns=1234567890123456789)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, ".a.wav", "._b.wav", ".hidden/c.wav", "d/.e/f.wav", "d/g.wav")
    assert ids(tmp_path) == ["d/g.wav"]
    assert ids(tmp_path / ".hidden") == ["c.wav"], "a hidden folder that the user names"


def test_files_whose_format_is_not_read_are_named(tmp_path: Path) -> None:
    assert ids(fill(tmp_path, "a.m4a", "b.wma", "c.wav")) == ["a.m4a", "b.wma", "c.wav"]


def test_circular_links_end(tmp_path: Path) -> None:
    fill(tmp_path, "a/x.wav", "b/y.wav")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/up").symlink_to(tmp_path.parent)
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    assert ids(tmp_path) == ["a/x.wav", "b/y.wav"]
    assert ids(tmp_path / "**/*.wav") == ["a/x.wav", "b/y.wav"]


def test_a_link_to_a_folder_elsewhere_leads_there_once(tmp_path: Path) -> None:
    fill(tmp_path, "in/z.wav", "store/x.wav", "store/deep/y.wav")
    for name, target in [("1", "../store/deep"), ("2", "../store"), ("3", "../store/deep")]:
        (tmp_path / "in" / name).symlink_to(target)
    assert ids(tmp_path / "in") == ["1/y.wav", "2/x.wav", "z.wav"]


def test_a_link_to_a_hidden_folder_inside_leads_there(tmp_path: Path) -> None:
    fill(tmp_path, ".store/x.wav")
    (tmp_path / "shown").symlink_to(".store")
    assert ids(tmp_path) == ["shown/x.wav"]


def test_links_to_files_are_files(tmp_path: Path) -> None:
    fill(tmp_path, "store/x.wav", "in/y.wav")
    (tmp_path / "in/x.wav").symlink_to("../store/x.wav")
    assert ids(tmp_path / "in") == ["x.wav", "y.wav"]


def test_what_is_no_regular_file_is_a_row_with_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    (tmp_path / "c.wav").symlink_to("nowhere")
    (tmp_path / "d.wav").symlink_to("d.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "e.wav"))
        found = errors(tmp_path)
    assert found == {
        "a.wav": "is a named pipe, no file",
        "b.wav": "is a device, no file",
        "c.wav": "is a link that leads nowhere",
        "d.wav": "too many levels of symbolic links",
        "e.wav": "is a socket, no file",
    }


def test_a_folder_called_like_a_sound_is_a_folder(tmp_path: Path) -> None:
    assert ids(fill(tmp_path, "a.wav/b.wav")) == ["a.wav/b.wav"]


def test_names_that_are_not_utf8_or_have_line_ends_are_escaped(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"caf\xe9.wav", b"two\nlines.wav", "grüße.wav".encode(), b"esc\x1b[2J.wav"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"")
    items = list(scan([str(tmp_path)]))
    assert [item.id for item in items] == [
        *("caf\\xe9.wav", "esc\\x1b[2J.wav", "grüße.wav", "two\\x0alines.wav"),
    ]
    assert all(item.error is None and os.path.exists(item.path) for item in items)


def test_paths_of_300_characters_and_more(tmp_path: Path) -> None:
    name = "/".join(["a" * 200, "b" * 200, "c" * 251 + ".wav"])
    assert ids(fill(tmp_path, name)) == [name]


def test_a_deep_tree_is_no_deep_recursion(current: Path) -> None:
    depth = 300
    limit = sys.getrecursionlimit()
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    try:
        Path("x.wav").write_bytes(b"")
        sys.setrecursionlimit(sum(1 for _ in traceback.walk_stack(None)) + 100)
        assert ids(current) == ["d/" * depth + "x.wav"]
    finally:
        sys.setrecursionlimit(limit)
        os.unlink("x.wav")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


def test_a_folder_that_cannot_be_read_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/x.wav", "b/y.wav")
    scandir: Callable[[str], Any] = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert errors(tmp_path) == {"a/": "permission denied", "b/y.wav": None}
    assert errors(tmp_path / "**/*.wav") == {"a/": "permission denied", "b/y.wav": None}
    with pytest.raises(CorpusError, match=r"a: permission denied$"):
        ids(tmp_path / "a")


def test_a_file_is_an_item_whatever_its_suffix(current: Path) -> None:
    fill(current, "in/x.wav", "in/sound", "in/y.snd.bak")
    assert ids("in/x.wav", "in/sound", "in/y.snd.bak") == ["x.wav", "sound", "y.snd.bak"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.wav", ["a.wav", "b.wav"]),
        ("in/?.WAV", ["c.WAV"]),
        ("in/*/*.wav", ["d/e.wav", "d/f.wav"]),
        ("in/[ab]*", ["a.wav", "b.wav"]),
        ("in/**/*.wav", ["a.wav", "b.wav", "d/e.wav", "d/f.wav", "d/g/h.wav"]),
        ("in/**/g/**", ["d/g/h.wav"]),
        ("in/**", ["a.wav", "b.wav", "c.WAV", "d/e.wav", "d/f.wav", "d/g/h.wav", "d/notes.txt"]),
        ("in/d*", ["d/e.wav", "d/f.wav", "d/g/h.wav"]),
        ("*/d/[e-f].wav", ["in/d/e.wav", "in/d/f.wav"]),
        ("./in/../in/*.wav", ["a.wav", "b.wav"]),
    ],
)
def test_a_glob_gives_what_matches(current: Path, pattern: str, expected: list[str]) -> None:
    fill(current, "in/b.wav", "in/a.wav", "in/c.WAV", "in/d/e.wav", "in/d/f.wav", "in/d/g/h.wav")
    fill(current, "in/d/notes.txt", "in/.hidden.wav", "in/.h/i.wav")
    assert ids(pattern) == expected
    assert ids(current / pattern) == expected


def test_a_file_that_is_called_like_a_glob_is_itself(current: Path) -> None:
    fill(current, "[a]*.wav", "a1.wav")
    assert ids("[a]*.wav") == ["[a]*.wav"]
    assert ids(".") == ["[a]*.wav", "a1.wav"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing", "missing: no such file or folder"),
        ("missing.wav", "missing.wav: no such file or folder"),
        ("", "an empty input: no such file or folder"),
        ("in/*.ogg", "in/*.ogg: no file matches"),
        ("nowhere/*.ogg", "nowhere/*.ogg: no file matches"),
        ("empty", "empty: gives no sound to encode; of a folder files with a suffix such as .wav"),
        ("in/x.tar.gz", "x.tar.gz: members of a compressed archive cannot be read in place"),
        ("bad\nname", "bad\\x0aname: no such file or folder"),
    ],
)
def test_an_input_without_a_sound_is_named(current: Path, given: str, message: str) -> None:
    fill(current, "in/a.wav", "in/x.tar.gz", "empty/notes.txt")
    with pytest.raises(CorpusError) as caught:
        ids("in", given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_root_makes_ids_of_several_inputs_differ(current: Path) -> None:
    fill(current, "a/x.wav", "b/x.wav", "c.wav")
    assert ids("a", "b") == ["x.wav", "x.wav"]
    assert ids("a", "b", "c.wav", root=".") == ["a/x.wav", "b/x.wav", "c.wav"]
    assert ids("a", "b/*.wav", root=str(current.parent)) == [
        f"{current.name}/a/x.wav",
        f"{current.name}/b/x.wav",
    ]
    with pytest.raises(CorpusError, match=r"b/x\.wav: is not below .*/a, which --root names"):
        ids("a", "b", root="a")


def test_the_dataset_s_own_files_are_never_items(current: Path) -> None:
    fill(current, "out/_errors.tsv", "out/README.md", "out/dataset.json", "out/npz/a.wav.npz")
    fill(current, "out/data/0123456789abcdef.parquet", "out/stale/0.parquet", "out/fcs/a.fcs")
    fill(current, "out/sounds/x.wav", "in/y.wav", "out/data/z.wav")
    assert ids("out", out="out") == ["data/z.wav", "sounds/x.wav"]
    assert ids("out/**", out="out") == ["data/z.wav", "sounds/x.wav"]
    assert ids(".", out=str(current / "out")) == ["in/y.wav", "out/data/z.wav", "out/sounds/x.wav"]
    assert ids("out/sounds", out="out") == ["x.wav"]
    with pytest.raises(CorpusError, match=r"out/README.md: gives no sound"):
        ids("out/README.md", out="out")


def listing(*paths: str | bytes, end: bytes = b"\n") -> io.BytesIO:
    return io.BytesIO(end.join([os.fsencode(path) for path in paths] + [b""]))


def test_a_list_names_files_of_the_current_folder(current: Path) -> None:
    fill(current, "a/x.wav", "b/y.flac", "c.bin")
    names = listing("b/y.flac", "./a/x.wav", "", str(current / "c.bin"))
    assert ids("-", names=names) == ["b/y.flac", "a/x.wav", "c.bin"]
    names = listing("a/x.wav", "b")
    assert ids("-", names=names, root=str(current.parent)) == [
        f"{current.name}/a/x.wav",
        f"{current.name}/b/y.flac",
    ]


def test_a_list_may_end_without_a_line_end_and_have_those_of_windows(current: Path) -> None:
    fill(current, "a.wav", "b.wav")
    assert ids("-", names=io.BytesIO(b"a.wav\r\n\r\nb.wav")) == ["a.wav", "b.wav"]


def test_nul_separates_names_with_line_ends(current: Path) -> None:
    odd = os.fsdecode(b"two\nlines\r\xff.wav")
    fill(current, odd, "b.wav")
    found = list(scan(["-"], names=listing(odd, "b.wav", end=b"\0"), nul=True))
    assert [(item.id, item.error) for item in found] == [
        ("two\\x0alines\\x0d\\xff.wav", None),
        ("b.wav", None),
    ]


def test_a_file_of_a_list_that_is_missing_is_a_row(current: Path) -> None:
    fill(current, "a.wav")
    names = listing("a.wav", "gone.wav", "a\0b.wav", "s3://bucket/c.wav")
    assert errors("-", names=names) == {
        "a.wav": None,
        "gone.wav": "no such file",
        "a\\x00b.wav": "no file can have this name",
        "s3://bucket/c.wav": "is an address; only files are read",
    }


def test_a_list_is_read_as_it_arrives(current: Path) -> None:
    fill(current, "a.wav")

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return b"a.wav\n"

    found = scan(["-"], names=Endless())  # type: ignore[arg-type]
    assert [next(found).id for _ in range(3)] == ["a.wav"] * 3


@pytest.mark.parametrize(("nul", "data"), [(False, b"a\0" * 99999), (True, b"a\n" * 99999)])
def test_a_list_with_the_other_ends_is_refused(nul: bool, data: bytes) -> None:
    with pytest.raises(CorpusError, match="a path has over 65536 bytes; -"):
        ids("-", names=io.BytesIO(data), nul=nul)


def test_a_list_that_is_empty_or_closed_is_refused() -> None:
    with pytest.raises(CorpusError, match="standard input: gives no sound"):
        ids("-", names=io.BytesIO(b"\n\n"))
    with pytest.raises(CorpusError, match="standard input is closed"):
        ids("-")


def test_a_path_with_a_link_and_dots_leads_where_the_system_goes(current: Path) -> None:
    fill(current, "real/deep/in/x.wav", "real/deep/y.wav", "y.wav")
    (current / "link").symlink_to("real/deep/in")
    found = list(scan(["link/../y.wav", "link/x.wav"]))
    assert [item.path for item in found] == [
        str(current / "real/deep/y.wav"),
        str(current / "link/x.wav"),
    ]


def test_a_scan_is_lazy(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav")
    found: Iterator[Item] = scan([str(tmp_path), "missing"])
    assert next(found).id == "a.wav"
    with pytest.raises(CorpusError, match="missing"):
        next(found)
