"""Layouts of random programs: run in the memory that they share, they give what the arrays give."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fcs_edge.kernels.runtime.placement import LINE, Layout, Weights
from fcs_edge.kernels.runtime.program import (
    IN,
    OUT,
    STATE,
    WEIGHTS,
    Call,
    Parameter,
    Patch,
    Tail,
    calls_of,
    fitted,
    interpret,
    words_of,
)

F32 = NDArray[np.float32]
NAN = 0x7FC00001


class Kernel(NamedTuple):
    """A kernel of these tests, which is called as one of a library."""

    name: str
    number: int
    types: tuple[str, ...]
    function: Callable[..., None]


def _add(x: F32, y: F32, out: F32) -> None:
    n = min(x.size, y.size, out.size)
    out[:] = 1
    out[:n] = x[:n] + y[:n]


def _advance(state: F32, x: F32, gain: float) -> None:
    n = min(state.size, x.size)
    state[:n] = state[:n] * np.float32(gain) + x[:n]


ADD = Kernel("add", 0, ("f1", "f1", "f1w"), _add)
ADVANCE = Kernel("advance", 1, ("f1w", "f1", "float"), _advance)
KERNELS = ADD, ADVANCE
TABLE: list[Any] = [(kernel.function, kernel.types) for kernel in KERNELS]


class Case(NamedTuple):
    """A program over arrays, and what it reads and writes."""

    calls: list[Call]
    history: list[F32]
    source: F32
    sink: F32


def case(seed: int, n_calls: int) -> Case:
    """Return a random program that reads no work memory which it has not written."""
    random = np.random.default_rng(seed)

    def new(*size: int) -> F32:
        return random.standard_normal(size or random.integers(1, 40)).astype(np.float32)

    history = [new() for _ in range(random.integers(1, 4))]
    weights = [new() for _ in range(3)]
    weights.append(weights[0].copy())
    source, sink = new(17), new(9)
    # Slices of one buffer: some overlap, some lie side by side.
    buffer = new(200)
    work = [buffer[a : a + n] for a, n in random.integers(1, 60, (6, 2)) * (2, 1)]
    work += [new() for _ in range(6)]
    readable: list[F32] = [*history, *weights, source]
    calls: list[Call] = []
    for _ in range(n_calls):
        x, y = (readable[i] for i in random.integers(0, len(readable), 2))
        out = work[random.integers(0, len(work))]
        calls.append((ADD, (x, y, out)))
        # What the call overwrote in part is still written.
        readable.append(out)
        own = history[random.integers(0, len(history))]
        calls.append((ADVANCE, (own, out, 0.5)))
    calls.append((ADD, (readable[-1], readable[-1], sink)))
    return Case(calls, history, source, sink)


def run_in_layout(layout: Layout, case: Case, image: bytes, steps: int) -> list[bytes]:
    """Return what each step writes; NaN lie in all work memory before each."""
    words = layout.words(case.calls)
    state, weights = np.zeros(layout.state_bytes, np.uint8), np.frombuffer(image, np.uint8)
    state[: layout.history_bytes] = layout.initial()
    out = []
    for step in range(steps):
        state[layout.history_bytes :].view(np.uint32)[:] = NAN
        sink = np.zeros(case.sink.nbytes, np.uint8)
        source = (case.source + np.float32(step)).view(np.uint8)
        interpret(words, [weights, state, source, sink], TABLE)
        out.append(sink.tobytes())
    return out


def run_in_arrays(case: Case, steps: int) -> list[bytes]:
    """Return the same of the arrays themselves."""
    out, first = [], case.source.copy()
    for step in range(steps):
        case.source[:] = first + np.float32(step)
        for kernel, arguments in case.calls:
            kernel.function(*arguments)
        out.append(case.sink.tobytes())
    case.source[:] = first
    return out


@given(st.integers(0, 1 << 30), st.integers(1, 30), st.booleans())
def test_shared_work_changes_nothing(seed: int, n_calls: int, share: bool) -> None:
    drawn, weights = case(seed, n_calls), Weights()
    arrays = drawn.history, [drawn.source], [drawn.sink]
    layout = Layout([drawn.calls], *arrays, weights=weights, share=share)
    result = run_in_layout(layout, drawn, b"".join(weights.pieces()), 3)
    assert result == run_in_arrays(drawn, 3)


@given(st.integers(0, 1 << 30))
def test_no_two_living_extents_overlap(seed: int) -> None:
    drawn = case(seed, 12)
    layout = Layout([drawn.calls], drawn.history, [drawn.source], [drawn.sink])
    separate = Layout([drawn.calls], drawn.history, [drawn.source], [drawn.sink], share=False)
    assert layout.history_bytes == separate.history_bytes
    assert layout.state_bytes <= separate.state_bytes
    ranges = sorted(separate.work_ranges())
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    for start, _ in layout.work_ranges():
        assert start % LINE == 0
        assert start >= layout.history_bytes


def test_addresses_decide_nothing() -> None:
    """The same program over other memory has the same words, weights and first state."""
    results = []
    padding: list[Any] = []
    for i in range(3):
        padding.append(np.zeros(1000 * i + 7))
        drawn, weights = case(5, 20), Weights()
        layout = Layout([drawn.calls], drawn.history, [drawn.source], [drawn.sink], weights=weights)
        words = layout.words(drawn.calls).tolist()
        results.append(
            (words, b"".join(weights.pieces()), layout.initial().tobytes(), layout.state_bytes)
        )
    assert results[0] == results[1] == results[2]


def arrays(*sizes: int) -> list[F32]:
    return [np.zeros(n, np.float32) for n in sizes]


def test_each_kind_of_array_has_its_base() -> None:
    x, y, weight, same, work, past = arrays(16, 16, 16, 16, 16, 16)
    weight[:] = same[:] = 3
    calls: list[Call] = [
        (ADD, (x, weight, work)),
        (ADVANCE, (past, work, 0.5)),
        (ADD, (past, same, y)),
    ]
    weights = Weights()
    layout = Layout([calls], [past], [x], [y], weights=weights)
    assert [layout.place(a)[0] for a in (x, weight, work, past, y)] == [IN, 0, STATE, STATE, OUT]
    assert layout.place(weight) == layout.place(same) == (WEIGHTS, 0)
    assert weights.size == LINE
    assert layout.place(past) == (STATE, 0)
    assert layout.place(work) == (STATE, layout.history_bytes) == (STATE, LINE)
    absolute = Layout([calls], [past], [x], [y])
    assert absolute.place(weight) == (WEIGHTS, weight.ctypes.data)


def test_neighbours_in_memory_are_two_extents() -> None:
    both = np.zeros(64, np.float32)
    first, second = both[:32], both[32:]
    x, y = arrays(32, 32)
    calls: list[Call] = [(ADD, (x, x, first)), (ADD, (first, x, second)), (ADD, (second, x, y))]
    layout = Layout([calls], [], [x], [y])
    # `first` and `second` meet in a call: they take a place each.
    assert layout.work_ranges() == [(0, 128), (128, 256)]
    calls.insert(2, (ADD, (x, x, y)))
    third = np.zeros(32, np.float32)
    calls += [(ADD, (x, x, third)), (ADD, (third, x, y))]
    layout = Layout([calls], [], [x], [y])
    assert layout.state_bytes == 256


def test_parts_keep_their_distance() -> None:
    whole, (x, y) = np.zeros(64, np.float32), arrays(64, 64)
    calls: list[Call] = [
        (ADD, (x, x, whole[8:40])),
        (ADD, (whole[4:20], x, whole)),
        (ADD, (x, x, y)),
    ]
    layout = Layout([calls], [], [x], [y])
    assert layout.place(whole[8:40]) == (STATE, 32)
    assert layout.place(whole[4:20]) == (STATE, 16)


def test_what_a_layout_refuses() -> None:
    x, y, weight, work, other = arrays(16, 16, 16, 16, 16)
    calls: list[Call] = [(ADD, (x, weight, work)), (ADD, (work, weight, y))]
    layout = Layout([calls], [], [x], [y])
    with pytest.raises(ValueError, match="not of the layout"):
        layout.words([(ADD, (x, other, work))])
    with pytest.raises(ValueError, match="writes what no traced call writes"):
        layout.words([(ADD, (x, work, weight[:16]))])
    with pytest.raises(ValueError, match="writes what no traced call writes"):
        layout.words([(ADD, (x, work, weight))])
    with pytest.raises(ValueError, match="writes what the caller passes"):
        Layout([[(ADD, (x, weight, x))]], [], [x], [y])
    with pytest.raises(ValueError, match="takes f1, not float32"):
        layout.words([(ADD, (x.reshape(4, 4), work, y))])
    with pytest.raises(ValueError, match="takes f1w, not int32"):
        layout.words([(ADD, (x, work, y.view(np.int32)))])
    with pytest.raises(ValueError, match="gaps"):
        Layout([[(ADD, (x[::2], weight, work))]], [], [x], [y])


def test_a_later_program_may_use_other_history_and_tables() -> None:
    x, y, past, later, table = arrays(16, 16, 16, 16, 16)
    later[:], table[:] = 2, 3
    weights = Weights()
    calls: list[Call] = [(ADD, (x, past, y))]
    layout = Layout([calls], [past, later], [x], [y], [table], weights)
    assert layout.place(later) == (STATE, LINE)
    assert layout.initial()[LINE:].tobytes() == later.tobytes()
    assert layout.place(table) == (WEIGHTS, 0)
    assert weights.pieces() == [table.tobytes()]
    layout.words([(ADVANCE, (later, table, 0.5)), *calls])


def test_a_later_program_may_need_two_places_at_once() -> None:
    x, y, first, second = arrays(16, 16, 16, 16)
    calls: list[Call] = [
        *((ADD, (x, x, first)), (ADD, (first, x, y))),
        *((ADD, (x, x, second)), (ADD, (second, x, y))),
    ]
    layout = Layout([calls], [], [x], [y])
    assert layout.place(first) == layout.place(second)
    with pytest.raises(ValueError, match="needed at once"):
        layout.words([(ADD, (x, x, first)), (ADD, (x, x, second)), (ADD, (first, second, y))])


def words(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def test_calls_of_words() -> None:
    found = [
        (number, given.tolist()) for number, given in calls_of(words(3, 1, 7, 4, 0, 5, 2, 8, 9))
    ]
    assert found == [(3, [7]), (4, []), (5, [8, 9])]


def test_a_tail_follows_from_what_is_missing() -> None:
    rows = [Parameter(0, 1, 5), Parameter(1, 1, 2), Parameter(0, 3, 4)]
    chunk = 40

    def program(n: int) -> NDArray[np.int64]:
        a = -(-n // 5)
        return words(7, n, 4 * a + 1, 12 * -(-a // 2), -(-3 * n // 4) - 1, -5)

    tail = fitted({chunk - n: program(n) for n in range(1, chunk + 1)}, rows)
    assert [patch.word for patch in tail.patches] == [1, 2, 3, 4]
    assert all(tail.of(chunk - n).tolist() == program(n).tolist() for n in range(1, chunk))


def test_what_is_no_tail() -> None:
    rows = [Parameter(0, 1, 5)]
    with pytest.raises(ValueError, match="word 1 of a tail"):
        fitted({n: words(2, -n * n) for n in range(9)}, rows)
    with pytest.raises(ValueError, match="word 0 of a tail"):
        fitted({n: words(n) for n in range(9)}, rows)
    with pytest.raises(ValueError, match="different calls"):
        fitted({0: words(1), 2: words(1, 2)}, rows)
    assert Tail(words(1, 20), [], [Patch(1, 0, 3)]).of(4).tolist() == [1, 8]


def test_a_number_below_0_of_a_word_of_32_bits() -> None:
    state, x = np.ones(4, np.float32), np.zeros(4, np.float32)
    places = {id(state): (STATE, 0), id(x): (IN, 0)}
    words = words_of([(ADVANCE, (state, x, np.float32(-0.5)))], places)
    stored = words.astype(np.uint32).view(np.int32).astype(np.int64)
    assert (stored < 0).any()
    memory = state.view(np.uint8)
    interpret(stored, [None, memory, x.view(np.uint8), None], TABLE)
    assert (state == -0.5).all()
