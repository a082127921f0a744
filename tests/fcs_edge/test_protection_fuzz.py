"""Whatever the bytes, the reader of protected files ends, and gives twice as many at most."""

from __future__ import annotations

import io
import random

import fuzz_cases
import numpy as np

from fcs_edge.bitstream.cell_layout import Layout
from fcs_edge.bitstream.protection import ProtectedReader
from measure_protection import protect

WHOLE = [protect(np.random.default_rng(n).bytes(n), 0.25) for n in (27, 500, 2000, 9000)]


def damaged_case(rng: random.Random) -> bytes:
    """Flip, cut, remove, insert and repeat bytes of a protected file."""
    data = rng.choice(WHOLE[:3] if rng.random() < 0.9 else WHOLE)
    for _ in range(rng.randrange(4)):
        data = fuzz_cases.mutate_bytes(rng, data)
    if rng.random() < 0.2:
        at, size = rng.randrange(len(data) + 1), rng.randrange(400)
        data = data[:at] + data[at : at + size] * rng.randrange(4) + data[at + size :]
    return data


def marked_case(rng: random.Random) -> bytes:
    """Put marks of any layouts, valid or not, on random bytes."""
    pieces = [b"FCS\x1b"[: rng.choice([0, 4, 4])]]
    for group in range(rng.randrange(1, 5)):
        size = rng.choice([16, 17, 20, 40, rng.randrange(16, 256)])
        cells = rng.choice([3, 6, 7, rng.randrange(1, 129)]) if size < 41 else rng.randrange(1, 20)
        parity = rng.choice([2, 127, rng.randrange(128)])
        layout = Layout(size, cells, parity, (group + rng.choice([0, 0, 0, 1, 2])) % 4)
        first = rng.choice([0, 0, 0, rng.randrange(cells)])
        for mark in layout.marks[first : rng.choice([cells, cells, rng.randrange(cells + 1)])]:
            filler = rng.choice([bytes(size - 2), rng.randbytes(size - 2)])
            pieces.append(int(mark).to_bytes(2, "little") + filler)
        if rng.random() < 0.2:
            pieces.append(rng.randbytes(rng.randrange(300)))
    return b"".join(pieces)


def read(data: bytes) -> str:
    seekable = len(data) % 2 == 0
    source = ProtectedReader(io.BytesIO(data), seekable=seekable, strict=len(data) % 5 == 0)
    size = 0
    while piece := source.read(1 + len(data) // 3):
        size += len(piece)
    assert size <= 2 * len(data)
    if source.repairs is None:
        assert size == len(data)
        return "plain"
    assert len(source.repairs.failures) <= min(20, source.repairs.n_failures)
    return "failed" if source.repairs.n_failures else "whole"


def test_damaged_files():
    found = fuzz_cases.run("protected-damaged", 120, damaged_case, read, memory=2_000_000)
    assert min(found["whole"], found["failed"], found["refused"]) > 2


def test_marks_on_any_bytes():
    found = fuzz_cases.run("protected-marks", 60, marked_case, read, memory=2_000_000)
    assert min(found["failed"], found["plain"]) > 2


def test_cells_of_several_groups_are_handed_out_once_more_at_most():
    """Files whose groups overlap: each would give more than twice its bytes."""
    read(damaged_case(random.Random("protected-damaged 11 712")))
    read(damaged_case(random.Random("protected-damaged 12 3405")))
    read(marked_case(random.Random("protected-marks 11 3853")))
