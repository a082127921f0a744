"""Measures the time and memory of a model on this machine, and the machine's own limits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fcs_edge.bench import core_limits, host
from fcs_edge.bench.core_limits import Rate
from fcs_edge.kernels.gemm.peak import products_saved
from fcs_edge.kernels.isa import instructions
from fcs_edge.model.code_search import Search
from fcs_edge.model.compressor import Compressor
from fcs_edge.model.decoder import Decoder
from fcs_edge.model.decompressor import Decompressor
from fcs_edge.model.encoder import Encoder
from fcs_edge.model.layers import F32, Array
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig, SearchConfig
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensor_layout import matrix_shape, tensor_shapes
from fcs_edge.modelfile.tensors import SCALE
from fcs_edge.stream import StreamDecoder, StreamEncoder
from fcs_edge.streams.memory import ProgramMemory, SplitSteps, StreamMemory, programs_of
from fcs_edge.streams.steps import DecoderSteps, EncoderSteps

Facts = dict[str, Any]
"""Results as JSON, with units in the names."""

STAGES = ("encoder", "compressor", "decompressor", "decoder")
MODES = {"encode": STAGES[:2], "decode": STAGES[2:], "both": STAGES}
"""The benchmark's modes, and the stages that each runs."""

_SHARES = {"encode": 0.25, "decode": 0.25, "both": 0.5}
"""Shares of the time. The modes take turns several times, so that other load affects them all."""
_ROUNDS = 4
_LEAST_WARM_UP = 8
_LEAST_STEPS = 2
"""Steps of a pass that run even if no time remains."""
_WARM_UP_SHARE = 0.4
_BUFFER = 256 << 20


class Product(NamedTuple):
    """A matrix product of a chunk."""

    stage: str
    name: str
    """Published name of the weight."""
    rows: int
    depth: int
    outputs: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.rows * self.depth * self.outputs


def products(config: CodecConfig) -> list[Product]:
    """Return the matrix products of one chunk, in the order of the tensors.

    A convolution counts as the product with its windows, a transposed one as that with its rows.
    """
    out = []
    for name, shape in tensor_shapes(config).items():
        matrix = matrix_shape(name, shape)
        if matrix is not None:
            outputs, depth = matrix
            stage = name.split(".")[0]
            # The code search counts as part of the compressor.
            stage = "compressor" if stage == "search" else stage
            out.append(Product(stage, name, rows_of(config, name), depth, outputs))
    return out


def rows_of(config: CodecConfig, name: str) -> int:
    """Return the rows of a chunk that meet a weight, by its published name."""
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
        return _search_rows(config, config.search, part)
    ups = config.decompressor.upscale_factors
    if stage == "decompressor" and part != "refiner":
        return config.chunk_tokens * math.prod(ups[:layer])
    rows = config.chunk_tokens * math.prod(ups)
    return rows // config.decompressor.chunk_frames if part == "refiner" else rows


def _search_rows(config: CodecConfig, search: SearchConfig, part: str) -> int:
    """Return the rows of a chunk for a weight of the code search, every flip counted."""
    if part not in ("told_in", "told_out"):
        return config.chunk_tokens
    # The first token of a chunk extends one hypothesis, each later one the whole beam.
    beams = 1 + (config.chunk_tokens - 1) * search.beam_width
    if part == "told_in" or not search.max_flips:
        return beams
    bits = config.bits_per_token
    return beams * (1 + bits + (search.max_flips - 1) * min(search.shortlist, bits - 1))


def window_chunks(config: CodecConfig) -> int:
    """Return the number of chunks that fill every history window of a stream."""
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
    """The limits of one core of this machine."""

    buffer_bytes: int
    read: Rate
    """Memory read, GB/s."""
    float32: Rate
    """GMAC/s."""
    int8: Rate
    """GMAC/s, weights of 8 bits by activations of 12."""
    int4: Rate
    """GMAC/s, weights of 4 bits by activations of 8."""

    def milliseconds(
        self, size: float, macs: float, read: Rate, bits: int, activation_bits: int = 12
    ) -> float:
        """Return the least time to read `size` bytes and compute `macs` at once.

        `bits` is the width of the weights: 4, 8, or more for floats. `activation_bits` is 8 or 12,
        for weights of 8 bits.
        """
        peak = {4: self.int4, 8: self.int8}.get(bits, self.float32).best
        if bits == activation_bits == 8:
            peak *= products_saved(instructions.chosen())
        return max(size / read.best, macs / peak) / 1e6

    def facts(self) -> Facts:
        """Return the limits as JSON."""
        rates = {
            "read_gb_per_s": self.read,
            "float32_gmac_per_s": self.float32,
            "int8_gmac_per_s": self.int8,
            "int4_gmac_per_s": self.int4,
        }
        out: Facts = {"read_buffer_bytes": self.buffer_bytes}
        for name, rate in rates.items():
            out |= {name: rate.best, f"{name}_median": rate.median}
        return out

    def read_at(self, size: int, seconds: float = 0.1) -> Rate:
        """Return the rate of repeated reads of `size` bytes, which caches may hold."""
        if size >= min(4 * host.last_level_cache(), host.memory_available() // 4):
            return self.read
        return core_limits.read_rate(size, seconds)


def limits(seconds: float = 1.0) -> Limits:
    """Measure the limits of one core of this machine, in about `seconds`."""
    using = instructions.chosen()
    size = min(max(_BUFFER, 4 * host.last_level_cache()), host.memory_available() // 4)
    each = min(seconds / 4, 0.3)
    return Limits(
        size,
        core_limits.read_rate(size, each),
        *(core_limits.multiply_rate(using, bits, each) for bits in (32, 8, 4)),
    )


class _Timed:
    """The memory of a stream; it records how long the two parts of its last step took.

    Parameters
    ----------
    steps : SplitSteps
        What a step does.
    chunks, threads : int
        Chunks per step, and threads that share it.
    """

    def __init__(self, steps: SplitSteps, chunks: int, threads: int) -> None:
        self._steps = steps
        self._memory: ProgramMemory | None = None
        if programs := programs_of(steps, chunks, threads, steps.first):
            self._memory = ProgramMemory(programs)
        self._state = steps.state(chunks) if self._memory is None else None
        self.elapsed = [0, 0]

    def run(self, x: Array, out: Array) -> None:
        if self._memory is not None:
            self.elapsed = self._memory.timed(x, out)
            return
        start = time.perf_counter_ns()
        self._steps.first(x, out, self._state)
        middle = time.perf_counter_ns()
        self._steps.rest(x, out, self._state)
        self.elapsed = [middle - start, time.perf_counter_ns() - middle]

    def reset(self) -> None:
        raise NotImplementedError

    def history(self) -> list[Array]:
        raise NotImplementedError

    def take(self, other: StreamMemory) -> None:
        raise NotImplementedError


class Bench:
    """A loaded model and one stream through it.

    Parameters
    ----------
    model : ModelFile
        The model.
    clip : numpy.ndarray
        (n,) float32 at 16 kHz: the input, repeated.
    chunks : int
        Chunks per step: one for live audio, several for a whole file.
    threads : int
        Threads of the stream.
    """

    def __init__(self, model: ModelFile, clip: F32, chunks: int = 1, threads: int = 1) -> None:
        config = model.config
        self._model, self._chunks, self._threads = model, chunks, threads
        self._baseline = host.memory_used()[1]
        start = time.perf_counter()
        search = Search(config, model.reader()) if config.search else None
        encoder = Encoder(config.encoder, model.reader())
        compressor = Compressor(config.compressor, model.reader())
        decompressor = Decompressor(config.decompressor, model.reader())
        decoder = Decoder(config.decoder, model.reader())
        encode = EncoderSteps(config, encoder, compressor, search)
        self._encode = _Timed(encode, chunks, threads)
        self._decode = _Timed(DecoderSteps(config, decompressor, decoder), chunks, threads)
        self._encoder = StreamEncoder(config, self._encode, chunks)
        self._decoder = StreamDecoder(config, self._decode, chunks)
        self._load_seconds = time.perf_counter() - start
        size = chunks * config.chunk_size
        self._samples = np.resize(clip, (max(clip.size // size, 1), size))
        tokens = chunks * config.chunk_tokens
        self._tokens = np.zeros((len(self._samples), tokens), np.uint16)
        self._output = np.zeros(tokens * config.samples_out_per_token, np.float32)
        self._position = 0
        self._times: dict[str, list[int]] = {key: [] for key in (*MODES, *STAGES)}
        self.prepare()

    def prepare(self) -> None:
        """Run one step, which compiles the kernels that are not in the cache."""
        self._step("both")

    def measure(self, limits: Limits, seconds: float) -> Facts:
        """Measure for about `seconds`, and return the results as JSON."""
        least = max(window_chunks(self._model.config), _LEAST_WARM_UP)
        window_steps = math.ceil(least / self._chunks)
        start = time.perf_counter()
        steps = 1
        while steps < window_steps:
            self._step("both")
            steps += 1
            spent = time.perf_counter() - start
            if steps * self._chunks >= _LEAST_WARM_UP and spent > _WARM_UP_SHARE * seconds:
                break
        for values in self._times.values():
            values.clear()
        remaining = seconds - (time.perf_counter() - start)
        start = deadline = time.perf_counter()
        cpu_start = time.process_time()
        for _ in range(_ROUNDS):
            for mode, share in _SHARES.items():
                deadline += remaining * share / _ROUNDS
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
            "windows_full": steps >= window_steps,
            "threads": self._threads,
            "cpu_share": min(cpu_share, 1.0),
            "modes": {mode: self._mode(mode, limits) for mode in MODES},
            "stages": {stage: self._summary(stage) for stage in STAGES},
        }

    def _pass(self, mode: str, deadline: float) -> None:
        """Run steps until the deadline."""
        # The first step has the caches of another mode and does not count.
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
            self._decoder.step(self._tokens[at], self._output)
        end = time.perf_counter_ns()
        self._times[mode].append(end - start)
        if mode == "both":
            first, last = self._encode.elapsed[0], self._decode.elapsed[1]
            parts = (first, middle - start - first, end - middle - last, last)
            for stage, elapsed in zip(STAGES, parts, strict=True):
                self._times[stage].append(elapsed)

    def _summary(self, key: str) -> Facts:
        """Return the times of a chunk in a mode or a stage."""
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
        """Return the times of a chunk in a mode, and the least time that its products take.

        Threads share the products: as many cores have so many times the rates of one.
        """
        used = [p for p in products(self._model.config) if p.stage in MODES[mode]]
        weights = [(p, *self._stored(p.name)) for p in used]
        total = sum(size for _, size, _ in weights)
        rate = limits.read_at(total)
        n = self._chunks
        activations = self._model.activation_bits
        least = sum(
            limits.milliseconds(size, n * p.macs, rate, bits, activations)
            for p, size, bits in weights
        ) / (n * self._threads)
        summary = self._summary(mode)
        return {
            **{key: value for key, value in summary.items() if key != "chunk_ms"},
            "weights_bytes": total,
            "chunk_macs": sum(p.macs for p in used),
            "weights_read_gb_per_s": rate.best,
            "limit_ms": least,
            "fraction_of_limit": least / summary["chunk_ms_p50"],
            "chunk_ms": summary["chunk_ms"],
        }

    def _stored(self, name: str) -> tuple[int, int]:
        """Return the stored bytes of a weight, scales included, and its bits per number."""
        tensors = [self._model.stored.get(key) for key in (name, name + SCALE)]
        arrays = [t.data for t in tensors if t is not None and t.data is not None]
        size = sum(data.nbytes for data in arrays)
        # One uint8 has two 4-bit numbers.
        return size, 4 if arrays[0].dtype == np.uint8 else 8 * arrays[0].dtype.itemsize
