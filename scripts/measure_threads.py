"""Compare two threads of a stream with two processes at once, and with one thread.

    python scripts/measure_threads.py MODEL [ROUNDS]

Three programs take turns in each round: one thread; two threads; and two processes of one thread
each, at the same time. Each encodes and decodes one chunk per step. The share is the rate of two
threads over that of the two processes together. Threads and processes have a core of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import fcs_edge
from fcs_edge import Codec

_WARM_UP_SECONDS, _SECONDS = 2.0, 0.6

Run = Callable[[float], float]


def stream(codec: Codec, threads: int) -> Run:
    """Return what runs a stream for some seconds, and returns the median time of a chunk."""
    encoder, decoder = codec.stream_encoder(threads=threads), codec.stream_decoder(threads=threads)
    noise = np.random.default_rng(0).standard_normal((64, codec.chunk_size))
    samples = (0.1 * noise).astype(np.float32)
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    sound = np.zeros(codec.chunk_tokens * codec.samples_out_per_token, np.float32)

    def run(seconds: float) -> float:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            encoder.step(samples[len(times) % len(samples)], tokens)
            decoder.step(tokens, sound)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    run(_WARM_UP_SECONDS)
    return run


def _other_process(model: str | None, core: int, pipe: Connection[Any, Any]) -> None:
    """Run a stream of one thread whenever the first process requests it."""
    os.sched_setaffinity(0, {core})
    run = stream(fcs_edge.load(model), 1)
    pipe.send(0.0)
    while seconds := pipe.recv():
        pipe.send(run(seconds))


def place_threads(cores: list[int]) -> None:
    """Give each idle thread of a stream a core, the first one excepted."""
    from fcs_edge.kernels.runtime import thread_team

    for teams in thread_team._idle.values():
        for idle in teams:
            for worker, core in zip(idle.workers, cores[1:], strict=True):
                assert worker.native_id is not None
                os.sched_setaffinity(worker.native_id, {core})


def main() -> None:
    """Print the three times and the share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", help="a model's name or file")
    parser.add_argument("rounds", nargs="?", type=int, default=8)
    options = parser.parse_args()
    codec = fcs_edge.load(options.model)
    if not (codec.encodes_streams and codec.decodes_streams):
        sys.exit(f"{codec.name} does not stream: this measures chunks of models that do")
    cores = sorted(os.sched_getaffinity(0))[:2]
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    arguments = options.model, cores[1], there
    other = context.Process(target=_other_process, args=arguments, daemon=True)
    other.start()
    os.sched_setaffinity(0, {cores[0]})
    one, two = stream(codec, 1), stream(codec, 2)
    place_threads(cores)
    here.recv()
    rounds = []
    for _ in range(options.rounds):
        alone, both = one(_SECONDS), two(_SECONDS)
        here.send(_SECONDS)
        together = 1 / (1 / one(_SECONDS) + 1 / here.recv())
        rounds.append((1e3 * alone, 1e3 * both, 1e3 * together, together / both))
    here.send(0.0)
    alone, both, together, share = np.median(rounds, 0)
    least, most = min(r[3] for r in rounds), max(r[3] for r in rounds)
    print(
        f"{codec.name}: a chunk takes {alone:.2f} ms on one thread, {both:.2f} ms on two, "
        f"and two processes end one every {together:.2f} ms; share {share:.2f} "
        f"({least:.2f} to {most:.2f})"
    )


if __name__ == "__main__":
    main()
