"""Measure a link: bytes on the wire, what coding saves and takes, what random losses cost.

    python scripts/measure_link.py [SOUND...] [--model MODEL]

The tables are those of docs/reference/link-protocol.md. Sizes follow from the format alone. With
SOUND, the model's prior codes their tokens; each packet is coded alone, and its mean size is
reported.
Losses are random, and packets come 0 to 40 ms late. A sender, a reader and a jitter buffer of the
default length process them, in simulated time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

import fcs_edge
from fcs_edge.codec import Codec
from fcs_edge.entropy import TokenCoder
from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.packets import Packet, PacketFormat, write_packet
from fcs_edge.link.payload import coded_if_shorter
from fcs_edge.link.rates import Framing
from fcs_edge.link.reader import PacketReader
from fcs_edge.link.seal import LinkKey
from fcs_edge.tokens.fcs import newest_coder

CHUNK, CHUNK_TOKENS = 0.08, 4
LENGTHS = (80, 160, 240, 320, 480, 960)
BITS = (11, 12, 16)
LOSSES = (0.05, 0.1, 0.2)
LATE_SECONDS = 0.04
_KEY = bytes(32)


def framings(bits: int, milliseconds: int, redundant: bool, coded: bool) -> list[Framing]:
    """Return an open and a sealed link of the published models' chunks."""
    form, chunks = PacketFormat(bytes(8), bits, CHUNK_TOKENS), milliseconds // 80
    links = (False, True)
    return [Framing(form, CHUNK, chunks, sealed, coded, redundant) for sealed in links]


def wire_row(bits: int, milliseconds: int, body: float | None = None) -> str:
    """Return a row of the table of rates; ``body`` is the mean size of coded tokens."""
    cells = [f"{bits}{'' if body is None else ', coded'}", f"{milliseconds} ms"]
    for link in framings(bits, milliseconds, False, body is not None):
        raw = PacketFormat.packet_size(link.form, link.chunks, sealed=link.sealed)
        size = raw if body is None else raw - 2 * CHUNK_TOKENS * link.chunks + body
        rate = link.wire_rate(size=size)
        text = f"{size}" if body is None else f"{size:.1f}"
        cells += [text, f"{rate:.1f}", f"{8e-3 * rate:.2f}"]
    return f"| {' | '.join(cells)} |"


def redundant_row(milliseconds: int) -> str:
    """Return a row of the table of sealed links that carry each packet twice."""
    cells = [f"{milliseconds} ms"]
    for bits in BITS:
        rates = [
            framings(bits, milliseconds, again, False)[1].wire_rate() for again in (False, True)
        ]
        cells += [f"{rates[0]:.1f}", f"{rates[1]:.1f}"]
    return f"| {' | '.join(cells)} |"


def stream(chunks: int, redundant: bool, n: int, key: LinkKey) -> Iterator[bytes]:
    """Return the packets of a stream whose tokens are the chunk's sequence."""
    form = PacketFormat(bytes(8), 16, CHUNK_TOKENS)
    for first in range(0, n * chunks, chunks):
        before = min(first, chunks) if redundant else None
        numbers = np.arange(first - (before or 0), first + chunks) & 0xFFFF
        tokens = np.repeat(numbers, CHUNK_TOKENS).astype(np.uint16)
        yield write_packet(form, Packet(1, first, tokens, before=before), key.outgoing)


def lost_share(chunks: int, redundant: bool, loss: float, n: int, seed: int = 0) -> float:
    """Return the share of chunks that are not played, of n packets of which some are lost."""
    ours, theirs = LinkKey(_KEY, "a"), LinkKey(_KEY, "b")
    reader = PacketReader(PacketFormat(bytes(8), 16, CHUNK_TOKENS), CHUNK, theirs)
    buffer = JitterBuffer(CHUNK_TOKENS, CHUNK, authenticated=True)
    random, step = np.random.default_rng(seed), chunks * CHUNK
    coming = [
        ((i + 1) * step + LATE_SECONDS * random.random(), data)
        for i, data in enumerate(stream(chunks, redundant, n, ours))
        if random.random() >= loss
    ]
    now, at = 0.001, 0
    while at < len(coming) or buffer.level:
        while at < len(coming) and coming[at][0] <= now:
            packet = reader.read(coming[at][1], now, buffer.stream)
            assert isinstance(packet, Packet)
            buffer.put(packet, coming[at][0])
            at += 1
        buffer.take(now)
        now += CHUNK
    return 1 - buffer.counts.played / (n * chunks)


def loss_rows(n: int) -> Iterator[str]:
    """Return the rows of the table of losses, of n packets each."""
    for milliseconds in (80, 240, 960):
        for redundant in (False, True):
            shares = [lost_share(milliseconds // 80, redundant, loss, n) for loss in LOSSES]
            cells = [f"{milliseconds} ms", "yes" if redundant else "no"]
            yield f"| {' | '.join(cells + [f'{100 * share:.1f} %' for share in shares])} |"


def tokens_of(codec: Codec, path: Path) -> np.ndarray:
    """Return the tokens of a sound file."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return codec.encode(soxr.resample(sound.mean(axis=1), rate, codec.sample_rate_in))


def body_sizes(coder: TokenCoder, tokens: np.ndarray, count: int, bits: int) -> list[int]:
    """Return the bytes of each packet of so many tokens, coded alone."""
    parts = [tokens[i : i + count] for i in range(0, tokens.size - count + 1, count)]
    bodies = [coded_if_shorter(part, bits, coder) for part in parts]
    raw = -(-count * bits // 8)
    return [raw if isinstance(body, np.ndarray) else len(body.data) for body in bodies]


def median_us(call: Callable[[], object], times: int = 2000) -> float:
    """Return the median time of a call in microseconds."""
    taken = np.zeros(times)
    for i in range(times):
        start = time.perf_counter()
        call()
        taken[i] = time.perf_counter() - start
    return float(1e6 * np.median(taken))


def report_coding(codec: Codec, paths: list[Path]) -> None:
    """Print mean sizes of coded packets, and the time of coding."""
    coder, bits = newest_coder(codec), codec.bits_per_token
    print(f"\n{codec.name}, prior {coder.check:08x}: mean bytes of coded tokens, and bits a token")
    clips = [tokens_of(codec, path) for path in paths]
    for milliseconds in LENGTHS:
        count = milliseconds // 80 * CHUNK_TOKENS
        for times in (1, 2):
            sizes = [s for clip in clips for s in body_sizes(coder, clip, times * count, bits)]
            mean = float(np.mean(sizes))
            each, kind = 8 * mean / times / count, "with the packet before" if times == 2 else ""
            print(f"{milliseconds} ms: {mean:.2f} bytes, {each:.2f} bits {kind}")
        sizes = [s for clip in clips for s in body_sizes(coder, clip, count, bits)]
        print(wire_row(bits, milliseconds, float(np.mean(sizes))))
    form, key = PacketFormat.of(codec), LinkKey(_KEY, "a").outgoing
    for chunks in (1, 3, 12):
        tokens = clips[0][: chunks * CHUNK_TOKENS]
        coded = coder.encode(tokens)
        plain = median_us(lambda: write_packet(form, Packet(1, 0, tokens), key))  # noqa: B023
        encode = median_us(lambda: coder.encode(tokens))  # noqa: B023
        decode = median_us(lambda: coder.decode(coded, tokens.size))  # noqa: B023
        print(
            f"{chunks} chunks: {encode / chunks:.1f} us a chunk to code, {decode / chunks:.1f} to "
            f"decode; {plain / chunks:.1f} to pack and seal as they are"
        )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", nargs="*", type=Path, metavar="SOUND")
    parser.add_argument("--model", help="a model's name or file")
    parser.add_argument("--packets", type=int, default=20_000, help="of each simulated link")
    options = parser.parse_args()
    for bits in BITS:
        print(*(wire_row(bits, length) for length in LENGTHS), sep="\n")
    print("\nsealed, bytes/s without and with redundancy at 11, 12, 16 bits")
    print(*(redundant_row(length) for length in LENGTHS), sep="\n")
    print("\nchunks lost at 5, 10, 20 % of the packets, without and with redundancy")
    for row in loss_rows(options.packets):
        print(row)
    if options.sounds:
        report_coding(fcs_edge.load(options.model), options.sounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
