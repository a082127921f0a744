"""What packets hold beside plain tokens: coded ones, pauses, the packet before."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcs_edge.link.packets import (
    HEADER_BYTES,
    MAX_CHUNKS,
    MAX_PACKET,
    Packet,
    PacketFormat,
    Silence,
    read_packet,
    write_packet,
)
from fcs_edge.link.payload import CodedTokens, coded_if_shorter
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.reasons import PacketError, Reason
from fcs_edge.link.seal import DirectionKey, LinkKey, seal
from packet_coders import TailCoder

FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)
FORM = PacketFormat(bytes.fromhex("0123456789abcdef"), 11, 4)
SECRET = bytes(range(32))
KEY = DirectionKey(SECRET, 0)
CHECK = 0x89ABCDEF
CODER, OLDER = TailCoder(CHECK, 0x7FF), TailCoder(7, 0x7FF)
CODERS = {CHECK: CODER, 7: OLDER, 0: TailCoder(0, 0x7FF)}
SEAL = pytest.mark.parametrize("key", [None, KEY], ids=["open", "sealed"])
TOKENS = np.array([1, 2047, 1024, 5, 9, 0, 0, 0], np.uint16)


def coded(tokens=TOKENS, coder=CODER):
    body = coded_if_shorter(tokens, FORM.bits, coder)
    assert isinstance(body, CodedTokens)
    return body


def reason(data, key=None, coders=CODERS, check=CHECK, form=FORM) -> Reason:
    with pytest.raises(PacketError) as caught:
        read_packet(form, data, key, coders, check)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def written(form, packet, key=None):
    """Write a packet, and check that it reads as it was."""
    data = write_packet(form, packet, key)
    back = read_packet(form, data, key, CODERS, CHECK)
    assert write_packet(form, back, key) == data
    if isinstance(packet, Silence):
        assert back == packet
    else:
        assert np.array_equal(back.decoded(), packet.decoded())
        assert (back.stream, back.sequence) == (packet.stream, packet.sequence)
        assert (back.identified, back.before) == (packet.identified, packet.before)
    return data


class TestCoded:
    def test_open(self):
        data = written(FORM, Packet(5, 7, coded()))
        assert data[1] == 0x12
        assert data[HEADER_BYTES:] == TOKENS.astype(">u2").tobytes()[:10]

    def test_open_and_identified(self):
        """The prior's check stands behind the fingerprint."""
        data = written(FORM, Packet(5, 7, coded(), identified=True))
        assert data[1] == 0x52
        assert data[16:28] == FORM.fingerprint + CHECK.to_bytes(4, "big")
        assert data[28:] == TOKENS.astype(">u2").tobytes()[:10]

    @pytest.mark.parametrize("check", [CHECK, 0])
    def test_sealed(self, check):
        """The check takes part in the key: the construction written out."""
        from nacl.bindings import crypto_aead_chacha20poly1305_ietf_encrypt as encrypt

        body = coded(coder=CODERS[check])
        data = write_packet(FORM, Packet(5, 7, body), KEY)
        header = bytes.fromhex("f292 00000007 00000000000000000005")
        key = hashlib.blake2b(
            b"\0" + header[6:] + FORM.fingerprint + check.to_bytes(4, "big"),
            key=SECRET,
            digest_size=32,
            person=b"fcs-edge-link-v2",
        ).digest()
        assert data == header + encrypt(body.data, header, bytes(11) + b"\7", key)
        back = read_packet(FORM, data, KEY, CODERS)
        assert back.tokens.coder is CODERS[check]
        assert np.array_equal(back.decoded(), TOKENS)

    def test_not_shorter_goes_as_it_is(self):
        full = np.full(4, 2047, np.uint16)
        assert coded_if_shorter(full, 11, CODER) is full
        assert coded_if_shorter(full, 11, None) is full
        # A coder may need no byte at all; a packet has one.
        assert coded(np.zeros(4, np.uint16)).data == b"\0"
        assert not coded(np.zeros(4, np.uint16)).decoded().any()

    @SEAL
    def test_as_long_as_others_is_refused(self, key):
        with pytest.raises(ValueError, match="11 coded bytes for 8 tokens are too many"):
            write_packet(FORM, Packet(5, 7, CodedTokens(CODER, bytes(11), 8)), key)
        data = write_packet(FORM, Packet(5, 7, coded()), key)
        longer = data[:16] + coded().data + bytes(1)
        if key is not None:
            stream_key = key.of_stream(data[6:16], FORM.fingerprint, CHECK)
            longer = data[:16] + seal(longer[16:], data[:16], 7, stream_key)
        assert reason(longer, key) == "size"

    def test_decoding_waits(self):
        coder = TailCoder(CHECK)
        data = write_packet(FORM, Packet(5, 7, coded()))
        packet = read_packet(FORM, data, None, {CHECK: coder}, CHECK)
        assert coder.n_decoded == 0
        packet.decoded()
        assert coder.n_decoded == 1

    def test_unknown_prior(self):
        named = write_packet(FORM, Packet(5, 7, coded(), identified=True))
        assert reason(named, coders={7: OLDER}, check=None) == "prior"
        assert reason(named[:27], coders=CODERS) == "prior"
        plain = write_packet(FORM, Packet(5, 7, coded()))
        assert reason(plain, check=None) == "unidentified"
        sealed = write_packet(FORM, Packet(5, 7, coded()), KEY)
        for coders, check in (({}, None), ({7: OLDER}, None), (CODERS, 7)):
            assert reason(sealed, KEY, coders, check) == "authentication"

    def test_the_content_is_authenticated(self):
        data = write_packet(FORM, Packet(5, 7, coded()), KEY)
        for flags in (0x82, 0xA2, 0xB2):
            assert reason(data[:1] + bytes([flags]) + data[2:], KEY) == "authentication"


class TestSilence:
    @SEAL
    @pytest.mark.parametrize("bits", [1, 8, 9, 16])
    @pytest.mark.parametrize("before", [0, 1, 0xFFFF])
    def test_round_trip(self, key, bits, before):
        form = PacketFormat(FORM.fingerprint, bits, 4)
        silence = Silence(5, 70_000, (1 << bits) - 1, before, identified=key is None)
        data = written(form, silence, key)
        assert data[1] == (0x61 if key is None else 0xA1)
        assert len(data) == 16 + (8 if key is None else 16) + (3 if bits <= 8 else 4)

    def test_known(self):
        data = write_packet(FORM, Silence(5, 300, 0x123, 2))
        assert data.hex(" ", -2) == "f221 0000 012c 0000 0000 0000 0000 0005 0123 0002"

    def test_wrong(self):
        for token, before in ((2048, 0), (-1, 0), (0, 65536), (0, -1)):
            with pytest.raises(ValueError, match="out of range"):
                write_packet(FORM, Silence(5, 70_000, token, before))
        with pytest.raises(ValueError, match="out of range"):
            write_packet(FORM, Silence(5, 1, 0, 2))

    def test_rejected(self):
        data = write_packet(FORM, Silence(5, 300, 0x123, 2))
        assert reason(data + b"\0") == "size"
        assert reason(data[:-1]) == "size"
        assert reason(data[:16] + b"\x08\0\0\0") == "range"
        assert reason(data[:16] + b"\0\0\1\x2d") == "range"
        for chunks in (0, 2, 12, 13):
            assert reason(data[:1] + bytes([0x20 | chunks]) + data[2:]) == "range"


class TestRedundant:
    @SEAL
    @pytest.mark.parametrize("before", [0, 1, 12])
    @pytest.mark.parametrize("coder", [None, CODER], ids=["raw", "coded"])
    def test_round_trip(self, key, before, coder):
        for chunks in (1, 12):
            tokens = np.zeros((before + chunks) * 4, np.uint16)
            tokens[0] = 1000
            body = coded_if_shorter(tokens, 11, coder)
            data = written(FORM, Packet(5, 20, body, key is None, before), key)
            assert data[16] == before | (0 if coder is None else 0x10)
            if coder is None:
                size = FORM.packet_size(
                    chunks, sealed=key is not None, identified=key is None, before=before
                )
                assert len(data) == size

    def test_known(self):
        data = write_packet(FORM, Packet(5, 300, TOKENS, before=1))
        assert data[:17].hex() == "f2310000012c0000000000000000000501"
        assert len(data) == 17 + 11

    def test_the_byte_is_authenticated(self):
        """It stands ahead of what is sealed, as it tells which key opens that."""
        data = write_packet(FORM, Packet(5, 300, TOKENS, before=1), KEY)
        assert data[16] == 1
        for byte in (0, 2, 0x11, 0x21):
            assert reason(data[:16] + bytes([byte]) + data[17:], KEY) == "authentication"

    def test_wrong(self):
        with pytest.raises(ValueError, match="out of range"):
            write_packet(FORM, Packet(5, 0, TOKENS, before=1))
        for before in (2, -1):
            with pytest.raises(ValueError, match=r"takes 1\.\.12 chunks"):
                write_packet(FORM, Packet(5, 50, TOKENS, before=before))
        with pytest.raises(ValueError, match=r"takes 1\.\.12 chunks"):
            write_packet(FORM, Packet(5, 50, np.zeros(56, np.uint16), before=13))
        wide = PacketFormat(bytes(8), 16, 48)
        with pytest.raises(ValueError, match=f"too long: {MAX_PACKET} at most"):
            write_packet(wide, Packet(5, 50, np.zeros(24 * 48, np.uint16), before=12))

    def test_rejected(self):
        data = write_packet(FORM, Packet(5, 3, TOKENS, before=1))
        assert reason(data[:17]) == "size"
        assert reason(data[:16] + b"\2" + data[17:]) == "size"
        assert reason(data[:16] + b"\x0d" + data[17:]) == "range"
        assert reason(data[:16] + b"\4" + data[17:]) == "range"
        assert reason(data[:16] + b"\x20" + data[17:]) == "content"


class TestReader:
    """Which prior a stream is coded with: told once, or found out."""

    @staticmethod
    def reader(key=None, coders=CODERS):
        return PacketReader(FORM, 0.08, key, coders=coders)

    def test_open(self):
        reader, now = self.reader(), time.monotonic()
        packet = write_packet(FORM, Packet(5, 7, coded()))
        with pytest.raises(PacketError) as caught:
            reader.read(packet, now)
        assert caught.value.reason == "unidentified"
        # The model alone does not tell the prior.
        reader.read(write_packet(FORM, Packet(5, 8, TOKENS, identified=True)), now)
        with pytest.raises(PacketError):
            reader.read(packet, now)
        reader.read(write_packet(FORM, Packet(5, 9, coded(coder=OLDER), identified=True)), now)
        assert reader.read(packet, now).tokens.coder is OLDER
        # The stream that is played keeps its prior, whatever strangers name.
        reader.read(packet, now, current=5)
        for stream in range(6, 3000):
            other = Packet(stream, 9, coded(), identified=True)
            reader.read(write_packet(FORM, other), now, current=5)
        assert reader.read(packet, now, current=5).tokens.coder is OLDER
        with pytest.raises(PacketError):
            reader.read(write_packet(FORM, Packet(6, 7, coded())), now, current=5)

    def test_sealed(self):
        a, b = LinkKey(SECRET, "a"), LinkKey(SECRET, "b")
        reader, now = self.reader(b), time.monotonic()
        older = write_packet(FORM, Packet(5, 7, coded(coder=OLDER)), a.outgoing)
        assert reader.read(older, now).tokens.coder is OLDER
        assert reader.read(older, now, current=5).tokens.coder is OLDER
        for _ in range(3):
            data = write_packet(FORM, Packet(6, 7, coded()), a.outgoing)
            assert reader.read(data, now, current=5).tokens.coder is CODER
        # One prior a stream: the other one is not tried.
        other = write_packet(FORM, Packet(5, 8, coded()), a.outgoing)
        with pytest.raises(PacketError) as caught:
            reader.read(other, now, current=5)
        assert caught.value.reason == "authentication"
        # Tokens as they are, and pauses, need no prior.
        for plain in (Packet(5, 9, TOKENS), Silence(5, 10, 3)):
            reader.read(write_packet(FORM, plain, a.outgoing), now, current=5)

    def test_own_packets(self):
        a = LinkKey(SECRET, "a")
        for packet in (Packet(5, 7, coded()), Silence(5, 7, 1), Packet(5, 7, TOKENS, before=1)):
            with pytest.raises(PacketError) as caught:
                self.reader(a).read(write_packet(FORM, packet, a.outgoing), time.monotonic())
            assert caught.value.reason == "direction"


@SEAL
@FIXED
@given(data=st.data())
def test_any_bytes(key, data):
    """Behind a header of each content, sealed rightly: read as tokens, or one reason."""
    flags = data.draw(st.integers(0, 255)) & 0x7F | (0x80 if key else 0)
    stream = bytes(9) + b"\5"
    header = bytes([0xF2, flags, 0, 0, 0, data.draw(st.integers(0, 255))]) + stream
    if flags & 0x30 == 0x30:
        header += bytes([data.draw(st.integers(0, 0x2F))])
    payload = data.draw(st.binary(min_size=1, max_size=200))
    is_coded = flags & 0x30 == 0x10 or header[16:17] >= b"\x10"
    if key is None:
        name = FORM.fingerprint + (CHECK.to_bytes(4, "big") if is_coded else b"")
        body = header + (name if flags & 0x40 else b"") + payload
    else:
        stream_key = key.of_stream(stream, FORM.fingerprint, CHECK if is_coded else None)
        body = header + seal(payload, header, header[5], stream_key)
    try:
        packet = read_packet(FORM, body, key, CODERS, CHECK)
    except PacketError:
        return
    assert write_packet(FORM, packet, key) == body
    if isinstance(packet, Packet):
        tokens = packet.decoded()
        assert tokens.dtype == np.uint16
        assert 4 <= tokens.size <= 8 * MAX_CHUNKS
        assert tokens.max() < 1 << FORM.bits
