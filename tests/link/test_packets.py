"""The packet format: bytes, sealing, what is rejected and why, and the document."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcs_edge.errors import FcsError
from fcs_edge.link.packets import (
    HEADER_BYTES,
    MAX_CHUNKS,
    MAX_PACKET,
    Packet,
    PacketFormat,
    read_packet,
    write_packet,
)
from fcs_edge.link.reasons import REASONS, PacketError
from fcs_edge.link.seal import DirectionKey, LinkKey, seal

FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)
FORM = PacketFormat(bytes.fromhex("0123456789abcdef"), 11, 4)
SECRET = bytes(range(32))
KEY = DirectionKey(SECRET, 0)
STREAM = 0x32C35EE4001F3A6C2B1D
EXAMPLE = Packet(STREAM, 1000, np.array([1, 2047, 1024, 5], np.uint16))
IDENTIFIED = Packet(STREAM, 1008, EXAMPLE.tokens, identified=True)
SEAL = pytest.mark.parametrize("key", [None, KEY], ids=["open", "sealed"])


def packet_of(chunks, bits=11, seed=0, sequence=7):
    tokens = np.random.default_rng(seed).integers(0, 1 << bits, chunks * 4, dtype=np.uint16)
    return Packet(5, sequence, tokens)


def reason(data, key=None, form=FORM):
    with pytest.raises(PacketError) as caught:
        read_packet(form, data, key)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def packet_or_none(data, key):
    try:
        return read_packet(FORM, data, key)
    except PacketError:
        return None


def sealed_with(header, payload):
    """Seal any payload under any header of the example, as a later version might."""
    key = KEY.of_stream(header[6:16], FORM.fingerprint)
    return header + seal(payload, header, EXAMPLE.sequence, key)


def changed(data, offset, value):
    return data[:offset] + bytes([value]) + data[offset + 1 :]


def same(one, other):
    fields = [(p.stream, p.sequence, p.identified) for p in (one, other)]
    return fields[0] == fields[1] and np.array_equal(one.tokens, other.tokens)


class TestBytes:
    def test_known(self):
        assert HEADER_BYTES == 16
        assert write_packet(FORM, EXAMPLE).hex(" ") == (
            "f2 01 00 00 03 e8 32 c3 5e e4 00 1f 3a 6c 2b 1d 00 3f fe 00 00 50"
        )
        assert write_packet(FORM, IDENTIFIED).hex(" ") == (
            "f2 41 00 00 03 f0 32 c3 5e e4 00 1f 3a 6c 2b 1d "
            "01 23 45 67 89 ab cd ef 00 3f fe 00 00 50"
        )

    def test_sealed_known(self):
        """The construction written out: the stream's key, the nonce, the associated data."""
        from nacl.bindings import crypto_aead_chacha20poly1305_ietf_encrypt as encrypt

        stream = bytes.fromhex("32c35ee4001f3a6c2b1d")
        header = bytes.fromhex("f281 000003e8") + stream
        key = hashlib.blake2b(
            b"\0" + stream + FORM.fingerprint,
            key=SECRET,
            digest_size=32,
            person=b"fcs-edge-link-v2",
        ).digest()
        nonce = bytes(8) + bytes.fromhex("000003e8")
        sealed = write_packet(FORM, EXAMPLE, KEY)
        assert sealed == header + encrypt(bytes.fromhex("003ffe000050"), header, nonce, key)
        assert len(sealed) == len(write_packet(FORM, EXAMPLE)) + 16

    @SEAL
    @pytest.mark.parametrize("bits", [11, 12, 16])
    @pytest.mark.parametrize("chunks", range(1, MAX_CHUNKS + 1))
    def test_round_trip(self, key, bits, chunks):
        form = PacketFormat(bytes(8), bits, 4)
        packet = packet_of(chunks, bits)
        data = write_packet(form, packet, key)
        assert len(data) == form.packet_size(chunks, sealed=key is not None)
        back = read_packet(form, data, key)
        assert same(back, packet)
        assert back.tokens.dtype == np.uint16

    @SEAL
    def test_largest(self, key):
        form = PacketFormat(bytes(8), 16, 48)
        numbers = (1 << 80) - 1, (1 << 32) - 12
        packet = Packet(*numbers, np.full(12 * 48, 65535, np.uint16), identified=key is None)
        data = write_packet(form, packet, key)
        assert len(data) <= MAX_PACKET
        assert same(read_packet(form, data, key), packet)

    def test_each_stream_direction_and_model_has_its_key(self):
        models = [FORM, PacketFormat(bytes(8), 11, 4)]
        keys = [KEY, KEY.reverse, DirectionKey(bytes(32), 0)]
        packets = [Packet(s, q, np.zeros(4, np.uint16)) for s in (0, 1 << 79) for q in (0, 1, 256)]
        sealed = {
            write_packet(form, packet, key)[HEADER_BYTES:]
            for form in models
            for key in keys
            for packet in packets
        }
        assert len(sealed) == len(models) * len(keys) * len(packets)

    def test_sides(self):
        a, b = LinkKey(SECRET, "a"), LinkKey(SECRET, "b")
        assert a.outgoing == b.incoming == KEY
        assert b.outgoing == a.incoming == KEY.reverse

    def test_of_codec(self):
        codec = SimpleNamespace(fingerprint=FORM.fingerprint, bits_per_token=11, chunk_tokens=4)
        assert PacketFormat.of(codec) == FORM

    def test_cryptography_is_loaded_with_a_key_only(self):
        code = (
            "import sys, numpy as np; from fcs_edge.link.packets import *;"
            "f = PacketFormat(bytes(8), 11, 4); p = Packet(1, 2, np.zeros(4, np.uint16));"
            "from fcs_edge.link.seal import DirectionKey; k = DirectionKey(bytes(32), 0);"
            "read_packet(f, write_packet(f, p)); assert 'nacl' not in sys.modules;"
            "read_packet(f, write_packet(f, p, k), k); assert 'nacl' in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestWrong:
    @pytest.mark.parametrize("count", [0, 3, 5, 52])
    def test_chunks(self, count):
        with pytest.raises(ValueError, match=rf"1\.\.12 chunks of 4 tokens, not {count}"):
            write_packet(FORM, Packet(1, 0, np.zeros(count, np.uint16)))

    def test_token(self):
        with pytest.raises(ValueError, match="does not fit 11 bits"):
            write_packet(FORM, Packet(1, 0, np.array([0, 0, 0, 2048], np.uint16)))

    @pytest.mark.parametrize(("stream", "sequence"), [(-1, 0), (1 << 80, 0), (0, -1)])
    def test_numbers(self, stream, sequence):
        with pytest.raises(ValueError, match="out of range"):
            write_packet(FORM, Packet(stream, sequence, np.zeros(4, np.uint16)))

    def test_fingerprint_in_a_sealed_packet(self):
        with pytest.raises(ValueError, match="no fingerprint"):
            write_packet(FORM, IDENTIFIED, KEY)

    def test_end_of_stream(self):
        with pytest.raises(FcsError, match=r"ends here: start a new one"):
            write_packet(FORM, Packet(1, (1 << 32) - 1, np.zeros(8, np.uint16)))
        last = Packet(1, (1 << 32) - 1, np.zeros(4, np.uint16))
        assert same(read_packet(FORM, write_packet(FORM, last)), last)

    @pytest.mark.parametrize(
        "fields", [(bytes(7), 11, 4), (bytes(8), 0, 4), (bytes(8), 17, 4), (bytes(8), 11, 49)]
    )
    def test_format(self, fields):
        with pytest.raises(ValueError, match="must be"):
            PacketFormat(*fields)


class TestRejected:
    OPEN = write_packet(FORM, EXAMPLE)
    SEALED = write_packet(FORM, EXAMPLE, KEY)

    @pytest.mark.parametrize("size", range(22))
    def test_cut(self, size):
        assert reason(self.OPEN[:size]) == "size"

    @pytest.mark.parametrize("size", range(30))
    def test_cut_fingerprint(self, size):
        cut = reason(write_packet(FORM, IDENTIFIED)[:size])
        assert cut == ("fingerprint" if 16 < size < 24 else "size")

    def test_size(self):
        assert reason(self.OPEN + b"\0") == "size"
        assert reason(bytes(MAX_PACKET + 1)) == "size"
        assert reason(self.SEALED[:32], KEY) == "size"
        assert reason(self.SEALED[:-1], KEY) == "authentication"
        sealed = write_packet(PacketFormat(FORM.fingerprint, 11, 3), packet_of(3), KEY)
        assert reason(sealed, KEY) == "size"

    def test_version(self):
        for key, data in ((None, self.OPEN), (KEY, self.SEALED)):
            assert reason(changed(data, 0, 0xF3), key) == "version"
            assert reason(changed(data, 0, 0x72), key) == "format"

    def test_version_1(self):
        version_1 = "fc 81 01 01 23 45 67 88 0e d4 b1 c2 a6 f3 17 e8 03 00 00 e9 b2 8d 41 4e 17"
        for key in (None, KEY):
            assert reason(bytes.fromhex(version_1) + bytes(16), key) == "version"

    def test_key_at_one_end(self):
        assert reason(self.OPEN, KEY) == "open"
        assert reason(self.SEALED) == "sealed"

    def test_content_of_a_later_version(self):
        flags = 1 | 3 << 4
        later = changed(self.OPEN, 1, flags)
        assert reason(later[:16] + b"\x20" + later[16:]) == "content"
        assert reason(changed(self.SEALED, 1, flags | 0x80), KEY) == "authentication"
        header = changed(self.SEALED, 1, flags | 0x80)[:HEADER_BYTES] + b"\x20"
        assert reason(sealed_with(header, bytes(6)), KEY) == "content"

    def test_fingerprint(self):
        other = PacketFormat(bytes(8), 11, 4)
        assert reason(write_packet(FORM, IDENTIFIED), form=other) == "fingerprint"
        assert read_packet(other, self.OPEN).sequence == EXAMPLE.sequence
        assert reason(self.SEALED, KEY, other) == "authentication"

    def test_range(self):
        assert reason(changed(self.OPEN, 1, 0)) == "range"
        assert reason(changed(self.OPEN, 1, MAX_CHUNKS + 1)) == "range"
        assert reason(changed(self.OPEN, len(self.OPEN) - 1, 0x51)) == "range"
        end = b"\xff" * 4
        assert reason(self.OPEN[:1] + b"\2" + end + self.OPEN[6:16] + bytes(11)) == "range"

    def test_identified_flag_on_a_sealed_packet(self):
        header = changed(self.SEALED, 1, 0xC1)[:HEADER_BYTES]
        assert reason(sealed_with(header, bytes(6)), KEY) == "range"

    def test_another_key(self):
        assert reason(self.SEALED, DirectionKey(bytes(32), 0)) == "authentication"
        assert reason(self.SEALED, KEY.reverse) == "authentication"

    def test_any_flipped_bit_of_a_sealed_packet(self):
        for chunks in (1, 3):
            data = write_packet(FORM, packet_of(chunks), KEY)
            for bit in range(len(data) * 8):
                flipped = changed(data, bit // 8, data[bit // 8] ^ 1 << bit % 8)
                assert reason(flipped, KEY) in ("format", "version", "open", "authentication")

    def test_other_header_on_a_sealed_payload(self):
        for stream, sequence in ((STREAM, 1001), (STREAM + 1, 1000)):
            other = write_packet(FORM, Packet(stream, sequence, EXAMPLE.tokens), KEY)
            assert reason(other[:16] + self.SEALED[HEADER_BYTES:], KEY) == "authentication"


class TestFuzz:
    @SEAL
    @FIXED
    @given(data=st.binary(max_size=80))
    def test_any_bytes(self, key, data):
        for prefix in (b"", write_packet(FORM, EXAMPLE, key)[:6]):
            packet = packet_or_none(prefix + data, key)
            if packet is not None:
                assert key is None
                assert write_packet(FORM, packet) == prefix + data

    @SEAL
    @FIXED
    @given(data=st.data())
    def test_mutated(self, key, data):
        chunks = data.draw(st.integers(1, MAX_CHUNKS))
        original = write_packet(FORM, packet_of(chunks), key)
        body = original
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(body)))
            stop = data.draw(st.integers(start, min(len(body), start + 8)))
            body = body[:start] + data.draw(st.binary(max_size=8)) + body[stop:]
        packet = packet_or_none(body, key)
        if packet is not None:
            assert write_packet(FORM, packet, key) == body
            assert key is None or body == original
