"""Model files that fcs.c refuses: damaged, cut, of others, and inconsistent with a right CRC."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable

import fuzz_cases
import numpy as np
import pytest

import c_library
import toy_codec
from c_library import FcsError, Memory, Model
from fcs_edge.export import fcsm
from fcs_edge.kernels.runtime.program import IN, OUT, STATE, WEIGHTS, Parameter, Patch, Tail


def code_of(toy: Model, data: bytes) -> int:
    """Return what opening some bytes returns."""
    try:
        toy.library.open(data)
    except FcsError as error:
        return error.code
    return c_library.OK


def with_crc(data: bytes) -> bytes:
    """Return a file with the CRC-32 of its content."""
    crc = zlib.crc32(data[fcsm.CRC_AT + 4 :])
    return data[: fcsm.CRC_AT] + crc.to_bytes(4, "little") + data[fcsm.CRC_AT + 4 :]


def test_each_flipped_bit_is_found(toy: Model) -> None:
    data = toy_codec.model()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        assert code_of(toy, bytes(changed)) < 0, at


def test_each_cut_is_found(toy: Model) -> None:
    data = toy_codec.model()
    for size in range(0, len(data), 7):
        assert code_of(toy, data[:size]) < 0, size
        assert code_of(toy, with_crc(data[:size].ljust(20, b"\0"))) < 0, size
    assert code_of(toy, data + bytes(64)) == c_library.BAD_CRC


@pytest.mark.parametrize("size", range(0, 40, 3))
def test_crc_of_any_length(size: int, toy: Model) -> None:
    """The CRC is computed in four parts and a rest: the length of the name's end decides them."""
    sections = [*toy_codec.sections(), fcsm.Section(9, 0, np.arange(size, dtype=np.uint8).data)]
    data = fcsm.pack(toy_codec.head(), sections)
    assert code_of(toy, data) == c_library.OK
    assert toy.library.open(data).section(9) == (bytes(range(size)) if size else b"")


def test_what_is_wrong_has_its_code(toy: Model) -> None:
    data, c = toy_codec.model(), toy.library.c
    assert code_of(toy, b"RIFF" + data[4:]) == c_library.NOT_A_MODEL
    assert code_of(toy, b"") == c_library.NOT_A_MODEL
    assert code_of(toy, with_crc(data[:8] + b"\2" + data[9:])) == c_library.BAD_VERSION
    assert code_of(toy, with_crc(data[:16] + b"other..." + data[24:])) == c_library.OTHER_KERNELS
    assert code_of(toy, data[:-1] + b"\1") == c_library.BAD_CRC
    memory, opened = Memory(len(data) + 32), Memory(1000)
    memory.bytes[32:] = np.frombuffer(data, np.uint8)
    at = memory.address + 32
    assert c.fcs_model_open(opened.address, at, len(data)) == c_library.BAD_ALIGNMENT
    assert c.fcs_model_open(None, memory.address, len(data)) == c_library.BAD_ARGUMENT
    assert c.fcs_model_open(opened.address, None, 0) == c_library.BAD_ARGUMENT


def test_a_model_that_was_refused_has_no_streams(toy: Model) -> None:
    model, state = Memory(1000), Memory(4096)
    data = Memory(64)
    c = toy.library.c
    assert c.fcs_model_open(model.address, data.address, 64) == c_library.NOT_A_MODEL
    assert c.fcs_encoder_size(model.address, 1) == 0
    assert c.fcs_encoder_init(model.address, state.address, 4096, 1) == c_library.BAD_ARGUMENT
    assert c.fcs_encoder_reset(model.address, state.address) == c_library.BAD_ARGUMENT


Plans = dict[tuple[int, int], fcsm.Plan]


def model_of(plan: fcsm.Plan) -> bytes:
    """Return the toy model with another plan of its encoder for one chunk."""
    return with_plan(fcsm.packed_plan(plan))


def with_plan(plan: bytes, head: fcsm.Head | None = None) -> bytes:
    """Return the toy model with other bytes as the plan of its encoder for one chunk."""
    sections = toy_codec.sections()
    at = next(i for i, s in enumerate(sections) if (s.kind, s.number) == (fcsm.ENCODER, 1))
    sections[at] = fcsm.Section(fcsm.ENCODER, 1, plan)
    if head is not None:
        sections = [s for s in sections if (s.kind, s.number) != (fcsm.ENCODER, 8)]
    return fcsm.pack(head or toy_codec.head(), sections)


def changed_call(at: int, value: int) -> fcsm.Plan:
    """Return the encoder's plan with another word in its program of a chunk."""
    plan = toy_codec.encoder_plan(1)
    plan.programs[1][at] = value
    return plan


# Words of the program: 0 kernel, 1 words, 2 x (base, offset, size), 5 clean, 8 count; 11 kernel,
# 12 words, 13 clean, 16 scales, 19 past, 22 tokens, 25 hop.
CALLS: dict[str, tuple[int, int]] = {
    "kernel": (0, 3),
    "negative kernel": (0, -1),
    "too many words": (1, 10),
    "too few words": (1, 8),
    "negative words": (1, -1),
    "words beyond the program": (12, 15),
    "base": (2, 4),
    "negative base": (2, -1),
    "negative offset": (3, -4),
    "offset not aligned": (3, 2),
    "offset beyond": (3, 52),
    "largest offset": (3, 2**31 - 4),
    "size beyond the input": (4, 13),
    "negative size": (4, -1),
    "largest size": (4, 2**31 - 1),
    "smallest size": (4, -(2**31)),
    "weights are written": (5, WEIGHTS),
    "input is written": (5, IN),
    "size beyond the state": (7, 13),
    "count not aligned": (9, 4),
    "size beyond the weights": (18, 4),
    "tokens beyond the output": (24, 4),
    "tokens into the state's end": (22, STATE + 4),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_out_of_bounds(name: str, toy: Model) -> None:
    assert code_of(toy, model_of(changed_call(*CALLS[name]))) == c_library.BAD_MODEL
    assert code_of(toy, model_of(changed_call(25, 4))) == c_library.OK


def tail(parameters: list[Parameter]) -> fcsm.Plan:
    plan = toy_codec.encoder_plan(1)
    assert plan.tail is not None
    return plan._replace(tail=Tail(plan.tail.words, parameters, plan.tail.patches))


def patches(at: int, patch: Patch) -> fcsm.Plan:
    plan = toy_codec.encoder_plan(1)
    assert plan.tail is not None
    found = list(plan.tail.patches)
    found[at] = patch
    return plan._replace(tail=Tail(plan.tail.words, plan.tail.parameters, found))


PLANS: dict[str, Callable[[], fcsm.Plan]] = {
    "no program of one chunk": lambda: toy_codec.encoder_plan(1)._replace(programs={}),
    "program of two chunks": lambda: toy_codec.encoder_plan(1)._replace(
        programs=toy_codec.encoder_plan(2).programs
    ),
    "other chunks": lambda: toy_codec.encoder_plan(1)._replace(max_chunks=8),
    "small state": lambda: toy_codec.encoder_plan(1)._replace(state_bytes=108),
    "negative state": lambda: toy_codec.encoder_plan(1)._replace(state_bytes=-8),
    "large state": lambda: toy_codec.encoder_plan(1)._replace(state_bytes=1 << 30),
    "word outside": lambda: toy_codec.encoder_plan(1)._replace(initial=[(112, 1)]),
    "word before": lambda: toy_codec.encoder_plan(1)._replace(initial=[(-8, 1)]),
    "word not aligned": lambda: toy_codec.encoder_plan(1)._replace(initial=[(2, 1)]),
    "count outside": lambda: toy_codec.encoder_plan(1)._replace(not_finite=112),
    "count before": lambda: toy_codec.encoder_plan(1)._replace(not_finite=-2),
    "no tail": lambda: toy_codec.encoder_plan(1)._replace(tail=None),
    "no divisor": lambda: tail([Parameter(0, 1, 0)]),
    "negative divisor": lambda: tail([Parameter(0, 1, -4)]),
    "negative factor of a parameter": lambda: tail([Parameter(0, -1, 4)]),
    "large parameter": lambda: tail([Parameter(0, 1 << 18, 1)]),
    "later parameter": lambda: tail([Parameter(1, 1, 4)]),
    "too many parameters": lambda: tail([Parameter(0, 1, 4)] * 40),
    "parameter that is not there": lambda: patches(0, Patch(4, 2, 1)),
    "negative parameter": lambda: patches(0, Patch(4, -1, 1)),
    "patches out of order": lambda: patches(0, Patch(8, 0, 1)),
    "patch before": lambda: patches(0, Patch(-1, 0, 1)),
    "patch behind": lambda: patches(3, Patch(26, 1, 1)),
    "negative factor": lambda: patches(0, Patch(4, 0, -1)),
    "large factor": lambda: patches(0, Patch(4, 0, (1 << 30) + 1)),
    "a sample too many": lambda: patches(0, Patch(4, 0, 2)),
    "a token too many": lambda: patches(3, Patch(24, 0, 1)),
    "a base that changes": lambda: patches(0, Patch(2, 0, 1)),
}


@pytest.mark.parametrize("name", PLANS)
def test_inconsistent_plans(name: str, toy: Model) -> None:
    assert code_of(toy, model_of(toy_codec.encoder_plan(1))) == c_library.OK
    assert code_of(toy, model_of(PLANS[name]())) == c_library.BAD_MODEL


def test_inconsistent_heads(toy: Model) -> None:
    data = toy_codec.model()
    fields = list(fcsm.HEAD.unpack_from(data))
    rest = data[fcsm.HEAD.size :]
    for at, value in (
        *((at, 0) for at in range(6, 14)),
        *((at, 1 << 31) for at in range(6, 14)),
        (9, 1 << 17),
        (13, 17),
        (10, 13),
        (15, 1000),
        (18, b"x" * 64),
    ):
        changed = [*fields[:at], value, *fields[at + 1 :]]
        opened = code_of(toy, with_crc(fcsm.HEAD.pack(*changed) + rest))
        assert opened == c_library.BAD_MODEL, (at, value)


def test_sections_outside_the_file(toy: Model) -> None:
    data = toy_codec.model()
    for section in range(5):
        at = fcsm.HEAD.size + section * fcsm.ENTRY.size
        kind, number, start, size = fcsm.ENTRY.unpack_from(data, at)
        for wrong in (
            (start + 8, size),
            (len(data), size or 1),
            (2**64 - 64, 64),
            (start, len(data)),
            (start, 2**64 - 1),
        ):
            entry = fcsm.ENTRY.pack(kind, number, *wrong)
            changed = data[:at] + entry + data[at + len(entry) :]
            assert code_of(toy, with_crc(changed)) == c_library.BAD_MODEL, (section, wrong)


def test_changed_words_with_a_right_crc_are_refused_or_open(toy: Model) -> None:
    """Opening ends with a code whatever the words are."""
    rng, data = np.random.default_rng(fuzz_cases.SEED), toy_codec.model()
    n_words = len(data) // 4
    values = np.array([-1, 0, 1, 2, 127, 128, 1 << 30, -(1 << 31), (1 << 31) - 1], np.int32)
    opened = 0
    for _ in range(3000 * fuzz_cases.TIMES):
        words = np.frombuffer(data, np.int32).copy()
        for at in rng.integers(10, n_words, rng.integers(1, 4)):
            kind = rng.integers(3)
            if kind == 0:
                words[at] = rng.choice(values)
            elif kind == 1:
                words[at : at + 1] += rng.integers(-3, 4)  # wraps around
            else:
                words[at] = rng.integers(-(1 << 31), 1 << 31)
        code = code_of(toy, with_crc(words.tobytes()))
        opened += code == c_library.OK
        assert code in (c_library.OK, c_library.BAD_MODEL, c_library.BAD_CRC)
    assert opened > 0


def test_a_model_that_was_refused_has_no_sections(toy: Model) -> None:
    model, size, c = Memory(1000), ctypes.c_size_t(9), toy.library.c
    model.bytes[:] = 0
    for address in (model.address, None):
        assert not c.fcs_model_section(address, fcsm.FACTS, 0, ctypes.byref(size))
        assert size.value == 0


def test_a_program_is_checked_once(toy: Model) -> None:
    """A file cannot state many programs of the same words: opening would take hours."""
    plan = toy_codec.encoder_plan(1)
    words = np.frombuffer(fcsm.packed_plan(plan), fcsm.WORD)
    first = words[fcsm.PROGRAMS] + 1
    row = np.array([1, words[first], plan.programs[1].size], fcsm.WORD)
    for n, code in ((1, c_library.OK), (2, c_library.BAD_MODEL)):
        head = words[: fcsm.PLAN_HEAD].copy()
        head[fcsm.N_PROGRAMS], head[fcsm.PROGRAMS] = n, words.size
        head[fcsm.PLAN_WORDS] = words.size + 3 * n
        changed = np.concatenate([head, words[fcsm.PLAN_HEAD :], np.tile(row, n)])
        assert code_of(toy, with_plan(changed.tobytes())) == code


def test_a_tail_that_takes_too_long_to_check(toy: Model) -> None:
    """Calls whose bounds do not show that they are right are checked with each number of items."""
    hop, n_tokens = 1 << 14, 15
    numbers = {"samples_per_token": hop, "chunk_samples": hop * n_tokens}
    head = toy_codec.head()._replace(chunk_tokens=n_tokens, **numbers)
    arrays = (STATE, 0, 3), (WEIGHTS, 0, 3), (STATE, 0, 1), (OUT, 0, n_tokens)
    call = toy_codec.call(toy_codec.ENCODE, *arrays, 4)
    for times, code in ((17, c_library.OK), (18, c_library.BAD_MODEL)):
        words = np.array(call * times, np.int64)
        patches = [Patch(i * len(call) + 13, 1, 1) for i in range(times)]
        tail = Tail(words, [Parameter(0, 1, hop)], patches)
        plan = toy_codec.encoder_plan(1)._replace(programs={1: words}, tail=tail)
        data = with_plan(fcsm.packed_plan(plan), head)
        assert code_of(toy, data) == code


def test_words_that_do_not_fit_are_refused() -> None:
    for value in (2**31 - 4, -(2**31)):
        plan = fcsm.unpacked_plan(fcsm.packed_plan(changed_call(3, value)))
        assert plan.programs[1][3] == value
    for value in (2**32, -(2**31) - 1):
        with pytest.raises(ValueError, match="32 bits"):
            fcsm.packed_plan(changed_call(3, value))
