"""What streams give with the library that computes the bits of WebAssembly.

test_wasm_streams.py runs this file in a process of its own: a process has one set of instructions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fcs_edge
from fcs_edge.kernels.runtime import _jit


def _ends(stream: Any, items: Any) -> Any:
    return np.concatenate([stream.push(items), stream.flush()])


def main(job: str) -> None:
    """Write tokens and samples of each model of a job, which wasm_streams.mjs reads too."""
    for model in json.loads(Path(job).read_text())["models"]:
        codec = fcs_edge.load(model["source"], activations=model.get("activations"))
        signal = np.fromfile(model["signal"], np.float32)
        encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
        tokens = _ends(encoder, signal)
        lasts = [_ends(encoder, signal[:n]) for n in model.get("lengths", [])]
        sounds = [_ends(decoder, tokens[: part.size]) for part in lasts]
        np.concatenate([tokens, *lasts]).tofile(f"{model['out']}.oracle.tokens")
        np.concatenate([_ends(decoder, tokens), *sounds]).tofile(f"{model['out']}.oracle.samples")
    if _jit.uses_numba():
        sys.exit("wasm_oracle: the library lacks a kernel")


if __name__ == "__main__":
    main(sys.argv[1])
