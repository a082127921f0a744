"""Protected files: what they cost, what they survive, and what passes on as it is."""

from __future__ import annotations

import io
import sys
import zlib

import numpy as np
import pytest
import reedsolo

from fcs_edge.bitstream import reed_solomon
from fcs_edge.bitstream.cell_layout import CELL_WORDS, Layout, choose_layout, layout_of
from fcs_edge.bitstream.header import Header
from fcs_edge.bitstream.protection import ProtectedReader, ProtectedWriter, Repairs, protected
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.errors import BitstreamError
from measure_protection import Damage, damaged, protect, restore

SIZES = [1, 19, 27, 50, 100, 255, 600, 785, 4585, 12288, 12289, 20000]


def message(n_bytes, seed=0):
    return np.random.default_rng(seed).bytes(n_bytes)


def plain_stream(seed):
    file = io.BytesIO()
    writer = BitstreamWriter(file, Header(13, 320, 16000, 24000, bytes(8)))
    tokens = np.random.default_rng(seed).integers(0, 1 << 13, 700 + seed).astype(np.uint16)
    writer.write(tokens)
    writer.close(tokens.size * 320)
    return file.getvalue()


class Dribble(io.BytesIO):
    """Gives few bytes at a time, as a pipe may."""

    def read1(self, size=-1):
        return super().read(min(size, 61))


@pytest.mark.parametrize("n_bytes", SIZES)
def test_bytes_come_back(n_bytes):
    data = message(n_bytes)
    whole = protect(data, 0.25)
    restored, repairs = restore(whole, piece=1000)
    assert restored == data
    assert (repairs.n_failures, repairs.corrected, repairs.lost_cells) == (0, 0, 0)
    assert len(whole) == repairs.n_bytes + 4
    assert repairs.share == pytest.approx(len(whole) / n_bytes - 1)


@pytest.mark.parametrize(
    ("n_bytes", "share"), [(12288, 0.05), (4585, 0.1), (600, 0.25), (13000, 0.25), (1000, 1.0)]
)
def test_no_more_than_the_share_is_added(n_bytes, share):
    added = len(protect(message(n_bytes), share)) / n_bytes - 1
    assert 0.9 * share < added <= share


def test_a_short_message_takes_more_than_its_share_for_one_lost_cell():
    data = message(27)
    whole = protect(data, 0.25)
    assert len(whole) == 112
    assert restore(damaged(whole, 18, Damage(0, 0.1), np.random.default_rng(0)))[0] == data


@pytest.mark.parametrize("cell_bytes", [16, 46, 217, 255])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_cells_may_have_a_given_size(cell_bytes, share):
    data = message(9000)
    whole = protect(data, share, cell_bytes)
    restored, repairs = restore(whole)
    assert restored == data
    assert repairs.cell_bytes == cell_bytes
    assert (len(whole) - 4) % cell_bytes == 0


def test_the_pieces_in_which_bytes_come_and_go_change_nothing():
    data = message(13000)
    file = io.BytesIO()
    writer = ProtectedWriter(file, 0.25)
    for i in range(0, len(data), 97):
        assert writer.write(data[i : i + 97]) == len(data[i : i + 97])
        writer.flush()
    writer.close()
    assert file.getvalue() == protect(data, 0.25)
    bad = damaged(file.getvalue(), 200, Damage(1e-3), np.random.default_rng(0))
    for seekable in (False, True):
        reader = ProtectedReader(Dribble(bad), seekable=seekable)
        assert b"".join(iter(lambda read=reader.read: read(11), b"")) == data


def test_a_group_is_there_before_the_next_one_is_written():
    data = message(14000)
    whole = protect(data, 0.25)
    first = restore(whole)[1].cell_bytes * 4
    pipe = io.BytesIO(whole)
    reader = ProtectedReader(pipe, seekable=False)
    assert reader.read(1 << 16) == data[:6144]
    assert pipe.tell() <= 6144 * 1.25 + first


@pytest.mark.parametrize(
    "damage",
    [
        Damage(1e-3),
        Damage(0, 0.1, "cut out"),
        Damage(1e-3, 0.1, "cut out"),
        Damage(1e-3, 0.1, "noise"),
        Damage(1e-3, 0.1, "zeros"),
    ],
)
@pytest.mark.parametrize(("n_bytes", "n"), [(785, 8), (4585, 1)])
def test_bit_errors_and_lost_cells_are_corrected(damage, n_bytes, n):
    data = message(n_bytes)
    whole = protect(data, 0.25)
    cell_bytes = restore(whole)[1].cell_bytes
    for seed in range(n):
        bad = damaged(whole, cell_bytes, damage, np.random.default_rng(seed))
        restored, repairs = restore(bad)
        assert restored == data, seed
        assert repairs.n_failures == 0
        assert repairs.corrected > 0 or not damage.lost


def test_no_cell_is_indispensable():
    data = message(785)
    whole = protect(data, 0.25)
    cell = restore(whole)[1].cell_bytes
    for start in [0, *range(4, len(whole), cell)]:
        for rest in (b"", bytes(cell), message(cell, start)):
            bad = whole[:start] + rest + whole[start + cell :]
            if len(rest) == cell or start + cell < len(whole):
                assert restore(bad)[0] == data, (start, rest[:4])


def test_the_start_may_be_missing():
    data = message(785)
    whole = protect(data, 0.25)
    for cut in (1, 2, 3, 4, 5, 40, 79):
        assert restore(whole[cut:])[0] == data, cut
    for bit in range(40):
        bad = bytearray(whole)
        bad[bit // 8] ^= 1 << bit % 8
        assert restore(bytes(bad), seekable=bit % 2 == 0)[0] == data, bit


def test_bytes_between_cells_are_skipped():
    data = message(4585)
    whole = protect(data, 0.25)
    cell = restore(whole)[1].cell_bytes
    for at in (0, 4, 4 + 3 * cell, 4 + 3 * cell + 17, len(whole)):
        restored, repairs = restore(whole[:at] + message(1000, at) + whole[at:])
        assert restored == data, at
        assert repairs.n_failures == (at == len(whole)), at


def test_a_group_that_is_cut_out_is_reported():
    data = message(20000)
    whole = protect(data, 0.25)
    size = choose_layout(6144, int(6144 * 1.25) - 4, None, 0).size
    cut = whole[: 4 + size] + whole[4 + 2 * size :]
    restored, repairs = restore(cut)
    assert restored == data[:6144] + data[12288:]
    assert repairs.failures == ["1 group before group 2 missing"]
    reader = ProtectedReader(io.BytesIO(cut), seekable=True, strict=True)
    assert reader.read(9999) == data[:6144]
    with pytest.raises(BitstreamError, match="1 group before"):
        reader.read(9999)


def test_protected_files_may_follow_one_another():
    one, two = message(785), message(2000, 1)
    restored, repairs = restore(protect(one, 0.25) + protect(two, 0.5))
    assert restored == one + two
    assert (repairs.groups, repairs.n_failures) == (2, 0)


@pytest.mark.parametrize(
    "damage", [Damage(1e-2), Damage(0, 0.4, "cut out"), Damage(0, 0.4, "noise"), Damage(2e-2, 0.3)]
)
def test_what_cannot_be_corrected_passes_on_and_is_reported(damage):
    data = message(3000)
    whole = protect(data, 0.25)
    cell_bytes = restore(whole)[1].cell_bytes
    restored, repairs = restore(damaged(whole, cell_bytes, damage, np.random.default_rng(1)))
    assert repairs.n_failures == 1
    assert "codewords have too many errors" in repairs.failures[0]
    assert abs(len(restored) - len(data)) < 100
    same = np.frombuffer(data, np.uint8)[:2900] == np.frombuffer(restored, np.uint8)[:2900]
    assert same.mean() > 0.5


@pytest.mark.parametrize(
    "data",
    [b"", b"F", b"FCS\x1a", b"FCS\x1b", b"FCS\x1b" + b"\xff" * 99, bytes(50), message(70000)],
)
@pytest.mark.parametrize("seekable", [False, True])
def test_other_bytes_pass_unchanged(data, seekable):
    reader = ProtectedReader(io.BytesIO(data), seekable=seekable)
    assert b"".join(iter(lambda: reader.read(4000), b"")) == data
    assert reader.repairs is None


def test_without_the_library_undamaged_files_are_read(monkeypatch, tmp_path):
    data = message(785)
    path = tmp_path / "a.fcs"
    path.write_bytes(protect(data, 0.25))
    monkeypatch.setitem(sys.modules, "reedsolo", None)
    with path.open("rb") as file:
        assert protected(file).read(9999) == data
    with pytest.raises(BitstreamError, match="pip install reedsolo"):
        protect(data, 0.25)


def test_without_the_library_damaged_files_pass_on(monkeypatch):
    data = message(20000)
    whole = protect(data, 0.25)
    bad = bytearray(whole)
    for at in (50, 9000, len(whole) - 1):
        bad[at] ^= 1
    monkeypatch.setitem(sys.modules, "reedsolo", None)
    restored, repairs = restore(bytes(bad))
    assert len(restored) == len(data)
    assert sum(a != b for a, b in zip(restored, data, strict=True)) == 2
    assert repairs.n_failures == 2
    assert repairs.failures[0].endswith(
        "codewords have errors; to correct them: pip install reedsolo"
    )
    assert "pip" not in repairs.failures[1]
    with pytest.raises(BitstreamError, match="pip install reedsolo"):
        ProtectedReader(io.BytesIO(bad), seekable=True, strict=True).read(99999)


def test_cells_of_zeros_count_as_missing():
    data = message(785)
    whole = protect(data, 0.25)
    cell = restore(whole)[1].cell_bytes
    start = 4 + 3 * cell
    restored, repairs = restore(whole[:start] + bytes(cell) + whole[start + cell :])
    assert restored == data
    assert (repairs.lost_cells, repairs.n_failures) == (1, 0)


@pytest.mark.parametrize("seekable", [False, True])
@pytest.mark.parametrize("parts", ["sp", "ps", "ss", "sps", "psp", "ppssp"])
def test_protected_files_and_others_may_be_chained(parts, seekable):
    streams = [plain_stream(n) for n in range(len(parts))]
    pairs = zip(parts, streams, strict=True)
    chain = b"".join(protect(data, 0.25) if part == "s" else data for part, data in pairs)
    for piece in (7, 1 << 16):
        restored, repairs = restore(chain, seekable=seekable, piece=piece)
        if seekable or piece > 7:
            assert restored == b"".join(streams)
            assert (repairs.groups, repairs.n_failures) == (parts.count("s"), 0)


@pytest.mark.parametrize("next_one", [protect(plain_stream(1), 0.5), plain_stream(1)])
def test_the_end_of_a_file_in_a_chain_may_be_missing(next_one):
    whole = protect(plain_stream(0), 0.25)
    cut = whole[: -2 * restore(whole)[1].cell_bytes]
    restored, repairs = restore(cut + next_one)
    assert restored == plain_stream(0) + plain_stream(1)
    assert repairs.n_failures == 0


def test_many_false_magics_cost_little():
    data = b"FCS\x1b" * 5000
    assert restore(data) == (data, Repairs())


def test_wrong_calls_are_refused():
    for share in (0.0, 0.04, 1.01, float("nan")):
        with pytest.raises(ValueError, match="share must be"):
            ProtectedWriter(io.BytesIO(), share)
    for cell_bytes in (15, 256):
        with pytest.raises(ValueError, match="cell_bytes must be"):
            ProtectedWriter(io.BytesIO(), 0.25, cell_bytes=cell_bytes)
    writer = ProtectedWriter(io.BytesIO(), 0.25)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"a")


def test_syndromes_are_those_of_the_library():
    layout = Layout(40, 20, 20)
    group = reed_solomon.add_parity(np.frombuffer(message(700), np.uint8), layout)
    coder = reedsolo.RSCodec(20)
    assert layout.codewords == 3
    for q in range(3):
        assert coder.check(group[q::3].tobytes()) == [True]
    assert reed_solomon.wrong_codewords(group, layout) == []
    group[[1, 31]] ^= 7
    assert reed_solomon.wrong_codewords(group, layout) == [1]


def test_marks_tell_layouts_and_places():
    assert np.unique(CELL_WORDS).size == CELL_WORDS.size == 128
    pairs = CELL_WORDS[1:] ^ CELL_WORDS[:-1]
    assert np.unique(pairs).size == pairs.size
    for layout in (Layout(60, 6, 2, 3), Layout(60, 128, 127, 0), Layout(60, 43, 45, 1)):
        assert layout_of(60, layout.mask) == layout


def test_the_bytes_of_a_protected_file_stay():
    whole = protect(bytes(range(200)) * 3, 0.25)
    assert len(whole) == 746
    assert whole[:16].hex() == "4643531b88a05802e3c2000102030405"
    assert whole[-4:].hex() == "d7b21caf"
    assert zlib.crc32(whole) == 0xB9A10E89


def test_groups_of_small_cells_stay_in_order():
    data = message(12000)
    whole = protect(data, 0.25, 30)
    cells = [whole[i : i + 30] for i in range(4, len(whole), 30)]
    for i in range(9, len(cells), 19):
        cells[i] = b""
    restored, repairs = restore(whole[:4] + b"".join(cells))
    assert restored == data
    assert repairs.groups > 4
    assert (repairs.n_failures, repairs.lost_cells) == (0, sum(not cell for cell in cells))
