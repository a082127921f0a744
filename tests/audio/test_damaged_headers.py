"""Headers with wrong bytes: a description that fits the file, or one exception."""

from __future__ import annotations

import io
import os
import random

import pytest

from audio_cases import container, noise
from fcs_edge.audio.byte_source import ByteSource
from fcs_edge.audio.header import DamagedHeader, SoundHeader, read_header

CASES = int(os.environ.get("FCS_EDGE_FUZZ", 4000))
FILES = [
    container(format, subtype, noise(20, channels))
    for format, subtype in (
        *(("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "FLOAT"), ("W64", "DOUBLE")),
        *(("AIFF", "PCM_16"), ("AIFF", "ULAW"), ("AU", "PCM_32"), ("CAF", "PCM_24")),
    )
    for channels in (1, 3)
]
SIZES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80"]


def damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(max(min(len(out), 160), 1))
        match rng.randrange(5):
            case 0:
                out[at : at + 1] = rng.randbytes(1)
            case 1:
                out[at : at + 4] = rng.choice(SIZES)
            case 2:
                del out[at : at + rng.randrange(1, 9)]
            case 3:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4 if rng.random() < 0.3:
                del out[at + 1 :]
    return bytes(out)


@pytest.mark.parametrize("seekable", [True, False])
def test_any_damage_gives_a_header_or_one_exception(seekable: bool) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    n_read = 0
    for _ in range(CASES):
        data = damaged(rng.choice(FILES), rng)
        source = ByteSource(io.BytesIO(data), len(data) if seekable else None)
        try:
            header = read_header(source)
        except DamagedHeader:
            continue
        if header is None:
            assert source.position == 0
            continue
        check(header, source, len(data))
        n_read += 1
    assert n_read > CASES / 10


def check(header: SoundHeader, source: ByteSource, size: int) -> None:
    assert 0 < header.start == source.position <= size
    assert header.rate > 0
    assert 1 <= header.channels <= 1024
    assert 1 <= header.frame_bytes <= 8 * 1024
    assert header.is_open or header.stated >= 0
    assert header.seconds(size) >= 0
