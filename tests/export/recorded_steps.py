"""Writes the calls that the steps of a model's streams make while they run, as JSON.

`test_traced_calls` runs it with the library of this machine, and compares them with a trace.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import fcs_edge
from fcs_edge.kernels.runtime import _jit
from fcs_edge.kernels.runtime.aot_library import recorded_calls
from fcs_edge.model.prepared_stages import PreparedStages
from fcs_edge.streams.steps import DecoderSteps, EncoderSteps

Calls = list[list[Any]]
"""Name, and shapes and numbers, of each call."""


def described(kernel: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Return a call without the places of its arrays; workspace has no shape of its own."""
    found: list[Any] = [kernel.name]
    for value, kind in zip(arguments, kernel.types, strict=True):
        if isinstance(value, np.ndarray):
            found.append(list(value.shape) if kind != "b1w" else "workspace")
        else:
            found.append(float(np.float32(value)) if kind == "float" else int(value))
    return found


class Recorder:
    """Runs the steps of one stream, and records the calls of each.

    Parameters
    ----------
    steps : callable
        `EncoderSteps` or `DecoderSteps`.
    max_chunks : int
        Most chunks per step.
    x : numpy.ndarray
        The stream's input.
    output : callable
        Returns an array for the output of so many items.
    chunk : int
        Items of a chunk.
    """

    def __init__(
        self, steps: Any, max_chunks: int, x: Any, output: Callable[[int], Any], chunk: int
    ) -> None:
        self._steps, self._x, self._output, self._chunk = steps, x, output, chunk
        self._state = steps.state(max_chunks)
        self._most = max_chunks

    def _step(self, at: int, n: int) -> tuple[Calls, Any]:
        out = self._output(n)
        with recorded_calls() as calls:
            self._steps(self._x[at : at + n], out, self._state)
        return [described(*call) for call in calls], out

    def stream(self, last: int) -> tuple[list[tuple[int, Calls]], Any]:
        """Return the calls and the output of some chunks, then a partial one of `last` items."""
        self._state.reset()
        sizes = [self._most * self._chunk, *[self._chunk] * 4, last]
        found, outs, at = [], [], 0
        for n in sizes:
            calls, out = self._step(at, n)
            found.append((n, calls))
            outs.append(out)
            at += n
        return found, np.concatenate(outs)


def pushed(stream: Any, x: Any) -> Any:
    """Return what a stream of the package gives for the same input."""
    return np.concatenate([stream.push(x), stream.flush()])


def main(path: str | None) -> dict[str, list[tuple[int, Calls]]]:
    """Return the calls of streams of a model, by part and most chunks."""
    codec = fcs_edge.load(path)
    config, stages = codec.model.config, PreparedStages(codec.model, 1)
    encoder = EncoderSteps(config, stages.encoder, stages.compressor, stages.search)
    decoder = DecoderSteps(config, stages.decompressor, stages.decoder)
    hop, hop_out = config.samples_per_token, config.samples_out_per_token
    chunk, tokens = config.chunk_size, config.decoded_tokens
    random = np.random.default_rng(1)
    signal = random.uniform(-0.5, 0.5, 14 * chunk).astype(np.float32)
    codes = random.integers(0, 1 << config.bits_per_token, 14 * tokens).astype(np.uint16)

    def tokens_of(n: int) -> Any:
        return np.zeros(math.ceil(n / hop), np.uint16)

    def samples_of(n: int) -> Any:
        return np.zeros(n * hop_out, np.float32)

    found: dict[str, list[tuple[int, Calls]]] = {}
    for most in (1, 8):
        first = Recorder(encoder, most, signal, tokens_of, chunk)
        second = Recorder(decoder, most, codes, samples_of, tokens)
        for last in (1, hop, hop + 1, chunk - 1):
            calls, out = first.stream(last)
            found.setdefault(f"encoder {most}", []).extend(calls)
            whole = signal[: (most + 4) * chunk + last]
            assert np.array_equal(out, pushed(codec.stream_encoder(), whole)), last
        for last in range(1, tokens):
            calls, out = second.stream(last)
            found.setdefault(f"decoder {most}", []).extend(calls)
            whole = codes[: (most + 4) * tokens + last]
            assert np.array_equal(out, pushed(codec.stream_decoder(), whole)), last
    assert not _jit.uses_numba(), "a kernel is not of the library, so its calls are not recorded"
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]) if sys.argv[1:] else main(None)))
