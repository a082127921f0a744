"""Packets that carry the one before: what a sender makes, and what a receiver fills with them."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.link.jitter import JitterBuffer, Missing
from fcs_edge.link.keys import new_key, peer_path, read_key
from fcs_edge.link.packets import Packet, PacketFormat
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.sender import Sender
from packet_coders import TailCoder

CHUNK = 0.08
LENGTHS = pytest.mark.parametrize("chunks", [1, 3, 12])
KINDS = pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])


class Sent:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def send(self, packet: bytes) -> None:
        self.packets.append(packet)


def tokens_of(codec: Codec, sequence: int) -> Any:
    """Return a chunk that tells its sequence; every other one codes well."""
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    tokens[: 1 + 3 * (sequence % 2)] = sequence % (1 << codec.bits_per_token)
    return tokens


def sent_by(codec: Codec, chunks: int, n: int, key: Path | None = None, **options: Any) -> Any:
    """Return the packets of a stream of n chunks, and their socket."""
    socket: Any = Sent()
    sender = Sender(socket, codec, chunks, key, **{"redundant": True, **options})
    for sequence in range(n):
        sender.send(tokens_of(codec, sequence))
    sender.finish()
    return socket.packets


class Receiver:
    """Reader and jitter buffer; it takes a chunk each 80 ms."""

    def __init__(self, codec: Codec, key: Path | None = None, coder: Any = None) -> None:
        self.codec = codec
        half = read_key(key) if key else None
        coders = {coder.check: coder} if coder else {}
        self.reader = PacketReader(PacketFormat.of(codec), CHUNK, half, coders=coders)
        self.buffer = JitterBuffer(codec.chunk_tokens, CHUNK, authenticated=key is not None)
        self.played: list[int | str] = []

    def put(self, data: bytes, now: float) -> None:
        packet = self.reader.read(data, now, self.buffer.stream)
        assert isinstance(packet, Packet)
        self.buffer.put(packet, now)

    def take(self, now: float) -> None:
        tokens = self.buffer.take(now)
        if isinstance(tokens, Missing):
            self.played.append(tokens.value)
            return
        assert np.array_equal(tokens, tokens_of(self.codec, int(tokens[0])))
        self.played.append(int(tokens[0]))

    def run(self, packets: list[bytes], chunks: int, lost: set[int], jitter: float = 0.06) -> None:
        """Play packets of which some are lost, until nothing is left."""
        random = np.random.default_rng(1)
        due = [(i + 1) * chunks * CHUNK + jitter * random.random() for i in range(len(packets))]
        # The last packet is sent twice, at once.
        due[-1] = due[-2]
        coming = sorted((t, i) for i, t in enumerate(due) if i not in lost)
        now, at = 0.001, 0
        while at < len(coming) or self.buffer.level:
            while at < len(coming) and coming[at][0] <= now:
                self.put(packets[coming[at][1]], coming[at][0])
                at += 1
            self.take(now)
            now += CHUNK

    @property
    def chunks(self) -> list[int]:
        return [chunk for chunk in self.played if isinstance(chunk, int)]


@LENGTHS
@KINDS
@pytest.mark.parametrize("coder", [None, TailCoder(9)], ids=["raw", "coded"])
def test_single_losses_cost_nothing(
    chunks: int, sealed: bool, coder: Any, tiny: Codec, tmp_path: Path
) -> None:
    new_key(tmp_path / "link.key")
    key, peer = (tmp_path / "link.key", peer_path(tmp_path / "link.key")) if sealed else (None,) * 2
    n = 8 * 12 + 1
    packets = sent_by(tiny, chunks, n, peer, coder=coder)
    receiver = Receiver(tiny, key, coder)
    lost = set(range(1, len(packets) - 1, 2))
    receiver.run(packets, chunks, lost)
    assert receiver.chunks == list(range(n))
    counts = receiver.buffer.counts
    assert (counts.lost, counts.starved, counts.late, counts.skipped) == (0, 0, 0, 0)
    assert counts.played == n
    assert counts.received == len(packets) - len(lost)
    assert counts.repaired == n - counts.chunks + counts.duplicate


def test_two_in_a_row_cost_one(tiny: Codec) -> None:
    packets = sent_by(tiny, 1, 40)
    receiver = Receiver(tiny)
    receiver.run(packets, 1, {5, 20, 21, 30, 31, 32})
    assert receiver.chunks == [i for i in range(40) if i not in (20, 30, 31)]
    assert receiver.played.count("lost") == receiver.buffer.counts.lost == 3
    assert receiver.buffer.counts.repaired == 3


def test_nothing_is_played_twice(tiny: Codec) -> None:
    """Packets come again, late and out of order; the copies in others change nothing."""
    random = np.random.default_rng(2)
    packets = sent_by(tiny, 1, 200)
    receiver = Receiver(tiny)
    receiver.put(packets[0], 0.0)
    coming = [
        (i * CHUNK + 0.3 * random.random(), i)
        for i in range(len(packets))
        for _ in range(1 + int(random.random() < 0.3))
        if random.random() > 0.1
    ]
    at, coming = 0, sorted(coming)
    for step in range(220):
        now = step * CHUNK
        while at < len(coming) and coming[at][0] <= now:
            receiver.put(packets[coming[at][1]], now)
            at += 1
        receiver.take(now)
        counts = receiver.buffer.counts
        stored = counts.chunks + counts.repaired - counts.late - counts.duplicate
        span = range(receiver.buffer._position, receiver.buffer._highest + 1)
        held = receiver.buffer._sequences
        waiting = sum(int(held[s % held.size]) == s for s in span)
        assert stored == counts.played + counts.skipped + waiting
    assert receiver.chunks == sorted(set(receiver.chunks))
    assert len(receiver.chunks) > 190
    assert receiver.buffer.counts.repaired > 5


@LENGTHS
def test_the_delay_is_one_packet_more(chunks: int, tiny: Codec) -> None:
    """From its first packet on, and where a receiver joins: a lost packet comes in time."""
    packets = sent_by(tiny, chunks, 24 * chunks)
    for first in (0, 12 // chunks):
        receiver = Receiver(tiny)
        receiver.run(packets, chunks, set(range(first)), jitter=0.0)
        goal = receiver.buffer._target + 2 * chunks - 1
        assert receiver.buffer.goal == goal
        start = receiver.played.index(receiver.chunks[0])
        # When the first packet came, in steps of a chunk, and what waited then.
        came = (first + 1) * chunks
        end = came - receiver.chunks[0]
        assert start - came + end == goal


class TestSender:
    def test_no_sequence_stands_for_two_packets(self, tiny: Codec, tmp_path: Path) -> None:
        new_key(tmp_path / "link.key")
        packets = sent_by(tiny, 3, 31, tmp_path / "link.key")
        assert packets[-1] == packets[-2]
        sequences = [int.from_bytes(packet[2:6], "big") for packet in packets[:-1]]
        assert sequences == list(range(0, 31, 3))
        # The packet before is whole, and the first packet has none.
        assert [packet[16] for packet in packets] == [0, *[3] * 11]
        assert len({packet[6:16] for packet in packets}) == 1

    def test_a_new_stream_carries_nothing_of_the_last(
        self, tiny: Codec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        socket: Any = Sent()
        sender = Sender(socket, tiny, 1, None, redundant=True)
        for _ in range(2):
            sender.send(tokens_of(tiny, 1))
        monkeypatch.setattr("os.getpid", lambda: 1)
        sender.send(tokens_of(tiny, 2))
        assert [packet[16] for packet in socket.packets] == [0, 1, 0]

    def test_a_stream_without_a_packet_ends_without_one(self, tiny: Codec) -> None:
        socket: Any = Sent()
        Sender(socket, tiny, 1, None, redundant=True).finish()
        assert socket.packets == []

    def test_memory_does_not_grow(self, tiny: Codec) -> None:
        socket: Any = Sent()
        sender = Sender(socket, tiny, 3, None, coder=TailCoder(9), redundant=True)
        tracemalloc.start()
        try:
            for sequence in range(600):
                sender.send(tokens_of(tiny, sequence))
                socket.packets.clear()
                if sequence == 60:
                    before = tracemalloc.get_traced_memory()[0]
            assert tracemalloc.get_traced_memory()[0] < before + 2000
        finally:
            tracemalloc.stop()

    def test_coded_packets_name_model_and_prior_each_second(self, tiny: Codec) -> None:
        """The prior only a coded packet can name."""
        socket: Any = Sent()
        sender = Sender(socket, tiny, 1, None, coder=TailCoder(9))
        full, easy = (np.full(tiny.chunk_tokens, value, np.uint16) for value in (1, 0))
        plain = [11, 12, 13, *range(30, 40)]
        for sequence in range(40):
            sender.send(full if sequence in plain else easy)
        named = [(i, len(p)) for i, p in enumerate(socket.packets) if p[1] & 0x40]
        contents = [packet[1] & 0x30 for packet in socket.packets]
        assert contents == [0 if i in plain else 0x10 for i in range(40)]
        assert [i for i, _ in named] == [0, 12, 14, 24, 36]


def test_counters_of_a_link_without_redundancy_stay(tiny: Codec) -> None:
    buffer = JitterBuffer(tiny.chunk_tokens, CHUNK)
    for sequence in (0, 1, 3, 3, 2):
        buffer.put(Packet(1, sequence, tokens_of(tiny, sequence)), 0.0)
    counts = {name: value for name, value in asdict(buffer.counts).items() if value}
    assert counts == {"received": 5, "chunks": 5, "duplicate": 1, "reordered": 1}


@LENGTHS
@pytest.mark.parametrize("redundant", [False, True])
def test_a_short_last_packet_skips_nothing(chunks: int, redundant: bool, tiny: Codec) -> None:
    n = 4 * chunks + 1
    packets = sent_by(tiny, chunks, n, redundant=redundant)
    receiver = Receiver(tiny)
    receiver.run(packets, chunks, set())
    assert receiver.chunks == list(range(n))
