"""Measures one kernel at one shape, beside the machine's limits."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from fcs_edge.bench import host
from fcs_edge.bench.bench import Facts, Limits
from fcs_edge.errors import FcsError
from fcs_edge.kernels._types import F16
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8
from fcs_edge.kernels.ops import gelu
from fcs_edge.kernels.ops.attention import RingAttention
from fcs_edge.model.focal import DynamicTanh, Snake
from fcs_edge.model.layers import F32, DepthwiseConv, LayerNorm, Weight, new

FORMS = {
    "linear": ("rows", "depth", "outputs"),
    "attention": ("rows", "heads", "head_dim", "keys"),
    "depthwise": ("rows", "channels", "taps"),
    "layer_norm": ("rows", "columns"),
    "gelu": ("rows", "columns"),
    "tanh": ("rows", "columns"),
    "snake": ("rows", "columns"),
}
"""The sizes of a shape, by kind of layer."""

_FLOATS = ("f32", "f16")
STORED = {"linear": (*_FLOATS, "int8", "int4"), "attention": _FLOATS, "depthwise": _FLOATS}
"""How weights, or keys and values, can be stored; other kinds have float32 only."""

_COLD = 64 << 20
_MOST_COPIES = 2048
_WARM_UP_CALLS = 3
_LEAST_CALLS = 10

Call = Callable[[], object]


@dataclass(frozen=True)
class Layer:
    """A kernel and a shape."""

    kind: str
    shape: tuple[int, ...]
    weights: str = "f32"

    @classmethod
    def parse(cls, text: str) -> Layer:
        """Read ``KIND:SHAPE`` or ``KIND:SHAPE:WEIGHTS``, such as ``linear:4x1024x4096:int8``.

        Raises
        ------
        ValueError
            The text has another form; the message says which one is expected.
        """
        kind, *rest = text.split(":")
        form = FORMS.get(kind)
        if form is None:
            raise ValueError(f"{text}: no kernel {kind!r}; there are {', '.join(FORMS)}")
        allowed = STORED.get(kind, ("f32",))
        form_text = f"{kind}:{'x'.join(size.upper() for size in form)}"
        form_text += f"[:{'|'.join(allowed)}]" * (len(allowed) > 1)
        weights = rest[1] if len(rest) == 2 else "f32"
        sizes = rest[0].split("x") if rest else []
        valid = len(rest) <= 2 and len(sizes) == len(form) and weights in allowed
        if not valid or not all(re.fullmatch(r"[1-9]\d{0,7}", size) for size in sizes):
            raise ValueError(f"{text}: {form_text} is expected")
        layer = cls(kind, tuple(map(int, sizes)), weights)
        if kind == "attention" and layer.shape[3] < layer.shape[0]:
            raise ValueError(f"{text}: the keys include those of the rows: there are no fewer")
        return layer

    @property
    def numbers(self) -> int:
        """Approximate count of numbers in its arrays."""
        rows, *others = self.shape
        widest = max(others) if self.kind == "linear" else math.prod(others[:2])
        return math.prod(others) + 3 * rows * widest


@dataclass(frozen=True)
class _Work:
    """The work of one call of a kernel."""

    create: Callable[[], Call]
    """Returns a call with its own memory."""
    size: int
    """Bytes of weights and history; without either, bytes of activations."""
    macs: int = 0
    cold: bool = True
    """Whether a stream reads those bytes from memory; activations are in the first cache."""


def measure(layer: Layer, limits: Limits, seconds: float) -> Facts:
    """Measure a kernel for about `seconds`, and return the results as JSON.

    Weights and history are cold: the calls cycle through more copies than the caches hold.

    Raises
    ------
    FcsError
        The arrays do not fit in the available memory.
    """
    free = host.memory_available() // 4
    if layer.numbers * 16 > free:
        raise FcsError(f"{layer.kind}: its arrays do not fit in the memory that is free")
    work = _WORKS[layer.kind](layer)
    copies, cold_bytes = 1, max(_COLD, 4 * host.last_level_cache())
    if work.cold:
        copies = max(1, min(-(-cold_bytes // work.size), free // work.size, _MOST_COPIES))
    calls = [work.create() for _ in range(copies)]
    cpu_start, start = time.process_time(), time.perf_counter()
    ms = _time(calls, seconds)
    cpu_share = (time.process_time() - cpu_start) / (time.perf_counter() - start)
    rate = limits.read_at(copies * work.size)
    bits = {"int8": 8, "int4": 4}.get(layer.weights, 32)
    least = limits.milliseconds(work.size, work.macs, rate, bits)
    median = float(np.median(ms))
    return {
        "kind": layer.kind,
        "shape": dict(zip(FORMS[layer.kind], layer.shape, strict=True)),
        "weights": layer.weights,
        "cold": copies * work.size >= cold_bytes,
        "copies": copies,
        "calls": len(ms),
        "ms_p50": median,
        "ms_p95": float(np.percentile(ms, 95)),
        "ms_min": min(ms),
        "bytes": work.size,
        "macs": work.macs or None,
        "gb_per_s": work.size / median / 1e6,
        "gmac_per_s": work.macs / median / 1e6 if work.macs else None,
        "read_gb_per_s": rate.best,
        "limit_ms": least,
        "fraction_of_limit": least / median,
        "cpu_share": min(cpu_share, 1.0),
    }


def _time(calls: list[Call], seconds: float) -> list[float]:
    """Cycle through the calls for `seconds`; return the milliseconds of each call."""
    around = cycle(calls)
    for _ in range(_WARM_UP_CALLS):
        next(around)()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_CALLS or time.perf_counter() < end:
        call = next(around)
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


class _Tensors:
    """Tensors by the last part of their name, in the form that layers read."""

    def __init__(self, **tensors: F32 | F16) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> F32:
        return self.floats(name).astype(np.float32, copy=False)

    def floats(self, name: str) -> F32 | F16:
        return self._tensors[name.split(".")[-1]]

    def matrix(self, name: str) -> Weight:
        return self.floats(name)


def _draw(*shape: int) -> F32:
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def _linear(layer: Layer) -> _Work:
    rows, depth, outputs = layer.shape
    drawn = _draw(outputs, depth) / np.float32(math.sqrt(depth))
    weight: Weight = drawn.astype(np.float16) if layer.weights == "f16" else drawn
    if layer.weights == "int8":
        weight = stored.quantize_int8(drawn)
    elif layer.weights == "int4":
        weight = stored.quantize_int4(drawn)
    arrays = (weight.values, weight.scale) if isinstance(weight, Int8 | Int4) else (weight,)
    size = sum(array.nbytes for array in arrays)
    x, out = _draw(rows * depth), new(rows, outputs)

    def create() -> Call:
        product = linear.prepare(weight)
        return lambda: product(x, depth, out)

    return _Work(create, size, rows * depth * outputs)


def _attention(layer: Layer) -> _Work:
    rows, heads, head_dim, keys = layer.shape
    attend = RingAttention(heads, head_dim, keys, layer.weights == "f16")
    qkv, gate = _draw(rows, 3 * heads * head_dim), _draw(rows, heads)
    bias, out = _draw(heads, keys + rows - 1), new(rows, heads * head_dim)
    scores = attend.scores()

    def create() -> Call:
        rings, cursor = attend.rings(), np.array([0, keys])
        return lambda: attend(qkv, gate, bias, *rings, cursor, scores, out)

    # A CPU without float16 conversion stores float32.
    width = attend.rings()[0].itemsize
    return _Work(create, 2 * keys * heads * head_dim * width, 2 * rows * keys * heads * head_dim)


def _depthwise(layer: Layer) -> _Work:
    rows, channels, taps = layer.shape
    drawn = _draw(channels, 1, taps)
    weight = drawn.astype(np.float16) if layer.weights == "f16" else drawn
    tensors = _Tensors(weight=weight, bias=_draw(channels))
    x, out = _draw(rows, channels), new(rows, channels)

    def create() -> Call:
        conv = DepthwiseConv(tensors, "")
        state = conv.state(rows)
        return lambda: conv(x, out, state)

    history = 4 * channels * (taps - 1 + rows)
    return _Work(create, weight.nbytes + history, rows * channels * taps)


def _elementwise(layer: Layer) -> _Work:
    rows, columns = layer.shape
    x, out = _draw(rows, columns), new(rows, columns)
    apply: Callable[[F32, F32], None] = gelu.gelu
    size = x.nbytes + out.nbytes
    if layer.kind == "layer_norm":
        apply = LayerNorm(_Tensors(weight=_draw(columns), bias=_draw(columns)), "")
    elif layer.kind == "tanh":
        apply = DynamicTanh(_Tensors(alpha=np.array([0.5], np.float32)), "")
    elif layer.kind == "snake":
        apply = Snake(_Tensors(alpha=np.exp(_draw(columns))), "")
    return _Work(lambda: lambda: apply(x, out), size, cold=False)


_WORKS: dict[str, Callable[[Layer], _Work]] = {
    "linear": _linear,
    "attention": _attention,
    "depthwise": _depthwise,
    **dict.fromkeys(("layer_norm", "gelu", "tanh", "snake"), _elementwise),
}
