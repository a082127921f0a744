"""Encode a sound file to tokens, and decode the tokens to sound.

    python file_to_tokens.py SPEECH.wav

The program writes two files to the current folder. SPEECH.npy holds the tokens, (n_tokens,)
uint16. SPEECH.decoded.wav holds the sound that they stand for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

import fcs_edge


def main(source: Path) -> None:
    """Encode and decode one file."""
    codec = fcs_edge.load()

    # The codec takes mono float32 at its own rate: the mean of the channels, resampled.
    signal = fcs_edge.read_audio(source, rate=codec.sample_rate_in)

    tokens = codec.encode(signal)
    np.save(f"{source.stem}.npy", tokens)

    # The last token may stand for more than is left, so cut the output to the input's length.
    decoded = codec.decode(tokens)[: codec.output_length(signal.size)]
    soundfile.write(f"{source.stem}.decoded.wav", decoded, codec.sample_rate_out)

    seconds = signal.size / codec.sample_rate_in
    print(f"{seconds:.2f} s: {tokens.size} tokens of {codec.bits_per_token} bits")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
