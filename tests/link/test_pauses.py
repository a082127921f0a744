"""Pauses on a link: few packets, and a receiver that plays on without counting losses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.link.jitter import LOST, WAIT, JitterBuffer
from fcs_edge.link.keys import new_key, peer_path, read_key
from fcs_edge.link.packets import Packet, PacketFormat, Silence
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.sender import PAUSE_SECONDS, Sender

CHUNK = 0.08
COMFORT = 7
END = "pause", 8
"""What follows, so that nothing starves at the end."""
Sent = list[tuple[float, bytes]]


class Socket:
    """A socket that notes what is sent, and when."""

    def __init__(self) -> None:
        self.now, self.sent = 0.0, Sent()

    def send(self, packet: bytes) -> None:
        self.sent.append((self.now, packet))


def sent_by(
    codec: Codec, script: list[tuple[str, int]], key: Path | None = None, **options: Any
) -> Sent:
    """Return the packets of runs of chunks, ``speech`` or ``pause``, with their times.

    A pause ends a chunk late, with the chunk before speech, as `PauseFilter` does.
    """
    socket: Any = Socket()
    sender = Sender(socket, codec, options.pop("chunks", 1), key, **options)
    sequence = 0
    for kind, n in script:
        for number in range(n):
            socket.now = (sequence + 1) * CHUNK
            if kind == "speech":
                sender.send(np.full(codec.chunk_tokens, 100 + sequence % 800, np.uint16))
            elif number == 0 or number > 1:
                sender.pause(COMFORT)
            if kind == "pause" and number == n - 1 > 0:
                sender.pause(COMFORT)
            sequence += 1
    sender.finish()
    return socket.sent


class Receiver:
    """Reader and jitter buffer; it takes a chunk each 80 ms of its own clock."""

    def __init__(self, codec: Codec, key: Path | None = None, ppm: float = 0) -> None:
        half = read_key(key) if key else None
        self.reader = PacketReader(PacketFormat.of(codec), CHUNK, half)
        self.buffer = JitterBuffer(codec.chunk_tokens, CHUNK, authenticated=key is not None)
        self.played: list[int | None] = []
        self.levels: list[int] = []
        self._step = CHUNK * (1 - 1e-6 * ppm)
        self._now = 0.001

    def run(self, packets: Sent, until: float, lost: tuple[int, ...] = ()) -> JitterBuffer:
        """Play packets of which some are lost, until a time.

        In `played`, None is a chunk of silence, and -1 one of concealment.
        """
        coming = [packet for i, packet in enumerate(packets) if i not in lost]
        while self._now < until:
            while coming and coming[0][0] <= self._now:
                now, data = coming.pop(0)
                packet = self.reader.read(data, now, self.buffer.stream)
                self.buffer.put(packet, now)
                if isinstance(packet, Packet):
                    self.levels.append(self.buffer.level)
            tokens = self.buffer.take(self._now)
            if tokens is LOST:
                self.played.append(-1)
            else:
                self.played.append(None if tokens is WAIT else int(tokens[0]))
            self._now += self._step
        return self.buffer

    @property
    def speech(self) -> list[int]:
        return [chunk for chunk in self.played if chunk is not None and chunk >= 100]


def no_losses(buffer: JitterBuffer) -> bool:
    counts = buffer.counts
    position = counts.played + counts.lost + counts.skipped + counts.paused
    assert position == buffer._position
    return (counts.lost, counts.starved, counts.skipped, counts.late, counts.resyncs) == (0,) * 5


def contents(codec: Codec, packets: Sent) -> list[Packet | Silence]:
    reader = PacketReader(PacketFormat.of(codec), CHUNK)
    return [reader.read(data, now) for now, data in packets]


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_pause_takes_two_packets_and_one_in_15_seconds(chunks: int, tiny: Codec) -> None:
    every = round(PAUSE_SECONDS / CHUNK)
    packets = contents(tiny, sent_by(tiny, [("speech", 5), ("pause", 400)], chunks=chunks))
    silences = [packet for packet in packets if isinstance(packet, Silence)]
    assert [s.before for s in silences] == [0, 1, every, 2 * every]
    assert [s.sequence for s in silences] == [5, 6, 5 + every, 5 + 2 * every]
    assert {s.token for s in silences} == {COMFORT}
    assert all(s.identified for s in silences)
    assert sum(p.tokens.size for p in packets if isinstance(p, Packet)) == 5 * tiny.chunk_tokens


def test_another_comfort_token_is_sent_at_once(tiny: Codec) -> None:
    socket: Any = Socket()
    sender = Sender(socket, tiny, 1, None)
    for token in [1, 1, 1, 2, 2, 2]:
        sender.pause(token)
    silences = contents(tiny, socket.sent)
    assert [(s.sequence, s.token, s.before) for s in silences if isinstance(s, Silence)] == [
        (0, 1, 0),
        (1, 1, 1),
        (3, 2, 0),
        (4, 2, 1),
    ]


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
@pytest.mark.parametrize("redundant", [False, True])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_pause_is_played_and_delays_nothing(
    sealed: bool, redundant: bool, chunks: int, tiny: Codec, tmp_path: Path
) -> None:
    new_key(tmp_path / "link.key")
    key, peer = (tmp_path / "link.key", peer_path(tmp_path / "link.key")) if sealed else (None,) * 2
    script = [("speech", 10), ("pause", 500), ("speech", 12), ("pause", 30), ("speech", 9), END]
    packets = sent_by(tiny, script, peer, chunks=chunks, redundant=redundant)
    receiver = Receiver(tiny, key)
    buffer = receiver.run(packets, 572 * CHUNK)
    assert no_losses(buffer)
    assert receiver.speech == [
        100 + i % 800 for i in [*range(10), *range(510, 522), *range(552, 561)]
    ]
    start = next(i for i, chunk in enumerate(receiver.played) if chunk is not None)
    assert None not in receiver.played[start : start + 561]
    assert buffer.counts.paused > 500
    assert max(receiver.levels[-3:]) <= max(receiver.levels[:9]) + 1


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_long_pause_takes_up_the_difference_of_the_clocks(ppm: int, tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 15000), ("speech", 10), END])
    receiver = Receiver(tiny, ppm=ppm)
    buffer = receiver.run(packets, 15026 * CHUNK)
    assert no_losses(buffer)
    assert len(receiver.speech) == 20
    assert receiver.levels[-10] <= receiver.levels[8] + 2


@pytest.mark.parametrize("first", [10, 11])
def test_a_lost_packet_at_a_pauses_start_costs_a_chunk(first: int, tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 100), ("speech", 10), END])
    receiver = Receiver(tiny)
    buffer = receiver.run(packets, 126 * CHUNK, lost=(first,))
    assert buffer.counts.lost + buffer.counts.starved <= 1
    assert (buffer.counts.skipped, buffer.counts.late) == (0, 0)
    assert receiver.speech == [*range(100, 110), *range(210, 220)]


def test_a_lost_first_packet_after_a_pause_is_concealed(tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 100), ("speech", 10), END])
    receiver = Receiver(tiny)
    buffer = receiver.run(packets, 126 * CHUNK, lost=(12,))
    assert receiver.speech == [*range(100, 110), *range(211, 220)]
    start = receiver.played.index(100)
    assert receiver.played[start + 10 : start + 111] == [COMFORT] * 101
    assert receiver.played[start + 111] == 211
    assert no_losses(buffer)


def test_tokens_that_overtake_a_packet_of_the_pause_end_it(tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 2), ("speech", 10), END])
    packets[11], packets[12] = (packets[12][0], packets[11][1]), (packets[12][0], packets[12][1])
    packets[11], packets[12] = packets[12], packets[11]
    receiver = Receiver(tiny)
    buffer = receiver.run(packets, 27 * CHUNK)
    assert receiver.speech == [*range(100, 110), *range(112, 122)]
    assert no_losses(buffer)


def test_a_receiver_joins_a_pause(tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 400), ("speech", 10), END])
    receiver = Receiver(tiny)
    buffer = receiver.run(packets, 426 * CHUNK, lost=tuple(range(12)))
    assert receiver.speech == [100 + i % 800 for i in range(410, 420)]
    assert (buffer.counts.starved, buffer.counts.late, buffer.counts.resyncs) == (0, 0, 0)


def test_a_pause_without_packets_ends_as_silence(tiny: Codec) -> None:
    packets = sent_by(tiny, [("speech", 10), ("pause", 100)])
    receiver = Receiver(tiny)
    receiver.run(packets, 45)
    seconds = math.floor(0.98 * receiver.played.index(COMFORT) * CHUNK)
    assert receiver.played[round((seconds + 31) / CHUNK)] == COMFORT
    assert receiver.played[round(40 / CHUNK)] is None


def test_another_stream_may_begin_in_a_pause(tiny: Codec) -> None:
    receiver = Receiver(tiny)
    receiver.run(sent_by(tiny, [("speech", 10), ("pause", 60)]), 60 * CHUNK)
    other = [(60 * CHUNK + t, data) for t, data in sent_by(tiny, [("speech", 40)])]
    buffer = receiver.run(other, 99 * CHUNK)
    assert buffer.counts.resyncs == 1
    assert receiver.speech[-1] > 130
