"""How many threads live sound needs on this machine: decided once, before the stream starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fcs_edge.arguments import THREADS
from fcs_edge.bench.host import usable_cores, uses_numba
from fcs_edge.codec import Codec
from fcs_edge.model.layers import new

LARGEST_SHARE = 0.5
"""The largest share of its own duration that a chunk may take before it gets more threads."""
_CHUNKS = 3
"""Chunks of which the fastest counts, after one that also records the kernels' calls."""


class Choice(NamedTuple):
    """Threads of a live stream, and what a chunk took in the measurement."""

    threads: int
    seconds: float
    """Of a chunk with these threads."""
    seconds_alone: float
    """Of a chunk with one thread."""


def choose(codec: Codec, *, encoder: bool, decoder: bool) -> Choice:
    """Measure some chunks, and return how many threads a stream needs.

    Each number of threads is measured in turn, while there are cores for it, until a chunk takes no
    more than `LARGEST_SHARE` of its duration. Otherwise the fastest number counts.

    Parameters
    ----------
    codec : Codec
        The model, its weights prepared.
    encoder, decoder : bool
        What runs for each chunk.
    """
    measured: dict[int, float] = {}
    most = max(1, usable_cores())
    if uses_numba():
        # A stream runs on one thread; a second one decodes beside the encoder.
        most = min(most, 2 if encoder and decoder else 1)
    for n in THREADS:
        if n > most:
            break
        measured[n] = _seconds(codec, n, encoder, decoder)
        if measured[n] <= LARGEST_SHARE * codec.latency:
            return Choice(n, measured[n], measured[1])
    best = min(measured, key=lambda n: measured[n])
    return Choice(best, measured[best], measured[1])


def _seconds(codec: Codec, threads: int, encoder: bool, decoder: bool) -> float:
    """Return the time that a chunk takes."""
    samples = np.full(codec.chunk_size, 1e-3, np.float32)
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    decoded = new(codec.chunk_tokens * codec.samples_out_per_token)
    taken = []
    if encoder:
        to_tokens = codec.stream_encoder(threads=threads)
        taken.append(_fastest(lambda: to_tokens.step(samples, tokens)))
    if decoder:
        to_sound = codec.stream_decoder(threads=threads)
        taken.append(_fastest(lambda: to_sound.step(tokens, decoded)))
    at_once = uses_numba() and threads > 1
    return max(taken) if at_once else sum(taken)


def _fastest(step: Callable[[], None]) -> float:
    """Return the shortest time of some calls, the first one aside."""
    step()
    taken = []
    for _ in range(_CHUNKS):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return min(taken)
