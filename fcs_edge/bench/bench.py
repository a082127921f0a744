"""What a model takes on this machine, and what the machine would let it take: measured."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.bench import core_limits, host
from fcs_edge.bench.core_limits import Rate
from fcs_edge.kernels.isa import instructions
from fcs_edge.model.code_search import Search
from fcs_edge.model.compressor import Compressor
from fcs_edge.model.decoder import Decoder
from fcs_edge.model.decompressor import Decompressor
from fcs_edge.model.encoder import Encoder
from fcs_edge.model.layers import F32
from fcs_edge.model.replayed_stage import Repeated
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig, SearchConfig
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensor_layout import matrix_shape, tensor_shapes
from fcs_edge.modelfile.tensors import SCALE
from fcs_edge.stream import StreamDecoder, StreamEncoder

Facts = dict[str, Any]
"""Results as JSON has them, units in the names."""

STAGES = ("encoder", "compressor", "decompressor", "decoder")
MODES = {"encode": STAGES[:2], "decode": STAGES[2:], "both": STAGES}
"""What runs on the core, and the stages of it."""

_SHARES = {"encode": 0.25, "decode": 0.25, "both": 0.5}
"""Of the time; a pass of each is made in turn, several times, as other programs come and go."""
_ROUNDS = 4
_LEAST_WARM_UP = 8
_LEAST_STEPS = 2
"""Steps of a pass that are taken even when no time is left."""
_WARM_UP_SHARE = 0.4
_BUFFER = 256 << 20


class Product(NamedTuple):
    """A matrix product of a chunk."""

    stage: str
    name: str
    """Of the weight, as published."""
    rows: int
    depth: int
    outputs: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.depth * self.outputs


def products(config: CodecConfig) -> list[Product]:
    """Return the matrix products of one chunk, in the order of the tensors.

    A convolution counts as the product with its windows, a transposed one as that of its rows.
    """
    found = []
    for name, shape in tensor_shapes(config).items():
        matrix = matrix_shape(name, shape)
        if matrix is not None:
            outputs, depth = matrix
            stage = name.split(".")[0]
            # The compressor's stage ends where codes are chosen.
            stage = "compressor" if stage == "search" else stage
            found.append(Product(stage, name, _rows(config, name), depth, outputs))
    return found


def _rows(config: CodecConfig, name: str) -> int:
    """Return the rows of a chunk that a weight is multiplied with."""
    stage, part, *rest = name.split(".")
    layer = int(rest[0]) if part == "layers" else 0
    if stage == "encoder":
        if part != "feature_extractor":
            return config.encoder.chunk_frames
        strides = config.encoder.strides[: int(rest[1]) + 1]
        return config.chunk_size // math.prod(strides)
    if stage == "compressor":
        factors = config.compressor.downscale_factors[: layer + 1 if part == "layers" else None]
        return config.encoder.chunk_frames // math.prod(factors)
    if stage == "search" and config.search is not None:
        return _searched(config, config.search, part)
    ups = config.decompressor.upscale_factors
    if stage == "decompressor" and part != "refiner":
        return config.chunk_tokens * math.prod(ups[:layer])
    rows = config.chunk_tokens * math.prod(ups)
    return rows // config.decompressor.chunk_frames if part == "refiner" else rows


def _searched(config: CodecConfig, search: SearchConfig, part: str) -> int:
    if part not in ("told_in", "told_out"):
        return config.chunk_tokens
    # Of a chunk's first token there is one way; each pass is counted, though it may end before.
    ways = 1 + (config.chunk_tokens - 1) * search.ways
    if part == "told_in" or not search.passes:
        return ways
    bits = config.bits_per_token
    return ways * (1 + bits + (search.passes - 1) * min(search.tries, bits - 1))


def window_chunks(config: CodecConfig) -> int:
    """Return how many chunks fill every window of the past that a stream keeps."""
    encoder, dec = config.encoder, config.decompressor
    frames = encoder.chunk_frames
    chunks = [max(encoder.window_size, encoder.conv_pos) / frames]
    rows = frames
    for factor in config.compressor.downscale_factors:
        rows //= factor
        chunks.append(max(config.compressor.kernel_sizes(config.compressor.window_size)) / rows)
    rows = config.chunk_tokens
    for window, factor in zip(dec.window_sizes, dec.upscale_factors, strict=True):
        chunks.append(max(dec.kernel_sizes(window)) / rows)
        rows *= factor
    return math.ceil(max(*chunks, config.decoder.kernel_size / rows))


@dataclass(frozen=True)
class Limits:
    """What one core of this machine does at most."""

    buffer_bytes: int
    read: Rate
    """Memory read, GB/s."""
    float32: Rate
    """GMAC/s."""
    int8: Rate
    """GMAC/s, weights of 8 bits by activations of 12."""
    int4: Rate
    """GMAC/s, weights of 4 bits by activations of 8."""

    def milliseconds(self, size: float, macs: float, read: Rate, bits: int) -> float:
        """Return the least time for bytes read at a rate, and multiply-accumulates meanwhile.

        bits are those of the weights: 4, 8, or more for floats.
        """
        peak = {4: self.int4, 8: self.int8}.get(bits, self.float32)
        return max(size / read.best, macs / peak.best) / 1e6

    def facts(self) -> Facts:
        """Return the limits as JSON has them."""
        rates = {
            "read_gb_per_s": self.read,
            "float32_gmac_per_s": self.float32,
            "int8_gmac_per_s": self.int8,
            "int4_gmac_per_s": self.int4,
        }
        found: Facts = {"read_buffer_bytes": self.buffer_bytes}
        for name, rate in rates.items():
            found |= {name: rate.best, f"{name}_median": rate.median}
        return found

    def read_at(self, size: int, seconds: float = 0.1) -> Rate:
        """Return the rate at which so many bytes are read again and again: caches may hold them."""
        if size >= min(4 * host.last_level_cache(), host.memory_available() // 4):
            return self.read
        return core_limits.read_rate(size, seconds)


def limits(seconds: float = 1.0) -> Limits:
    """Measure what one core of this machine does at most, in about so many seconds."""
    using = instructions.chosen()
    size = min(max(_BUFFER, 4 * host.last_level_cache()), host.memory_available() // 4)
    each = min(seconds / 4, 0.3)
    return Limits(
        size,
        core_limits.read_rate(size, each),
        *(core_limits.multiply_rate(using, bits, each) for bits in (32, 8, 4)),
    )


class _Timed:
    """A stage that keeps what its last call took, in nanoseconds."""

    def __init__(self, stage: Any) -> None:
        self._stage = stage
        self.elapsed = 0

    def state(self, rows: int) -> Any:
        return self._stage.state(rows)

    def __call__(self, x: F32, out: F32, state: Any) -> None:
        start = time.perf_counter_ns()
        self._stage(x, out, state)
        self.elapsed = time.perf_counter_ns() - start


class Bench:
    """One model, loaded, and a stream through it.

    Parameters
    ----------
    model : ModelFile
        The model.
    clip : numpy.ndarray
        (n,) float32 at 16 kHz: what is sent through it, again and again.
    chunks : int
        Chunks a step: one is live sound, several are a whole file.
    """

    def __init__(self, model: ModelFile, clip: F32, chunks: int = 1) -> None:
        config = model.config
        self._model, self._chunks = model, chunks
        self._baseline = host.memory_used()[1]
        start = time.perf_counter()
        self._first = _Timed(Repeated(Encoder(config.encoder, model.reader())))
        self._last = _Timed(Repeated(Decoder(config.decoder, model.reader())))
        compressor = Repeated(Compressor(config.compressor, model.reader()))
        decompressor = Repeated(Decompressor(config.decompressor, model.reader()))
        search = Search(config, model.reader()) if config.search else None
        self._encoder = StreamEncoder(config, self._first, compressor, chunks, search)
        self._decoder = StreamDecoder(config, decompressor, self._last, chunks)
        self._load_seconds = time.perf_counter() - start
        size = chunks * config.chunk_size
        self._samples = np.resize(clip, (max(clip.size // size, 1), size))
        tokens = chunks * config.chunk_tokens
        self._tokens = np.zeros((len(self._samples), tokens), np.uint16)
        self._sound = np.zeros(tokens * config.samples_out_per_token, np.float32)
        self._position = 0
        self._times: dict[str, list[int]] = {key: [] for key in (*MODES, *STAGES)}
        self.prepare()

    def prepare(self) -> None:
        """Take a step, which compiles kernels that are not in the cache."""
        self._step("both")

    def measure(self, limits: Limits, seconds: float) -> Facts:
        """Measure for about so many seconds, and return the results as JSON has them."""
        least = max(window_chunks(self._model.config), _LEAST_WARM_UP)
        wanted = math.ceil(least / self._chunks)
        start = time.perf_counter()
        steps = 1
        while steps < wanted:
            self._step("both")
            steps += 1
            spent = time.perf_counter() - start
            if steps * self._chunks >= _LEAST_WARM_UP and spent > _WARM_UP_SHARE * seconds:
                break
        for values in self._times.values():
            values.clear()
        left = seconds - (time.perf_counter() - start)
        start = deadline = time.perf_counter()
        cpu_start = time.process_time()
        for _ in range(_ROUNDS):
            for mode, share in _SHARES.items():
                deadline += left * share / _ROUNDS
                self._pass(mode, deadline)
        cpu_share = (time.process_time() - cpu_start) / (time.perf_counter() - start)
        peak, now = host.memory_used()
        return {
            "weights": self._model.scheme,
            "file_bytes": self._model.path.stat().st_size,
            "load_s": self._load_seconds,
            "memory_peak_bytes": peak,
            "memory_bytes": now,
            "memory_before_load_bytes": self._baseline,
            "chunks_per_step": self._chunks,
            "warm_up_chunks": steps * self._chunks,
            "windows_full": steps >= wanted,
            "cpu_share": min(cpu_share, 1.0),
            "modes": {mode: self._mode(mode, limits) for mode in MODES},
            "stages": {stage: self._summary(stage) for stage in STAGES},
        }

    def _pass(self, mode: str, deadline: float) -> None:
        """Take steps until the deadline."""
        # The first one finds the caches as another mode left them.
        self._step(mode)
        for key in (mode, *(STAGES if mode == "both" else ())):
            self._times[key].pop()
        for _ in range(_LEAST_STEPS):
            self._step(mode)
        while time.perf_counter() < deadline:
            self._step(mode)

    def _step(self, mode: str) -> None:
        at = self._position
        self._position = (at + 1) % len(self._samples)
        start = middle = time.perf_counter_ns()
        if mode != "decode":
            self._encoder.step(self._samples[at], self._tokens[at])
            middle = time.perf_counter_ns()
        if mode != "encode":
            self._decoder.step(self._tokens[at], self._sound)
        end = time.perf_counter_ns()
        self._times[mode].append(end - start)
        if mode == "both":
            first, last = self._first.elapsed, self._last.elapsed
            parts = (first, middle - start - first, end - middle - last, last)
            for stage, elapsed in zip(STAGES, parts, strict=True):
                self._times[stage].append(elapsed)

    def _summary(self, key: str) -> Facts:
        """Return what a chunk took in a mode or a stage."""
        ms = np.round(np.array(self._times[key]) / 1e6 / self._chunks, 4)
        audio_ms = 1e3 * self._model.config.chunk_size / SAMPLE_RATE_IN
        p50, p95, p99 = np.percentile(ms, (50, 95, 99)).round(4).tolist()
        factor = float(ms.mean()) / audio_ms
        return {
            "chunks": ms.size * self._chunks,
            "chunk_ms_p50": p50,
            "chunk_ms_p95": p95,
            "chunk_ms_p99": p99,
            "chunk_ms_max": float(ms.max()),
            "chunk_ms_mean": float(ms.mean()),
            "real_time_factor": factor,
            "times_real_time": 1 / factor,
            "late_chunks": int((ms > audio_ms).sum()) * self._chunks,
            "chunk_ms": ms.tolist(),
        }

    def _mode(self, mode: str, limits: Limits) -> Facts:
        """Return what a chunk took in a mode, and the least that its products can take."""
        used = [p for p in products(self._model.config) if p.stage in MODES[mode]]
        weights = [(p, *self._stored(p.name)) for p in used]
        total = sum(size for _, size, _ in weights)
        rate = limits.read_at(total)
        n = self._chunks
        least = sum(limits.milliseconds(size, n * p.macs, rate, bits) for p, size, bits in weights)
        found = self._summary(mode)
        return {
            **{key: value for key, value in found.items() if key != "chunk_ms"},
            "weights_bytes": total,
            "chunk_macs": sum(p.macs for p in used),
            "weights_read_gb_per_s": rate.best,
            "limit_ms": least / n,
            "fraction_of_limit": least / n / found["chunk_ms_p50"],
            "chunk_ms": found["chunk_ms"],
        }

    def _stored(self, name: str) -> tuple[int, int]:
        """Return the bytes of a weight as stored, scales included, and the bits of a number."""
        tensors = [self._model.stored.get(key) for key in (name, name + SCALE)]
        held = [t.data for t in tensors if t is not None and t.data is not None]
        size = sum(data.nbytes for data in held)
        # Two numbers of four bits are one uint8.
        return size, 4 if held[0].dtype == np.uint8 else 8 * held[0].dtype.itemsize
