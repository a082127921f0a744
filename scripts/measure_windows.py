"""Measure how far overlapping windows agree with a whole signal, in tokens and bits.

    python scripts/measure_windows.py MODEL.safetensors SOUND...

The sounds are joined, up to --seconds of them, and encoded at once, and then in windows of each
length. The model is one that needs the whole signal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import fcs_edge
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32, U16


def agreement(tokens: U16, others: U16, bits: int) -> tuple[float, float]:
    """Return the shares of tokens and of bits that are equal."""
    differing = tokens ^ others
    wrong = int(np.unpackbits(differing.view(np.uint8)).sum())
    return float((differing == 0).mean()), 1 - wrong / (bits * tokens.size)


def joined(paths: Sequence[str], rate: int, seconds: float) -> F32:
    """Return the sounds one after the other, up to so many seconds."""
    parts: list[F32] = []
    for path in paths:
        parts.append(fcs_edge.read_audio(path, rate=rate))
        if sum(part.size for part in parts) >= seconds * rate:
            break
    return np.concatenate(parts)[: round(seconds * rate)]


def report(codec: Codec, signal: F32, windows: Sequence[float], overlaps: Sequence[float]) -> None:
    """Print the agreement of each window and overlap, as a row of a table."""
    whole = codec.encode(signal, exact=True)
    print(f"{codec.name}, {codec.model.scheme}: {signal.size / codec.sample_rate_in:.1f} s")
    print("| window | overlap | equal tokens | equal bits |\n|---|---|---|---|", flush=True)
    for window in windows:
        for overlap in overlaps:
            found = codec.encode(signal, window=window, overlap=overlap)
            tokens, bits = agreement(whole, found, codec.bits_per_token)
            print(f"| {window:g} s | {overlap:g} s | {tokens:.1%} | {bits:.2%} |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("sounds", nargs="+")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--windows", type=float, nargs="+", default=[10, 30, 60])
    parser.add_argument("--overlaps", type=float, nargs="+", default=[4])
    options = parser.parse_args()
    codec = fcs_edge.load(options.model)
    if codec.encodes_streams:
        sys.exit(f"{codec.name} encodes streams: it has no windows")
    signal = joined(options.sounds, codec.sample_rate_in, options.seconds)
    report(codec, signal, options.windows, options.overlaps)


if __name__ == "__main__":
    main()
