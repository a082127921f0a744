"""Whatever the bytes of an .npy file, it gives tokens or one FcsError."""

from __future__ import annotations

import io
import random
from pathlib import Path

import fuzz_cases
import numpy as np

from helpers import read_npy

TOKENS = np.arange(50, dtype=np.uint16)
WORDS = [
    *("'<u2'", "'>u2'", "'|u1'", "'<i8'", "'<f4'", "'|b1'", "'|O'", "'<m8[s]'", "'<M8[ns]'"),
    *("'1i2'", "'u2'", "'<U4'", "'|V2'", "[('a', '<u2')]", "[('a', '<u2', (2, 2))]", "'<u99'"),
    *("True", "False", "None", "1", "-1", "(50,)", "(1, 50)", "(50, 1)", "(25, 2)", "()", "(0,)"),
    *("(True,)", "(-1,)", f"({2**62},)", f"({2**63},)", f"({10**22},)", "(1.0,)", "('a',)"),
    *("(" * 90, "[" * 200, "-" * 3000 + "1", "(" * 3000, "b'a'", "{}", "(50L,)", "1 if 1 else 2"),
    *("(" + "1," * 33 + ")", "(" + "1," * 70 + "50)", "lambda: 0", "__import__('os')", "\x00", "é"),
]


def text_case(rng: random.Random) -> bytes:
    """Write a header of odd values, keys and sizes, then 50 tokens."""
    keys = rng.choice([["descr", "fortran_order", "shape"]] * 9 + [["descr", "shape"], ["shape"]])
    typical = {"descr": "'<u2'", "fortran_order": "False", "shape": "(50,)"}
    odd = {rng.choice(keys): rng.choice(WORDS) for _ in range(rng.randrange(3))}
    text = ", ".join(f"'{key}': {(typical | odd)[key]}" for key in keys)
    raw = f"{{{text}, }}".encode() + b" " * rng.choice([0, 1, 60]) + b"\n" * rng.randrange(2)
    version = rng.choice([1] * 6 + [2, 2, 3, 0, 9])
    size = len(raw) + rng.choice([0] * 9 + [1, -1, 100, 60000])
    width = 2 if version == 1 else 4
    stated = (max(size, 0) % (1 << 8 * width)).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + stated + raw + TOKENS.tobytes()


def bytes_case(rng: random.Random) -> bytes:
    file = io.BytesIO()
    np.save(file, TOKENS.astype(rng.choice(["u1", "<u2", ">i4", "<i8", "f4"])))
    return fuzz_cases.mutate_bytes(rng, file.getvalue())


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "tokens.npy"

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        tokens = read_npy(path)
        assert all(block.ndim == 1 and block.dtype.kind in "iu" for block in tokens)
        assert sum(block.nbytes for block in tokens) <= len(data)
        return "read"

    for kind, make in (("npy-text", text_case), ("npy-bytes", bytes_case)):
        found = fuzz_cases.run(kind, 10_000, make, read, memory=1_000_000)
        assert min(found["read"], found["refused"]) > 500
