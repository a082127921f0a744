"""Which calls are cut for several threads, and which must wait for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fcs_edge.kernels.runtime import cuts
from fcs_edge.kernels.runtime.aot_library import Compiled
from fcs_edge.kernels.runtime.cuts import Access


def kernel(name: str, types: str) -> Compiled:
    return Compiled(name, lambda *arguments: None, types.split(), 1)


MATRIX = Access(1000, 1400, 100, (0, 100), True)


@pytest.mark.parametrize(
    ("other", "conflict"),
    [
        (MATRIX, True),
        (Access(1400, 1800, 100, (0, 100), True), False),
        (Access(900, 1001, 101, (0, 101), False), True),
        (Access(1000, 1400, 100, (60, 100), True), True),
        (Access(1000, 1400, 50, (0, 50), True), True),
    ],
)
def test_overlapping_memory_conflicts(other: Access, conflict: bool) -> None:
    assert MATRIX.conflicts(other) == other.conflicts(MATRIX) == conflict


def test_reads_and_other_columns_do_not_conflict() -> None:
    left, right = (MATRIX._replace(columns=columns) for columns in ((0, 40), (40, 100)))
    assert not left.conflicts(right)
    # A part of the rows has the same columns at other addresses.
    assert not left.conflicts(right._replace(start=1100, stop=1200))
    assert left.conflicts(MATRIX._replace(start=1100, stop=1200, written=False))
    # Rows that are shifted against each other have no columns in common to compare.
    assert left.conflicts(right._replace(start=1050, stop=1150))
    assert not MATRIX._replace(written=False).conflicts(MATRIX._replace(written=False))


def product(panels: int, out: Any, column: int = 0) -> cuts.Recorded:
    """A product of panels of 16 outputs."""
    packed = np.zeros((panels, 64, 16), np.float32)
    bias = np.zeros(panels * 16, np.float32)
    linear = kernel("gemm.products.linear_float(16, 1, False)", "f1 int f3 f1 f2w int int int int")
    return linear, (np.zeros(256, np.float32), 64, packed, bias, out, column, 0, 0, panels)


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("panels", [2, 3, 7, 64])
def test_a_product_is_cut_into_all_its_panels(
    panels: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "LEAST_WORK", 0)
    out = np.zeros((4, panels * 16 + 1), np.float32)
    (parts,) = cuts.cut([product(panels, out, 1)], threads)
    ranges = [call.arguments[-2:] for call in parts if call is not None]
    assert len(ranges) == min(panels, threads)
    assert [n for start, stop in ranges for n in range(start, stop)] == list(range(panels))
    assert not cuts.needs_barrier(parts, [])
    earlier = [(i, access) for i, call in enumerate(parts) if call for access in call.accesses]
    assert cuts.needs_barrier(parts[::-1], earlier)


def test_small_calls_are_not_cut() -> None:
    out = np.zeros((4, 32), np.float32)
    (parts,) = cuts.cut([product(2, out)], 2)
    assert parts[0] is not None
    assert parts[1] is None


def test_groups_are_dealt_out_whole() -> None:
    out = np.zeros((4, 64), np.float32)
    linear, first = product(1, out)
    groups = [(linear, (*first[:5], column, *first[6:])) for column in (0, 16, 32, 48)]
    first_two, last_two = dealt = cuts.cut(groups, 2)
    assert [[call.arguments[5] for call in parts if call] for parts in dealt] == [[0, 16], [32, 48]]
    earlier = [(i, access) for i, call in enumerate(first_two) if call for access in call.accesses]
    assert not cuts.needs_barrier(last_two, earlier)


def test_each_thread_rounds_activations_in_memory_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuts, "LEAST_WORK", 0)
    name, types = "gemm.products.linear_integer(8, 16, 1, 0)", "f1 int b1 f1 f1 int int b1w f2w"
    linear = kernel(name, f"{types} int int int int")
    panels, out, bias = 4, np.zeros((4, 64), np.float32), np.zeros(64, np.float32)
    packed, work = np.zeros(panels * 16 * 64, np.int8), np.zeros(1000, np.int8)
    others = np.zeros(256, np.float32), 64, packed, bias, bias, 64, 64
    calls = [(linear, (*others, work, out, 0, 0, 0, panels)) for _ in range(3)]
    threads = 2
    for parts in cuts.cut(calls, threads):
        own = [call.arguments[7] for call in parts if call is not None]
        assert own[0] is work
        assert own[1].size >= work.size
        assert not np.shares_memory(own[1], work)
        written = [a for call in parts if call for a in call.accesses if a.written]
        assert sum(a.start in (array.ctypes.data for array in own) for a in written) == threads
