"""Pack the tokens of many sound files into one array for a language model, and turn one into sound.

    python tokens_for_a_language_model.py SPEECH.wav MORE.flac ...

The program writes corpus.npz with these arrays:

    tokens       (n,) int32: START, tokens of the first file, END, START, ... of all files
    offsets      (files + 1,) int64: file i is tokens[offsets[i] : offsets[i + 1]]
    n_samples    (files,) int64: length of each file, in input samples
    vocabulary   number of different tokens, START and END included
    fingerprint  the model that the tokens belong to, in hexadecimal

Then it reads the last file from the array, as if a model had generated it, and writes sample.wav.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import Codec


def pack(codec: Codec, sources: list[Path], path: Path) -> None:
    """Encode files and write their tokens, each file between START and END."""
    n_codes = 1 << codec.bits_per_token
    start, end = n_codes, n_codes + 1  # the two numbers behind the codec's own tokens
    parts, lengths = [], []
    for source in sources:
        signal = fcs_edge.read_audio(source, rate=codec.sample_rate_in)
        parts.append(np.array([start, *codec.encode(signal), end], np.int32))
        lengths.append(signal.size)
    np.savez(
        path,
        tokens=np.concatenate(parts),
        offsets=np.cumsum([0, *(part.size for part in parts)]),
        n_samples=np.array(lengths),
        vocabulary=np.array(n_codes + 2),
        fingerprint=np.array(codec.fingerprint.hex()),
    )


def to_sound(codec: Codec, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Decode a model's output: special tokens are left out, the rest becomes sound."""
    return codec.decode(tokens[tokens < 1 << codec.bits_per_token])


def main(sources: list[Path]) -> None:
    """Write corpus.npz and sample.wav."""
    codec = fcs_edge.load()
    pack(codec, sources, Path("corpus.npz"))

    with np.load("corpus.npz") as corpus:
        # Tokens of another model would decode to noise.
        assert str(corpus["fingerprint"]) == codec.fingerprint.hex()
        offsets = corpus["offsets"]
        last = corpus["tokens"][offsets[-2] : offsets[-1]]
        n_samples = int(corpus["n_samples"][-1])
        print(f"{len(sources)} files, {offsets[-1]} tokens of {corpus['vocabulary']}")

    sound = to_sound(codec, last)[: codec.output_length(n_samples)]
    soundfile.write("sample.wav", sound, codec.sample_rate_out)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
