"""Encode two streams in turns with one codec, and go on from a copy of one of them.

    python two_streams.py FIRST.flac SECOND.flac

The inputs must be mono at 16 kHz. A codec holds weights only. All state is in the streams, so they
never mix, and a copy continues on its own.
"""

from __future__ import annotations

import sys

import numpy as np
import soundfile

import fcs_edge

PIECE = 1000
"""Samples that arrive at a time; any number gives the same tokens."""


def main(sources: list[str]) -> None:
    """Encode two files at once, then continue one of them in two directions."""
    codec = fcs_edge.load()
    signals = [soundfile.read(source, dtype="float32")[0] for source in sources]
    encoders = [codec.stream_encoder() for _ in signals]
    tokens: list[list[int]] = [[] for _ in signals]

    # A piece of the first signal, a piece of the second one, and so on.
    for start in range(0, max(signal.size for signal in signals), PIECE):
        for encoder, signal, received in zip(encoders, signals, tokens, strict=True):
            received.extend(encoder.push(signal[start : start + PIECE]))
    for encoder, received in zip(encoders, tokens, strict=True):
        received.extend(encoder.flush())
    for signal, received in zip(signals, tokens, strict=True):
        print("same tokens as alone:", np.array_equal(received, codec.encode(signal)))

    # One second of the first file, then either its second second or silence.
    first = signals[0]
    encoder = codec.stream_encoder()
    encoder.push(first[:16000])
    other = encoder.copy()
    spoken = np.append(encoder.push(first[16000:32000]), encoder.flush())
    silent = np.append(other.push(np.zeros(16000, np.float32)), other.flush())
    print(f"after the copy, {np.sum(spoken == silent)} of {spoken.size} tokens agree")


if __name__ == "__main__":
    main(sys.argv[1:])
