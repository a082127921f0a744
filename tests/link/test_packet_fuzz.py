"""Datagrams of all kinds, coded bodies among them: played, or refused for one reason."""

from __future__ import annotations

import random

import fuzz_cases
import numpy as np
import pytest
from numpy.typing import NDArray
from prior_cases import drawn

from fcs_edge.bitstream.bitpack import packed_size
from fcs_edge.entropy import TokenCoder, neutral_coder
from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.packets import (
    Packet,
    PacketFormat,
    Silence,
    stream_bytes,
    write_packet,
)
from fcs_edge.link.payload import CodedTokens
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.seal import LinkKey, seal

A, B = LinkKey(bytes(range(32)), "a"), LinkKey(bytes(range(32)), "b")
CHUNK = 0.08
N_CASES = 300
MEMORY = 400_000
"""Bytes of a packet at its peak: the widest has 1152 tokens, and a token's bits take 16 bytes."""


class End:
    """A receiving end; `read` takes a datagram, and plays what it brings."""

    def __init__(self, bits: int, chunk_tokens: int, sealed: bool) -> None:
        self.form = PacketFormat(bytes(range(8)), bits, chunk_tokens)
        self.sealed = sealed
        coders = [drawn(bits, 8, 0).coder(), neutral_coder(bits)]
        self.coders: dict[int, TokenCoder] = {coder.check: coder for coder in coders}
        self.reader = PacketReader(self.form, CHUNK, B if sealed else None, coders=self.coders)
        self.buffer = JitterBuffer(chunk_tokens, CHUNK, authenticated=sealed)
        self.now = 0.0
        for coder in coders:
            # The first use may compile.
            coder.decode(b"", 1)

    def make(self, rng: random.Random) -> bytes:
        """Return a datagram: right, of random fields, or changed; on a sealed link with its tag."""
        kind = rng.randrange(6)
        if kind == 0:
            return rng.randbytes(rng.choice([0, 5, 16, 17, 33, 40, 400, 1201]))
        data = bytearray(self.whole(rng) if kind > 2 else self.fields(rng))
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data[: rng.choice([len(data)] * 7 + [rng.randrange(len(data) + 1)])])

    def whole(self, rng: random.Random) -> bytes:
        """Return a packet of random contents."""
        before, chunks = rng.choice([None, 0, 1, 3]), rng.choice([1, 2, 3, 8])
        stream, sequence = rng.choice([1, 2, 1 << 70]), rng.randrange(3, 300)
        named = not self.sealed and rng.random() < 0.5
        key = A.outgoing if self.sealed else None
        if rng.random() < 0.2:
            token = rng.randrange(1 << self.form.bits)
            return write_packet(self.form, Silence(stream, sequence, token, 1, named), key)
        count = ((before or 0) + chunks) * self.form.chunk_tokens
        longest = min(packed_size(count, self.form.bits) - 1, 1000)
        tokens: NDArray[np.uint16] | CodedTokens = np.zeros(count, np.uint16)
        if longest > 0 and (rng.random() < 0.7 or count > 500):
            coder = rng.choice(list(self.coders.values()))
            tokens = CodedTokens(coder, rng.randbytes(rng.randint(1, longest)), count)
        return write_packet(self.form, Packet(stream, sequence, tokens, named, before), key)

    def fields(self, rng: random.Random) -> bytes:
        """Return a header of random fields and any payload; a sealed one has a right tag."""
        flags = rng.randrange(256) & 0x7F | (0x80 if self.sealed else 0)
        stream, sequence = stream_bytes(rng.choice([1, 2])), rng.choice([0, 7, 300, 2**32 - 2])
        header = bytes([0xF2, flags]) + sequence.to_bytes(4, "big") + stream
        header += rng.randbytes(1) if flags & 0x30 == 0x30 else b""
        payload = rng.randbytes(rng.choice([1, 3, 4, 6, 16, 20, 44, 90, 900]))
        if not self.sealed:
            check = rng.choice([*self.coders, 5]).to_bytes(4, "big")
            name = rng.choice([b"", self.form.fingerprint, self.form.fingerprint + check])
            return header + name + payload
        check_or_none = rng.choice([None, *self.coders])
        key = A.outgoing.of_stream(stream, self.form.fingerprint, check_or_none)
        return header + seal(payload, header, sequence, key)

    def read(self, data: bytes) -> str:
        """Read a datagram and play a chunk; return what it was."""
        packet = self.reader.read(data, self.now, self.buffer.stream)
        self.now += CHUNK / 3
        if isinstance(packet, Silence):
            assert packet.token < 1 << self.form.bits
            return "pause"
        tokens = packet.decoded()
        assert tokens.dtype == np.uint16
        assert int(tokens.max()) < 1 << self.form.bits
        assert tokens.size == packet.tokens.size
        self.buffer.put(packet, self.now)
        self.buffer.take(self.now)
        return "coded" if isinstance(packet.tokens, CodedTokens) else "tokens"


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
@pytest.mark.parametrize(("bits", "chunk_tokens"), [(2, 3), (11, 4), (16, 4), (16, 48)])
def test_datagrams(bits: int, chunk_tokens: int, sealed: bool) -> None:
    end = End(bits, chunk_tokens, sealed)
    kind = f"packets {bits} {chunk_tokens} {sealed}"
    outcomes = fuzz_cases.run(kind, N_CASES, end.make, end.read, MEMORY)
    assert {"coded", "pause", "refused"} <= outcomes.keys()


def test_any_coded_bytes_are_tokens_in_bounded_time() -> None:
    """The longest packet takes no longer for one body than for another."""
    end = End(16, 48, False)
    for coder in end.coders.values():
        for seed in range(8):
            rng = random.Random(seed)
            body = [b"\0", b"\xff" * 1000, rng.randbytes(rng.randrange(1, 1100))][min(seed, 2)]
            assert coder.decode(body, 1152).size == 1152


def test_a_coded_flood_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets of streams that are not played cost no decoding, on an open link."""
    end, calls = End(16, 4, False), []
    monkeypatch.setattr(TokenCoder, "decode", lambda *_: calls.append(1) or np.zeros(4, np.uint16))
    coder = next(iter(end.coders.values()))
    own = write_packet(end.form, Packet(1, 0, np.zeros(4, np.uint16), identified=True))
    end.buffer.put(end.reader.read(own, 0.0), 0.0)
    for stream in range(2, 500):
        tokens = CodedTokens(coder, b"\1\2", 4)
        data = write_packet(end.form, Packet(stream, 9, tokens, identified=True))
        end.buffer.put(end.reader.read(data, 0.0, end.buffer.stream), 0.0)
    assert not calls
    assert end.buffer.counts.foreign == 498
