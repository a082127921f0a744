"""Packets of a radio: split, lost, mixed up, and joined again."""

from __future__ import annotations

import io
import random

import fuzz_cases
import numpy as np
import pytest

from fcs_edge.bitstream import BitstreamReader, BitstreamWriter, Damage, End, Header, Tokens
from fcs_edge.bitstream.crc import with_crc
from fcs_edge.bitstream.radio_join import Packet, join_packets
from fcs_edge.bitstream.radio_packets import CELLS_HEAD_BYTES, split_packets
from fcs_edge.bitstream.whole_records import whole_records
from fcs_edge.errors import BitstreamError
from measure_protection import protect, restore

SPT = 320


def header(bits=16):
    return Header(bits, SPT, 16000, 24000, b"12345678")


def tokens_of(count, bits=16):
    steps = np.random.default_rng(bits).integers(-3, 4, count)
    return (np.cumsum(steps) % (1 << bits)).astype(np.uint16)


def bitstream(count, bits=16, **options):
    file = io.BytesIO()
    writer = BitstreamWriter(file, header(bits), **{"block_bytes": 48} | options)
    writer.write(tokens_of(count, bits))
    writer.close(max(0, count * SPT - 9))
    return file.getvalue()


def packets_of(data, packet_bytes=51):
    return list(split_packets(io.BytesIO(data), packet_bytes))


def joined(packets, number=None):
    file, problems = io.BytesIO(), []
    named = [Packet(f"p{i}", packet) for i, packet in enumerate(packets)]
    join_packets(named, file, problems.append, number)
    return file.getvalue(), problems


def events_of(data, bits=16):
    reader = BitstreamReader(join=header(bits))
    return reader.feed(data) + reader.close()


@pytest.mark.parametrize("bits", [1, 11, 12, 16])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("packet_bytes", [51, 222])
def test_packets_join_in_any_order(bits, raw, packet_bytes):
    data = bitstream(700, bits, raw=raw, block_bytes=packet_bytes - 3)
    packets = packets_of(data, packet_bytes)
    assert max(map(len, packets)) <= packet_bytes
    random.Random(bits).shuffle(packets)
    assert joined(packets + packets[:3]) == (data, [])


def test_any_packet_may_be_missing():
    data = bitstream(400)
    sent = packets_of(data)
    tokens = tokens_of(400)
    for i in range(len(sent)):
        received, problems = joined(sent[:i] + sent[i + 1 :])
        # The last packet has the header too.
        assert bool(problems) == (i > 0) == (received != data)
        silence, place = 0, 0
        for event in events_of(received):
            if isinstance(event, Damage):
                silence, place = silence + event.n_tokens, place + event.n_tokens
            elif isinstance(event, Tokens):
                size = event.tokens.size
                assert (event.tokens == tokens[place : place + size]).all()
                place += size
            elif isinstance(event, End):
                assert event.n_samples == 400 * SPT - 9
        # Of a missing end nothing tells.
        assert place == 400 or i == len(sent) - 1
        assert silence <= 255


def test_header_is_in_the_last_packet_where_it_fits():
    data = bitstream(300, 11, block_bytes=110)
    packets = packets_of(data, 113)
    assert packets[-1][3:].count(b"FCS\x1a") == 1
    assert joined(packets[1:])[0].startswith(data[:19])


def test_other_blocks_are_packets_too():
    data = bitstream(1234, block_bytes=None)
    packets = list(split_packets(io.BytesIO(data)))
    assert joined(packets[::-1]) == (data, [])
    with pytest.raises(BitstreamError, match="which no packet of 51 bytes holds; encode with"):
        packets_of(bitstream(1234, block_bytes=None, raw=True))


def test_repeated_headers_stay_out():
    data = bitstream(200 * 64)
    records = list(whole_records(io.BytesIO(data)))
    assert b"".join(record.data for record in records) == data
    copies = [record for record in records if record.is_copy]
    assert len(copies) == 3
    assert joined(packets_of(data)) == (
        b"".join(record.data for record in records if not record.is_copy),
        [],
    )


def test_packets_of_other_messages_are_refused():
    one, two = bitstream(200), bitstream(300)
    mixed = packets_of(one) + packets_of(two)[:2]
    number = int.from_bytes(mixed[0][1:3], "little")
    with pytest.raises(BitstreamError, match=f"packets of 2 messages: .*{number:04x}.*--message"):
        joined(mixed)
    assert joined(mixed, number) == (one, [])
    with pytest.raises(BitstreamError, match="no packet of message 0000 is there"):
        joined(mixed, 0)


def test_damaged_packets_are_ignored():
    packets = packets_of(bitstream(200))
    bad = packets[1][:-1] + bytes([packets[1][-1] ^ 1])
    received, problems = joined([packets[0], bad, *packets[2:], b"", b"abc", b"\xfc\0"])
    assert problems[0] == "p1: damaged; ignored" or "not a packet" in problems[0]
    assert sum("not a packet of fcs-edge split" in line for line in problems) == 3
    assert any("missing from token 0 on" in line for line in problems)
    assert received
    with pytest.raises(BitstreamError, match="no packet is there"):
        joined([b"", b"x" * 90])
    with pytest.raises(BitstreamError, match="no packet is intact"):
        joined([bad])


def test_packets_of_a_later_version_are_refused():
    packets = packets_of(bitstream(200))
    later = bytearray(header().to_bytes()[:-2])
    later[4] += 1
    with pytest.raises(BitstreamError, match="version 3 is newer"):
        joined([packets[0][:3] + with_crc(bytes(later)), *packets[1:]])


@pytest.mark.parametrize("damage", ["flip", "cut", "two", "protected"])
def test_damaged_files_are_not_split(damage):
    data = bitstream(200)
    bad = {
        "flip": data[:70] + bytes([data[70] ^ 1]) + data[71:],
        "cut": data[:-1],
        "two": data + data,
        "protected": protect(data, 0.25)[:-1],
    }[damage]
    with pytest.raises(BitstreamError, match=r"damaged|several|without an end"):
        packets_of(bad)


def test_cells_of_a_protected_file_are_packets():
    data = bitstream(3000)
    whole = protect(data, 0.25, 217)
    packets = packets_of(whole, 222)
    assert {len(packet) for packet in packets} == {222}
    random.Random(0).shuffle(packets)
    assert joined(packets) == (whole, [])
    lost = len(packets) // 10
    received, problems = joined(packets[lost:])
    assert problems == []
    assert restore(received)[0] == data
    received, problems = joined(packets[len(packets) // 3 :])
    assert "more missing: the protection cannot restore them" in problems[0]
    small = list(split_packets(io.BytesIO(protect(data, 0.25, 46))))
    assert max(map(len, small)) == 46 + CELLS_HEAD_BYTES == 51
    with pytest.raises(BitstreamError, match="cells of 217 bytes"):
        packets_of(whole, 51)


def test_an_output_need_not_be_readable(tmp_path):
    path, whole = tmp_path / "b.fcs", protect(bitstream(300), 0.25, 46)
    with path.open("wb") as file:
        join_packets((Packet("p", data) for data in packets_of(whole)), file, print)
    assert path.read_bytes() == whole


def test_any_packets():
    sent = [packets_of(bitstream(300)), packets_of(protect(bitstream(300), 0.5, 60), 99)]

    def make(rng):
        packets = list(rng.choice(sent))
        for _ in range(rng.randrange(6)):
            i = rng.randrange(len(packets))
            packets[i] = fuzz_cases.mutate_bytes(rng, packets[i])
        rng.shuffle(packets)
        return b"".join(len(p).to_bytes(2, "big") + p for p in packets[rng.randrange(3) :])

    def read(data):
        packets, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            packets.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        received, problems = joined(packets)
        assert len(received) <= 3 * len(data)
        return "problems" if problems else "joined"

    found = fuzz_cases.run("radio-packets", 150, make, read, memory=2_000_000)
    assert min(found["problems"], found["joined"], found["refused"]) > 10
