"""Print what a voice message takes over LoRa: packets, bytes and seconds, for each kind of model.

    python scripts/radio_table.py [SOUND] [--seconds S] [--model MODEL]

Raw tokens take the same for any sound. The last column is for the tokens of SOUND, entropy-coded
with the built-in model, or with MODEL; its first S seconds are used. Packets are those of
``fcs-edge encode --block-bytes`` and ``split``. The time on air is the formula of Semtech's SX1276
data sheet (revision 7, section 4.1.1.7): 125 kHz, coding rate 4/5, explicit header, CRC, eight
symbols of preamble, and low data rate optimisation from spreading factor 11 on.
"""

from __future__ import annotations

import argparse
import io
import math

import numpy as np
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream import BitstreamWriter, Header
from fcs_edge.bitstream.radio_packets import HEAD_BYTES, split_packets
from fcs_edge.tokens.fcs import header_of

BANDWIDTH = 125_000
PREAMBLE_SYMBOLS = 8
CODING_RATE = 1
SETTINGS = ((7, 222), (8, 222), (9, 115), (10, 51), (11, 51), (12, 51))
"""Spreading factors, and the most bytes of a packet in Europe's 868 MHz band (LoRaWAN)."""
RAW_BITS = (11, 12, 16)
TOKEN_RATE = 50


def seconds_on_air(n_bytes: int, spreading: int) -> float:
    """Return the time on air of a packet, in seconds."""
    symbol = 2**spreading / BANDWIDTH
    low_rate = spreading >= 11
    bits = 8 * n_bytes - 4 * spreading + 28 + 16
    blocks = math.ceil(bits / (4 * (spreading - 2 * low_rate)))
    payload = 8 + max(blocks * (CODING_RATE + 4), 0)
    return float((PREAMBLE_SYMBOLS + 4.25 + payload) * symbol)


def packets_of(
    tokens: NDArray[np.uint16], packet_bytes: int, header: Header, codec: fcs_edge.Codec | None
) -> list[bytes]:
    """Return the packets of tokens; raw without a codec."""
    file = io.BytesIO()
    prior = None if codec is None else codec.prior
    writer = BitstreamWriter(
        file,
        header,
        raw=codec is None,
        coder=None if prior is None else prior.coder(),
        block_bytes=packet_bytes - HEAD_BYTES,
    )
    writer.write(tokens)
    writer.close(tokens.size * header.samples_per_token)
    file.seek(0)
    return list(split_packets(file, packet_bytes))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sound", nargs="?", metavar="SOUND")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    n_tokens = round(arguments.seconds * TOKEN_RATE)
    rows: list[tuple[str, NDArray[np.uint16], Header, fcs_edge.Codec | None]] = []
    for bits in RAW_BITS:
        tokens = np.random.default_rng(0).integers(0, 1 << bits, n_tokens).astype(np.uint16)
        header = Header(bits, 16000 // TOKEN_RATE, 16000, 24000, bytes(8))
        rows.append((f"{bits} bits, raw", tokens, header, None))
    if arguments.sound:
        codec = fcs_edge.load(arguments.model)
        tokens = fcs_edge.encode_file(arguments.sound, codec=codec).tokens[:n_tokens]
        if tokens.size < n_tokens:
            parser.error(f"{arguments.sound} is shorter than {arguments.seconds:g} s")
        rows.append((f"{codec.bits_per_token} bits, coded", tokens, header_of(codec), codec))
    print("| spreading factor | packet, bytes |", " | ".join(name for name, *_ in rows), "|")
    print("|---|---|" + "---|" * len(rows))
    for spreading, packet_bytes in SETTINGS:
        cells = [str(spreading), str(packet_bytes)]
        for _, tokens, header, coder in rows:
            packets = packets_of(tokens, packet_bytes, header, coder)
            air = sum(seconds_on_air(len(packet), spreading) for packet in packets)
            n_bytes = sum(map(len, packets))
            cells.append(f"{len(packets)}, {n_bytes} bytes, {air:.1f} s")
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
