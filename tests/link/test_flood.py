"""Foreign packets by the thousand: what is read, what is counted, and that no chunk is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.link import datagrams, sockets
from fcs_edge.link import receiver as receiver_module
from fcs_edge.link.datagrams import ROOM, Datagrams
from fcs_edge.link.flood import FOREIGN_PER_SECOND, FloodGate
from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.keys import new_key, peer_path, read_key
from fcs_edge.link.packets import MAX_PACKET, Packet, PacketFormat, write_packet
from fcs_edge.link.receiver import Receiver
from fcs_edge.link.seal import DirectionKey
from fcs_edge.link.sockets import ListeningSocket

STREAM = 7 << 40
BURSTS, BURST = 12, 200


@pytest.fixture
def listening() -> Iterator[ListeningSocket]:
    opened = ListeningSocket("127.0.0.1", 0)
    yield opened
    opened.close()


@pytest.fixture
def send(listening: ListeningSocket) -> Iterator[Callable[[bytes], None]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", listening.port))
        yield sock.send  # type: ignore[misc]


def received(listening: ListeningSocket) -> list[bytes]:
    """Return what waits at a socket."""
    found: list[bytes] = []
    while (batch := listening.receive()).count:
        assert batch.count <= ROOM
        found += [batch[i] for i in range(batch.count)]
    return found


class TestDatagrams:
    @pytest.mark.parametrize("single", [False, True], ids=["many at once", "one by one"])
    def test_all_as_they_were_sent(self, single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if single:
            monkeypatch.setattr(datagrams, "_many_at_once", lambda: None)
        listening = ListeningSocket("127.0.0.1", 0)
        random = np.random.default_rng(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", listening.port))
            sizes = [0, 1, 16, 40, MAX_PACKET, MAX_PACKET + 1, *random.integers(0, 60, 300)]
            packets = [random.bytes(int(size)) for size in sizes]
            for packet in packets:
                sock.send(packet)
            sock.send(bytes(2000))
        assert received(listening) == [*packets, bytes(MAX_PACKET + 1)]
        assert received(listening) == []
        listening.close()
        assert listening.n_dropped == 0

    def test_memory_does_not_grow(
        self, listening: ListeningSocket, send: Callable[[bytes], None]
    ) -> None:
        first = listening.receive()
        for _ in range(5):
            send(b"x" * 30)
            assert listening.receive() is first
            assert first.sizes.tolist() == [30]

    def test_what_the_system_drops_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sockets, "BUFFER_BYTES", 4096)
        listening = ListeningSocket("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", listening.port))
            for _ in range(100):
                sock.send(b"x" * 30)
        n = len(received(listening))
        assert 0 < n < 100
        listening.close()
        assert listening.n_dropped == 100 - n

    def test_the_buffer_is_enlarged(self, listening: ListeningSocket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            assert listening.buffer_bytes >= plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def stream(codec: Codec, key: DirectionKey | None, number: int, n: int) -> list[bytes]:
    """Return the packets of a stream."""
    form, tokens = PacketFormat.of(codec), np.zeros(codec.chunk_tokens, np.uint16)
    identified = [key is None and i % 12 == 0 for i in range(n)]
    return [write_packet(form, Packet(number, i, tokens, identified[i]), key) for i in range(n)]


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
@pytest.mark.parametrize("kind", ["junk", "other streams", "replayed", "forged"])
def test_no_chunk_is_lost(
    sealed: bool, kind: str, tiny: Codec, tmp_path, listening, send, monkeypatch
) -> None:  # fmt: skip
    """A burst of foreign packets around each packet of the stream, while no time passes."""
    monkeypatch.setattr(receiver_module, "time", SimpleNamespace(monotonic=lambda: 5.0))
    path = tmp_path / "link.key"
    new_key(path)
    key = read_key(peer_path(path)).outgoing if sealed else None
    receiver = Receiver(tiny, listening, path if sealed else None, 100, lambda samples: None)
    own = stream(tiny, key, STREAM, BURSTS)
    receiver._accept(own[0])
    random = np.random.default_rng(3)
    foreign = {
        "junk": lambda: random.bytes(40),
        "other streams": lambda: stream(tiny, key and DirectionKey(bytes(32), 0), 9 << 40, 1)[0],
        "replayed": lambda: own[0],
        "forged": lambda: own[0][:-1] + bytes([own[0][-1] ^ 1]),
    }[kind]
    for packet in own[1:]:
        for _ in range(BURST):
            send(foreign())
        send(packet)
        for _ in range(BURST):
            send(foreign())
        for _ in range(3):
            receiver._receive()
    counts = receiver.buffer.counts
    assert receiver.buffer.level == BURSTS
    assert counts.chunks - counts.duplicate - counts.late == BURSTS
    # The stream's packets of the first batch, before the limit, are among those that are allowed.
    total = counts.received + sum(receiver.refused.values())
    assert total == 1 + (BURSTS - 1) * (2 * BURST + 1)
    assert receiver.refused["flood"] >= total - ROOM - BURSTS


def test_a_new_stream_gets_through() -> None:
    """100,000 packets a second for 20 s, and the sender starts again: one of 20 is read."""
    gate, batch, buffer = FloodGate(), Datagrams(), JitterBuffer(4, 0.08, authenticated=True)
    batch.count = BURST
    random = np.random.default_rng(3)
    n_read, n_own, per_packet = 0, 0, 40
    for i in range(10_000):
        selected = gate.select(batch, buffer, 5 + i * BURST / 100_000)
        n_read += len(selected)
        if i % per_packet == 0:
            n_own += int(random.integers(BURST)) in selected
    assert n_read == pytest.approx(20 * FOREIGN_PER_SECOND, rel=0.01)
    assert n_own == pytest.approx(0.05 * 10_000 / per_packet, abs=9)
    assert n_own > 0


def test_fuzzed_batches_change_nothing(tiny: Codec, tmp_path, listening, send) -> None:
    """Bytes of any size, some with the header of the stream: no exception, nothing is played."""
    path = tmp_path / "link.key"
    new_key(path)
    own = stream(tiny, read_key(peer_path(path)).outgoing, STREAM, 2)
    receiver = Receiver(tiny, listening, path, 3, lambda samples: None)
    receiver._accept(own[0])
    random = np.random.default_rng(seed := 20261129)
    print("seed", seed)
    for _ in range(40):
        for _ in range(100):
            head = own[1][: int(random.integers(0, 17))]
            send(head + random.bytes(int(random.integers(0, 60))))
        receiver._receive()
    receiver._accept(own[1])
    assert receiver.buffer.counts.received == 2
    assert receiver.buffer.level == 2
