"""What decode makes of damaged bitstreams: exit codes, lengths, silence and messages."""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.cli.bitstream_facts import Record, RecordList
from fcs_edge.tokens.fcs import fcs_writer, header_of
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.settings import Settings

N_TOKENS = 150
HOP, RATE = 480, 24000


def tokens_of(codec: fcs_edge.Codec, n: int = N_TOKENS) -> NDArray[np.uint16]:
    highest = 1 << codec.bits_per_token
    return np.random.default_rng(5).integers(1, highest, n, dtype=np.uint16)


def stream(
    codec: fcs_edge.Codec,
    n: int = N_TOKENS,
    n_samples: int = 0,
    rules: Settings | None = None,
    **options: object,
) -> bytes:
    """Return a bitstream of random tokens, in blocks of 50."""
    file = io.BytesIO()
    settings = FcsOptions(**{"block_seconds": 1.0, **options})
    writer = fcs_writer(file, codec, settings, rules)
    writer.write(tokens_of(codec, n))
    writer.close(n_samples or n * codec.samples_per_token)
    return file.getvalue()


def rows(data: bytes) -> list[Record]:
    return list(RecordList(io.BytesIO(data), "a test"))


def without(data: bytes, number: int, last: int | None = None) -> bytes:
    """Return a bitstream without some of its records."""
    found = rows(data)
    end = found[number if last is None else last]
    return data[: found[number].offset] + data[end.offset + end.size :]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


def with_crc(data: bytes) -> bytes:
    return data + binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "little")


@pytest.fixture
def decode(golden: Callable, tmp_path: Path, run: Callable) -> Callable:
    """Decode bytes with the tiny model: exit code, number of samples or None, messages, sound."""

    def call(data: bytes, *options: str) -> tuple[int, int | None, str, NDArray[np.float32]]:
        (tmp_path / "in.fcs").write_bytes(data)
        out = tmp_path / "out.wav"
        out.unlink(missing_ok=True)
        done = run(
            "decode", "-q", "--model", golden("tiny").model, *options, tmp_path / "in.fcs", out
        )
        if not out.exists():
            return done.code, None, done.err, np.zeros(0, np.float32)
        sound, rate = soundfile.read(out, dtype="float32")
        assert rate == RATE
        return done.code, sound.size, done.err, sound

    return call


def test_records_of_an_intact_bitstream(tiny: fcs_edge.Codec) -> None:
    data = stream(tiny)
    found = rows(data)
    assert [record.kind for record in found] == ["header", "block", "block", "block", "end"]
    assert [record.position for record in found[1:4]] == [0, 50, 100]
    assert sum(record.size for record in found) == len(data)
    assert all(record.intact for record in found)


def test_an_intact_bitstream(tiny: fcs_edge.Codec, decode: Callable) -> None:
    code, size, err, sound = decode(stream(tiny))
    assert (code, size, err) == (0, N_TOKENS * HOP, "")
    expected = tiny.decode(tokens_of(tiny))
    assert np.abs(sound - expected).max() <= 1.01 / 32768


@pytest.mark.parametrize("raw", [False, True])
def test_one_flipped_bit_costs_at_most_a_block(
    raw: bool, tiny: fcs_edge.Codec, decode: Callable
) -> None:
    """Bits of each kind of record; the header is mended or assumed, the end's length is lost."""
    data = stream(tiny, raw=raw)
    blocks = [record for record in rows(data) if record.kind == "block"]
    for bit in range(3, 8 * len(data), len(data) * 8 // 25):
        code, size, err, sound = decode(flipped(data, bit))
        assert (code, size) == (1, N_TOKENS * HOP), (bit, err)
        assert "warning" in err
        silent = np.flatnonzero(np.abs(sound) < 1 / 32768)
        for number, record in enumerate(blocks):
            hit = record.offset <= bit // 8 < record.offset + record.size
            part = sound[number * 50 * HOP : (number + 1) * 50 * HOP]
            assert (not part.any()) == hit, bit
        assert silent.size < 60 * HOP


def test_a_cut_bitstream_plays_what_is_there(tiny: fcs_edge.Codec, decode: Callable) -> None:
    data = stream(tiny)
    ends = [record.offset + record.size for record in rows(data)]
    for size in range(1, len(data), len(data) // 20):
        whole = sum(end <= size for end in ends[1:4])
        code, n, err, _ = decode(data[:size])
        assert code == 1, err
        if whole == 0:
            assert n is None, size
        else:
            assert n is not None, size
            assert whole * 50 * HOP <= n <= N_TOKENS * HOP, size


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_block_that_is_cut_out_becomes_silence(
    number: int, tiny: fcs_edge.Codec, decode: Callable
) -> None:
    code, size, err, sound = decode(without(stream(tiny), number))
    assert (code, size) == (1, N_TOKENS * HOP)
    assert "1.00 s of it are silence" in err
    for block in range(3):
        part = sound[block * 50 * HOP : (block + 1) * 50 * HOP]
        assert part.any() == (block != number - 1)


def test_a_lost_header(tiny: fcs_edge.Codec, decode: Callable) -> None:
    code, size, err, sound = decode(without(stream(tiny), 0))
    assert (code, size) == (1, N_TOKENS * HOP)
    assert "its start is missing; decoded as tokens of tiny" in err
    assert np.abs(sound - tiny.decode(tokens_of(tiny))).max() <= 1.01 / 32768


def test_a_lost_end_record(tiny: fcs_edge.Codec, decode: Callable) -> None:
    code, size, err, _ = decode(without(stream(tiny, n_samples=47900), 4))
    assert (code, size) == (1, N_TOKENS * HOP)
    assert "end record" in err


def test_nothing_intact_writes_nothing(tiny: fcs_edge.Codec, decode: Callable) -> None:
    data = without(stream(tiny), 1, 3)
    code, size, err, _ = decode(data)
    assert (code, size) == (1, None)
    assert "none of its tokens is intact" in err
    assert decode(b"\xa0" * 40)[:2] == (1, None)
    assert decode(b"")[:2] == (1, None)


def test_strict_writes_nothing_of_any_of_these(tiny: fcs_edge.Codec, decode: Callable) -> None:
    data = stream(tiny)
    cases = [without(data, 0), without(data, 2), without(data, 4), flipped(data, 400), data[:-20]]
    cases += [stream(tiny, n_samples=30000)]
    for case in cases:
        code, size, err, _ = decode(case, "--strict")
        assert (code, size) == (1, None)
        assert err.count("\n") == 1


def test_a_chained_bitstream_plays_all_parts(tiny: fcs_edge.Codec, decode: Callable) -> None:
    """Each part ends where its own sound ends, and begins without memory of the one before."""
    one, two = stream(tiny, n_samples=47777), stream(tiny, 19, 6001)
    code, size, err, sound = decode(one + two)
    assert (code, err) == (0, "")
    first, second = tiny.output_length(47777), tiny.output_length(6001)
    assert size == first + second
    expected = [tiny.decode(tokens_of(tiny))[:first], tiny.decode(tokens_of(tiny, 19))[:second]]
    assert np.abs(sound - np.concatenate(expected)).max() <= 1.01 / 32768


def test_a_part_of_another_model_is_left_out(tiny: fcs_edge.Codec, decode: Callable) -> None:
    file = io.BytesIO()
    writer = BitstreamWriter(file, replace(header_of(tiny), fingerprint=b"another!"))
    writer.close(320, np.ones(1, np.uint16))
    other, own = file.getvalue(), stream(tiny, 20)
    code, size, err, _ = decode(own + other + own)
    assert (code, size) == (1, 2 * 20 * HOP)
    assert "part 2 is left out: encoded with another model (616e6f7468657221)" in err
    code, size, err, _ = decode(other + own)
    assert (code, size) == (1, None)
    assert "another model" in err
    assert decode(own + other, "--any-model")[:2] == (0, 21 * HOP)


def test_a_bitstream_of_version_1_is_refused_in_one_line(decode: Callable) -> None:
    code, size, err, _ = decode(b"FCS\x1a\x01" + bytes(60))
    assert (code, size) == (1, None)
    assert err.count("\n") == 1
    assert "version 1 was never released: encode the sound again" in err


def test_a_later_version_is_refused_in_one_line(tiny: fcs_edge.Codec, decode: Callable) -> None:
    header = stream(tiny)[: rows(stream(tiny))[0].size - 2]
    later = with_crc(header[:4] + b"\x03" + header[5:])
    code, size, err, _ = decode(later + bytes(60))
    assert (code, size) == (1, None)
    assert "update fcs-edge" in err


def test_unknown_records(tiny: fcs_edge.Codec, decode: Callable) -> None:
    """An odd type is skipped. An even one ends what this release can read."""
    data = stream(tiny)
    at = rows(data)[2].offset
    odd, even = (with_crc(bytes([tag, 3, 0]) + b"new") for tag in (0xC3, 0xC4))
    code, size, err, _ = decode(data[:at] + odd + data[at:])
    assert (code, size, err) == (0, N_TOKENS * HOP, "")
    code, size, err, _ = decode(data[:at] + even + data[at:])
    assert (code, size) == (1, 50 * HOP)
    assert "newer" in err


def test_metadata_never_breaks_decoding(tiny: fcs_edge.Codec, decode: Callable) -> None:
    data = stream(tiny)
    at = rows(data)[1].offset
    for body in (b"", b"=", b"title", b"\0\0", b"title=\xff\xfe", b"TITLE=a", b"a=" + b"\x1b" * 90):
        record = with_crc(b"\xc1" + len(body).to_bytes(2, "little") + body)
        code, size, err, _ = decode(data[:at] + record + data[at:])
        assert (code, size, err) == (0, N_TOKENS * HOP, ""), body


def test_tokens_beyond_the_sound_are_reported(tiny: fcs_edge.Codec, decode: Callable) -> None:
    """Filler of a stream is none. Where zeros filled the last chunk, its tokens are none either."""
    code, size, err, _ = decode(stream(tiny, n_samples=40000))
    assert (code, size) == (1, tiny.output_length(40000))
    assert "25 tokens more than its 40000 samples need" in err
    code, size, err, _ = decode(stream(tiny, n_samples=9600))
    assert (code, size) == (1, 100 * HOP)
    assert "120 tokens more than its 9600 samples need" in err
    code, size, err, _ = decode(stream(tiny, 152, 149 * 320))
    assert (code, size) == (1, 149 * HOP)
    assert "3 tokens more than its 47680 samples need" in err
    code, size, _, sound = decode(stream(tiny, 152, 149 * 320, rules={"token_rules": 1}))
    assert (code, size) == (0, 149 * HOP)
    whole = tiny.decode(tokens_of(tiny, 152))
    assert np.abs(sound - whole[: 149 * HOP]).max() <= 1.01 / 32768
    assert decode(stream(tiny, 150, eager=True))[:3] == (0, 150 * HOP, "")


def test_salvage_plays_raw_tokens_whose_check_fails(tiny: fcs_edge.Codec, decode: Callable) -> None:
    data = stream(tiny, raw=True)
    block = rows(data)[2]
    damaged = flipped(data, 8 * (block.offset + 3) + 5 * 11 + 2)
    code, size, err, sound = decode(damaged, "--salvage")
    assert (code, size) == (1, N_TOKENS * HOP)
    assert "none of it is silence" in err
    expected = tiny.decode(tokens_of(tiny))
    before = (50 + 4) // 4 * 4 * HOP
    assert np.abs(sound - expected)[:before].max() <= 1.01 / 32768
    assert np.abs(sound).min() < 1
    assert sound[50 * HOP : 100 * HOP].any()
    _, _, _, silent = decode(damaged)
    assert not silent[50 * HOP : 100 * HOP].any()


def test_settings_that_differ_are_named(
    golden: Callable, tiny: fcs_edge.Codec, tmp_path: Path, run: Callable
) -> None:
    file = io.BytesIO()
    settings = {"weights": "int4", "activation_bits": 32, "token_rules": 1}
    fcs_writer(file, tiny, settings=settings).close(320, np.ones(1, np.uint16))
    (tmp_path / "a.fcs").write_bytes(file.getvalue())
    done = run("decode", "--model", golden("tiny").model, tmp_path / "a.fcs", tmp_path / "a.wav")
    assert done.code == 0
    other = "weights int4 (here f32), token_rules 1 (here 2)"
    assert f"encoded with other settings: {other}" in done.err
