"""The reader of `fcs_file.h` against the Python reader: any bytes, in any pieces."""

import c_file
import damaged_streams
import numpy as np
import pytest
from fuzz_cases import SEED, TIMES
from second_reader import FOLDER, first

from fcs_edge.bitstream import Header

N_DAMAGED, N_LIVE = 700, 500
NETWORKS = list(damaged_streams.PRIORS.values())
MODEL = Header(11, 320, 16000, 24000, bytes.fromhex("0123456789abcdef"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_file.build(tmp_path_factory.mktemp("c_file"))


def test_it_agrees_on_damaged_streams(library):
    codes = [0, 0, 0]
    for number in range(N_DAMAGED * TIMES):
        data, model = damaged_streams.case(f"c {SEED} {number}")
        step = [None, 1, 7, 100][number % 4]
        expected = first(data, model, NETWORKS)
        assert c_file.read(library, data, model, NETWORKS, step) == expected, (SEED, number)
        codes[expected[1]] += 1
    assert min(codes) > N_DAMAGED / 20


def test_it_agrees_on_damaged_live_streams(library):
    for number in range(N_LIVE * TIMES):
        data, model = damaged_streams.case(f"c live {SEED} {number}")
        step = [1 << 20, 1, 7, 100][number % 4]
        expected = first(data, model, NETWORKS, step, eager=True)
        assert c_file.read(library, data, model, NETWORKS, step, True) == expected, (SEED, number)


def short_files():
    """Return two short files: one of two parts, and one with blocks of all forms."""
    return (FOLDER / "chained.fcs").read_bytes(), (FOLDER / "mixed.fcs").read_bytes()


@pytest.mark.parametrize("model", [None, MODEL], ids=["no model", "model"])
def test_it_agrees_on_each_cut(library, model):
    for data in short_files():
        for size in range(len(data)):
            for cut in (data[:size], data[size:]):
                assert c_file.read(library, cut, model) == first(cut, model), size


@pytest.mark.parametrize("model", [None, MODEL], ids=["no model", "model"])
def test_it_agrees_on_each_wrong_byte(library, model):
    rng = np.random.default_rng(1)
    for data in short_files():
        for at in range(len(data)):
            for wrong in (1 << at % 8, 0xFF, int(rng.integers(1, 256))):
                damaged = data[:at] + bytes([data[at] ^ wrong]) + data[at + 1 :]
                assert c_file.read(library, damaged, model) == first(damaged, model), (at, wrong)


def test_an_event_of_damage_says_where_and_how_much(library):
    data = (FOLDER / "block-out.fcs").read_bytes()
    damages = [
        (event.code, event.offset, event.n_tokens, event.n_missing, event.n_bytes)
        for kind, event in c_file.raw_events(library, data, MODEL)
        if kind == c_file.DAMAGE
    ]
    assert damages == [(-145, 55, 20, 20, 0)]
    data = (FOLDER / "silence-limit.fcs").read_bytes()
    silence = [
        (event.n_tokens, event.n_missing)
        for kind, event in c_file.raw_events(library, data, MODEL)
        if kind == c_file.DAMAGE and event.n_tokens
    ]
    assert silence == [(180040, 8387588)]


def test_a_record_of_an_unknown_type_is_named(library):
    data = (FOLDER / "unknown-odd.fcs").read_bytes()
    records = [
        (event.type, event.n_bytes)
        for kind, event in c_file.raw_events(library, data)
        if kind == c_file.RECORD
    ]
    assert [kind % 2 for kind, _ in records] == [1] * len(records)
    assert len(records) == 2


def test_a_reader_that_is_over_stays_so(library):
    for name, code in (("raw-8", 0), ("empty", -121)):
        data = (FOLDER / f"{name}.fcs").read_bytes()
        for kind, event in c_file.raw_events(library, data):
            last = kind, event.kind
        assert last == (code, code)
