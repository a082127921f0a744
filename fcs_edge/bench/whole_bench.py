"""Measures the time and memory of a model that needs the whole sound, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fcs_edge.bench import host
from fcs_edge.bench.bench import MODES, STAGES, Facts
from fcs_edge.codec import Codec
from fcs_edge.model.layers import F32
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.modelfile.model_file import ModelFile

LEAST_RUNS = 2
"""Times that each stage runs, even if no time remains."""


class WholeBench:
    """A loaded model, and a sound that it encodes and decodes at once.

    Parameters
    ----------
    model : ModelFile
        The model.
    clip : numpy.ndarray
        (n,) float32 at 16 kHz: what is repeated to the sound.
    sound_seconds : float
        Seconds of the sound.
    """

    def __init__(self, model: ModelFile, clip: F32, sound_seconds: float) -> None:
        self._model = model
        self._baseline = host.memory_used()[1]
        start = time.perf_counter()
        self._codec = Codec(model)
        self._samples = np.resize(clip, round(sound_seconds * SAMPLE_RATE_IN))
        self._seconds = self._samples.size / SAMPLE_RATE_IN
        # The first calls prepare the weights, and compile what is not in the cache.
        self._codec.decode(self._codec.encode(self._samples[: SAMPLE_RATE_IN // 2]))
        self._load_seconds = time.perf_counter() - start

    def measure(self, seconds: float) -> Facts:
        """Measure for about `seconds`, or `LEAST_RUNS` runs, and return the results as JSON."""
        times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        start, cpu_start = time.perf_counter(), time.process_time()
        n_runs = 0
        while n_runs < LEAST_RUNS or (time.perf_counter() - start) * (1 + 1 / n_runs) < seconds:
            self._run(times)
            n_runs += 1
        cpu_share = (time.process_time() - cpu_start) / (time.perf_counter() - start)
        peak, now = host.memory_used()
        of_modes = {
            mode: [sum(run) for run in zip(*(times[s] for s in stages), strict=True)]
            for mode, stages in MODES.items()
        }
        return {
            "weights": self._model.scheme,
            "file_bytes": self._model.path.stat().st_size,
            "load_s": self._load_seconds,
            "memory_peak_bytes": peak,
            "memory_bytes": now,
            "memory_before_load_bytes": self._baseline,
            "sound_s": self._seconds,
            "threads": 1,
            "cpu_share": min(cpu_share, 1.0),
            "modes": {mode: self._summary(found) for mode, found in of_modes.items()},
            "stages": {stage: self._summary(times[stage]) for stage in STAGES},
        }

    def _run(self, times: dict[str, list[float]]) -> None:
        """Encode and decode the sound, and add the seconds of each stage."""
        codec = self._codec

        def timed(stage: str, call: Callable[[], F32]) -> F32:
            start = time.perf_counter()
            result = call()
            times[stage].append(time.perf_counter() - start)
            return result

        features = timed("encoder", lambda: codec.features(self._samples))
        latents = timed("compressor", lambda: codec.latents(features))
        codes = codec.codes(codec.quantize(latents))
        features = timed("decompressor", lambda: codec.decompress(codes))
        timed("decoder", lambda: codec.synthesize(features))

    def _summary(self, times: list[float]) -> Facts:
        """Return the times of a mode or a stage; the factor is that of the median."""
        median = float(np.median(times))
        return {
            "runs": len(times),
            "s_p50": median,
            "s_min": min(times),
            "s_max": max(times),
            "real_time_factor": median / self._seconds,
            "times_real_time": self._seconds / median,
        }
