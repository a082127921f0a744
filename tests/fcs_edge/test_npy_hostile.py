"""Whatever an .npy file states, reading it gives its tokens or one line that names the file."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.errors import FcsError
from helpers import read_npy


def npy(descr: str = "'<u2'", shape: str = "(3,)", order: str = "False", version: int = 1) -> bytes:
    """Return an .npy file of three tokens whose header states what is given."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    width = 2 if version == 1 else 4
    text += b" " * (-(len(text) + 9 + width) % 64) + b"\n"
    size = len(text).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + bytes([1, 0, 2, 0, 3, 0])


def error_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FcsError) as caught:
            read_npy(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(shape=f"({2**62},)"), "cut: its header states 4,611,686,018,427,387,904 tokens"),
        (npy(shape=f"({10**22},)"), "and it holds 3"),
        (npy(shape="(4,)"), "states 4 tokens, and it holds 3"),
        (npy(shape="(True,)"), r"uint16 of shape \(True,\); tokens are integers along one axis"),
        (npy(shape="(-1,)"), r"shape \(-1,\)"),
        (npy(shape="()"), r"shape \(\)"),
        (npy(shape="(0, 3)"), r"shape \(0, 3\)"),
        (npy(shape="(2, 2)"), r"shape \(2, 2\)"),
        (npy(shape="3"), "shape is not valid"),
        (npy(shape="(" + "2," * 3000 + ")"), r"shape \(2, 2.* \.\.\.; tokens"),
        (npy(descr="'<m8[s]'"), r"holds timedelta64\[s\]"),
        (npy(descr="'<m8'"), "holds timedelta64"),
        (npy(descr="'|b1'"), "holds bool"),
        (npy(descr="'<f4'"), "holds float32"),
        (npy(descr="'|O'"), "holds object"),
        (npy(descr="'1i2'"), r"holds \('<i2', \(1,\)\)"),
        (npy(descr="[('\\x1b[2J', '<u2')]"), "holds "),
        (npy(version=3), "version 3 is for named fields"),
        (npy(version=9), "version 9"),
        (npy(descr="("), "not a readable .npy file"),
        (npy(descr="(" * 9000), "not a readable .npy file"),
        (npy(descr="-" * 9000 + "1"), "not a readable .npy file"),
        (npy(descr=" " * 20000 + "'<u2'"), "not a readable .npy file"),
        (npy(descr="__import__('os')"), "not a readable .npy file"),
        (npy()[:50], "not a readable .npy file"),
        (b"", "not a readable .npy file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not tokens"),
        (b"\n<!DOCTYPE html><html>", "a web page, not tokens"),
    ],
)
def test_a_bad_file_is_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    assert re.search(message, error_of(tmp_path / "bad.npy", data))


@pytest.mark.parametrize(
    "data",
    [
        npy(),
        npy(order="True"),
        npy(version=2),
        npy(shape="(1, 3)"),
        npy(shape="(3, 1)"),
        npy(shape="(3L,)"),
        npy(shape="(" + "1," * 3000 + "3)"),
        npy() + b"more",
    ],
)
def test_one_long_axis_is_a_row_of_tokens(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.concatenate(read_npy(path)).tolist() == [1, 2, 3]


def test_integers_of_any_size_and_order(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 100, 10_000)
    for dtype in ("u1", "<i2", ">i2", ">u4", "<i8", "<u8"):
        np.save(tmp_path / "tokens.npy", tokens.astype(dtype))
        blocks = read_npy(tmp_path / "tokens.npy")
        assert max(block.size for block in blocks) < 5000
        assert np.array_equal(np.concatenate(blocks), tokens)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.npy", "no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(FcsError, match=message):
            read_npy(path)


def test_what_was_raised_stays_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "bad.npy"
    path.write_bytes(npy(descr="(" * 9000))
    with pytest.raises(FcsError) as caught:
        read_npy(path)
    assert caught.value.__cause__ is not None
