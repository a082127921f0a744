"""Files of another kind than a command takes: the message says which kind, and what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fcs_edge

OTHERS = {
    b"RIFF\x24\0\0\0WAVEfmt ": "this is sound, not tokens; encode it first: fcs-edge encode",
    b"fLaC\0\0\0\x22": "this is sound",
    b"\0\0\0\x20ftypM4A ": "this is sound",
    b"\x93NUMPY\x01\0": "a NumPy array, not a bitstream; its name must end in .npy",
    b"PK\x03\x04\x14\0": "a ZIP archive, not a bitstream; the name of an .npz must",
    b"<!DOCTYPE html>\n": "a web page, not tokens; download the file itself",
    b"version https://git-lfs.github.com/spec/v1\n": "a Git LFS pointer, not tokens; run git lfs",
    b"a note": "it does not start with 'FCS'",
    b"": "the input is empty",
}


@pytest.mark.parametrize("head", OTHERS)
def test_what_is_no_bitstream(head: bytes, run: Callable, tmp_path: Path) -> None:
    path, out = tmp_path / "in.fcs", tmp_path / "out.wav"
    path.write_bytes(head)
    for target in (out, tmp_path / "out.npz"):
        line = run("decode", path, target).failed()
        assert f"{path}: " in line
        assert OTHERS[head] in line
        assert not target.exists()
    for read in (fcs_edge.read_fcs, fcs_edge.decode_file):
        with pytest.raises(fcs_edge.BitstreamError, match=OTHERS[head].split(";")[0]):
            read(path)


def test_a_folder(run: Callable, tmp_path: Path) -> None:
    line = run("decode", tmp_path, tmp_path / "out.wav").failed()
    assert "is a folder; give a file of tokens" in line


def test_an_array_whose_header_does_not_end(run: Callable, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    header = b"(" * 9000
    path.write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
    line = run("decode", path, tmp_path / "out.wav").failed()
    assert line.endswith("a.npy: not a readable .npy file (its header is damaged)")
