"""Call the stages of the codec one by one, and print what each returns.

    python stage_by_stage.py SPEECH.flac

The input must be mono at 16 kHz.
"""

from __future__ import annotations

import sys

import numpy as np
import soundfile

import fcs_edge


def main(source: str) -> None:
    """Run the five stages on one file."""
    codec = fcs_edge.load()
    signal, rate = soundfile.read(source, dtype="float32")
    assert rate == codec.sample_rate_in
    assert signal.ndim == 1

    features = codec.features(signal)  # encoder: 50 rows a second
    latents = codec.latents(features)  # compressor: one point on the unit sphere per token
    tokens = codec.quantize(latents)  # quantizer: the sign of each number is one bit
    codes = codec.codes(tokens)  # back to points: +1 or -1, scaled to unit length
    restored = codec.decompress(codes)  # decompressor: features again
    decoded = codec.synthesize(restored)  # decoder: samples at codec.sample_rate_out

    arrays = {
        "signal": signal,
        "features": features,
        "latents": latents,
        "tokens": tokens,
        "codes": codes,
        "restored": restored,
        "decoded": decoded,
    }
    for name, array in arrays.items():
        print(f"{name:9} {array.shape!s:14} {array.dtype}")

    # The stages together are `decode`, to the bit.
    print("decode gives the same samples:", np.array_equal(decoded, codec.decode(tokens)))

    # The built-in model searches codes near the latents, so `encode` may choose other bits.
    changed = np.bitwise_xor(codec.encode(signal), tokens)
    bits = np.unpackbits(changed.view(np.uint8)).sum() / (tokens.size * codec.bits_per_token)
    print(f"the code search changes {100 * bits:.1f} % of the bits")


if __name__ == "__main__":
    main(sys.argv[1])
