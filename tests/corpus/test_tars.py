"""Members of tars to items, by their places."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge.corpus.items import Item
from fcs_edge.corpus.scan import scan
from fcs_edge.text import printable

END = 1024
"""Bytes of the blocks that end a tar; `tarfile` adds zeros up to 10,240."""


def member(name: str, data: bytes = b"sound", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar, without the zeros after its end."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
        size = archive.offset
    return file.getvalue()[: size + END]


def items(folder: Path, data: bytes, name: str = "x.tar", **options: Any) -> list[Item]:
    (folder / name).write_bytes(data)
    return list(scan([str(folder / name)], **options))


def errors(folder: Path, data: bytes) -> dict[str, str | None]:
    return {item.id: item.error for item in items(folder, data)}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_items_by_their_places(tmp_path: Path, format: int) -> None:
    sounds = {f"{'long' * 20}/{'er' * 30}-{n}.flac": bytes([n]) * (n * 300) for n in range(5)}
    others = [member("000.json", b"{}"), member("000.txt", b"text"), member("dir", b"", type=b"5")]
    data = tar(*others, *(member(name, sound) for name, sound in sounds.items()), format=format)
    found = items(tmp_path, data)
    assert [item.id for item in found] == [f"x.tar/{name}" for name in sounds]
    assert [item.member for item in found] == list(sounds)
    for item, sound in zip(found, sounds.values(), strict=True):
        assert data[item.start : item.start + item.size] == sound
        assert item.path == str(tmp_path / "x.tar")
        assert item.mtime_ns == (tmp_path / "x.tar").stat().st_mtime_ns


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_are_whole_and_printable(tmp_path: Path, format: int) -> None:
    names = ["a" * 180 + "/" + "b" * 180 + ".wav", "./c.wav", "././/d.WAV", "ü.wav", "e\nf.wav"]
    names.append(os.fsdecode(b"g\xff.wav"))
    found = items(tmp_path, tar(*map(member, names), format=format))
    expected = [*(names[0], "c.wav", "d.WAV", "ü.wav", "e\\x0af.wav", "g\\xff.wav")]
    assert [item.member for item in found] == expected
    assert [item.id for item in found] == [f"x.tar/{name}" for name in expected]


def test_tars_in_folders_follow_the_folder_s_ids(tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/0.TAR").write_bytes(tar(member("a.wav")))
    (tmp_path / "in/x.wav").write_bytes(b"")
    assert [i.id for i in scan([str(tmp_path / "in")])] == ["deep/0.TAR/a.wav", "x.wav"]
    found = scan([str(tmp_path / "in/deep/*.TAR")], root=str(tmp_path))
    assert [i.id for i in found] == ["in/deep/0.TAR/a.wav"]


def test_what_is_not_stored_as_it_is_is_a_row_with_an_error(tmp_path: Path) -> None:
    data = tar(
        member("a.wav"),
        member("b.wav", b"", type=tarfile.SYMTYPE, linkname="a.wav"),
        member("c.wav", b"", type=tarfile.LNKTYPE, linkname="a.wav"),
        member("d.wav", b"", type=tarfile.FIFOTYPE),
        member("e.wav", b"", type=tarfile.CHRTYPE),
        member("f.wav", b"half", type=tarfile.GNUTYPE_SPARSE),
        member("g.wav", b"half", pax_headers={"GNU.sparse.major": "1"}),
        member("h.wav", b"what", type=b"Z"),
        member("i.wav", b"", type=tarfile.DIRTYPE),
        member("z.wav"),
    )
    assert errors(tmp_path, data) == {
        "x.tar/a.wav": None,
        "x.tar/b.wav": "is a link",
        "x.tar/c.wav": "is a link to another member",
        "x.tar/d.wav": "is a named pipe",
        "x.tar/e.wav": "is a device",
        "x.tar/f.wav": "is a sparse file, whose bytes are not stored as they are",
        "x.tar/g.wav": "is a sparse file, whose bytes are not stored as they are",
        "x.tar/h.wav": "is of a kind that is not read",
        "x.tar/z.wav": None,
    }


def test_names_that_lead_out_of_the_tar_are_rows_with_an_error(tmp_path: Path) -> None:
    names = ["../a.wav", "/etc/b.wav", "c/../../d.wav", "c..wav", "..e.wav", "f/..", "ok/g.wav"]
    out = "its name leads out of the tar"
    assert errors(tmp_path, tar(*map(member, names))) == {
        "x.tar/../a.wav": out,
        "x.tar//etc/b.wav": out,
        "x.tar/c/../../d.wav": out,
        "x.tar/c..wav": None,
        "x.tar/..e.wav": None,
        "x.tar/ok/g.wav": None,
    }


def test_a_cut_tar_keeps_what_is_intact(tmp_path: Path) -> None:
    data = tar(member("a.wav", b"a" * 1000), member("b.wav", b"b" * 1000))
    cuts = {
        len(data) - END: "is cut: the blocks that end a tar are missing",
        len(data) - END - 512: "is cut: it ends within a member",
        2 * 512 + 1024 + 100: "is cut: it ends within a member",
        512 + 1024 + 100: "is cut: it ends within a header",
        600: "is cut: it ends within a member",
    }
    for size, problem in cuts.items():
        found = items(tmp_path, data[:size])
        assert [item.error for item in found] == [None] * (len(found) - 1) + [problem]
        assert found[-1].id == "x.tar"
        # A member states its whole size: who reads it sees that bytes are missing.
        assert {item.size for item in found[:-1]} == {1000}
    assert len(found) == 2


def test_bytes_that_are_missing_count_for_no_sound(tmp_path: Path) -> None:
    info, _ = member("a.wav")
    info.size = 10**15
    found = items(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 32000)
    assert [item.size for item in found] == [10**15, 32512]
    assert found[0].seconds == 1.0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"short", "is no tar: it is too short"),
        (b"text " * 1000, "is no tar"),
        (b"\x1f\x8b" + b"x" * 600, "is compressed; decompress it first"),
        (tar(member("n.txt")) + tar(member("b.wav")), "holds more after its end"),
        (tar(member("n.txt"))[: -END - 512] + b"x" * 2000, "is damaged: there is no header"),
    ],
)
def test_a_file_that_is_no_whole_tar_is_a_row(tmp_path: Path, data: bytes, problem: str) -> None:
    (item,) = items(tmp_path, data)
    assert item.id == "x.tar"
    assert (item.error or "").startswith(problem)


def test_a_damaged_header_ends_the_tar(tmp_path: Path) -> None:
    data = bytearray(tar(*(member(f"{n}.wav") for n in range(4))))
    data[2 * 1024 + 5] ^= 1
    assert errors(tmp_path, bytes(data)) == {
        "x.tar/0.wav": None,
        "x.tar/1.wav": None,
        "x.tar": "is damaged: there is no header at byte 2048",
    }


def test_zeros_after_the_end_are_padding(tmp_path: Path) -> None:
    data = tar(member("a.wav"))
    assert errors(tmp_path, data + b"\0" * 9000) == {"x.tar/a.wav": None}
    assert errors(tmp_path, data[:-512]) == {"x.tar/a.wav": None}


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header with a size as it stands there."""
    info, _ = member(name)
    info.type = kind
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[124:136] = size.ljust(12, b"\0")
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:]) + 256)
    return bytes(data)


@pytest.mark.parametrize(
    ("size", "kind", "problem"),
    [
        (b"\xff" * 12, b"0", "states no size"),
        (b"\x80" + b"\xff" * 11, b"0", "states no size"),
        (b"-5", b"0", "states no size"),
        (b"999", b"0", "states no size"),
        (b"\x80\0\0\0\x0d\xe0\xb6\xb3\xa7\x64\0\0", b"0", "ends within a member"),
        (b"77777777777", b"0", "ends within a member"),
        (b"77777777777", b"x", "describes 8589934591 bytes"),
        (b"77777777777", b"g", "describes 8589934591 bytes"),
        (b"77777777777", b"L", "describes 8589934591 bytes"),
        (b"3777777", b"L", "it ends within a header"),
    ],
)
def test_sizes_that_cannot_be_take_no_memory(
    tmp_path: Path, size: bytes, kind: bytes, problem: str
) -> None:
    tracemalloc.start()
    try:
        found = items(tmp_path, header("a.wav", size, kind) + b"\0" * 512)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert problem in (found[-1].error or "")


@pytest.mark.parametrize(
    "records",
    [b"5", b"0 path=a\n", b"99999 path=a\n", b"9 pathab\n", b"-9 path=a\n", b"12 size=1e9\n", b" "],
)
def test_malformed_extended_headers_end_the_tar(tmp_path: Path, records: bytes) -> None:
    size = b"%o" % len(records)
    data = header("p", size, b"x") + records.ljust(512, b"\0") + tar(member("a.wav"))
    (item,) = items(tmp_path, data)
    assert (item.error or "").startswith("is damaged: the extended header at byte 0")


def test_extended_sizes_and_names_count_for_one_member(tmp_path: Path) -> None:
    records = b"16 path=new.wav\n" + b"12 size=600\n"
    extended = header("p", b"%o" % len(records), b"x") + records.ljust(512, b"\0")
    data = extended + header("old.txt", b"0") + b"n" * 600 + b"\0" * 424 + tar(member("a.wav"))
    assert [(item.id, item.size) for item in items(tmp_path, data)] == [
        ("x.tar/new.wav", 600),
        ("x.tar/a.wav", 5),
    ]


def test_a_tar_of_many_members_takes_little_memory(tmp_path: Path) -> None:
    one, n = tar(member("a.txt", b""))[:512], 5000
    (tmp_path / "x.tar").write_bytes(one * n + tar(member("a.wav")))
    tracemalloc.start()
    try:
        assert [item.id for item in scan([str(tmp_path / "x.tar")])] == ["x.tar/a.wav"]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(6))
def test_damaged_bytes_raise_nothing(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["a.wav", "b" * 90 + ".wav", "c.json", "d.wav"]
    whole = tar(*map(member, names), format=int(rng.integers(3)))
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 8)):
            data[place] = rng.integers(256)
        if rng.integers(2):
            mend_checksums(data)
        for content in (bytes(data), bytes(data[: rng.integers(len(data))]), rng.bytes(1500)):
            for item in items(tmp_path, content + b"\0" * 1024):
                assert item.error is not None or item.size >= 0
                assert printable(item.id) == item.id


def mend_checksums(data: bytearray) -> None:
    """Make the sums of all blocks right, so that damage reaches what reads them."""
    for at in range(0, len(data) - 511, 512):
        block = data[at : at + 512]
        data[at + 148 : at + 156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 256)
