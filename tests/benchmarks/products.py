"""Matrix products and convolutions, at the full published model's shapes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
from benchmarks.sides import COLD_BYTES, Case, graph, normal, tensors
from numpy.lib.stride_tricks import sliding_window_view

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.ops import depthwise

_STORED: dict[str, Callable[[Any], Any]] = {
    "f32": lambda weight: weight,
    "f16": lambda weight: weight.astype(np.float16),
    "int8": stored.quantize_int8,
    "int4": stored.quantize_int4,
}


def product(rows: int, depth: int, outputs: int, scheme: str = "f32") -> Case:
    """A linear layer whose weights are cold; those of NumPy are float32 always."""
    x, bias = normal(rows, depth), normal(outputs)
    out = np.empty((rows, outputs), np.float32)
    quantised = _STORED[scheme](normal(outputs, depth))
    weight = stored.float32(quantised)
    small = COLD_BYTES // _bytes(quantised)
    layers = cycle([linear.prepare(quantised, bias) for _ in range(small)])
    copies = COLD_BYTES // weight.nbytes
    floats = cycle([weight.copy() for _ in range(copies)])

    def kernel() -> Any:
        next(layers)(x.reshape(-1), depth, out)
        return out

    def plain() -> Any:
        return x @ next(floats).T + bias

    def torch_floats(torch: Any) -> Any:
        (tx, tb) = tensors(torch, x, bias)
        turns = cycle([w for _ in range(copies) for w in tensors(torch, weight)])
        return lambda: torch.nn.functional.linear(tx, next(turns), tb)

    def torch_int8(torch: Any) -> Any:
        (tx, tw, tb, ts) = tensors(torch, x, weight, bias, quantised.scale.astype(np.float64))
        zeros = torch.zeros(outputs, dtype=torch.long)
        q = torch.quantize_per_channel(tw, ts, zeros, 0, torch.qint8)
        pack, run = torch.ops.quantized.linear_prepack, torch.ops.quantized.linear_dynamic
        turns = cycle([pack(q, tb) for _ in range(small)])
        return lambda: run(tx, next(turns), reduce_range=False)

    if scheme == "int8":
        held = {"w": quantised.values.T, "s": quantised.scale, "b": bias}
        body = (
            "q, a, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to=1>(i) "
            "m = Mul(a, s) p = Mul(f, m) y = Add(p, b)"
        )
        onnx = graph(body, {"x": x}, [held] * small)
        return Case(kernel, plain, torch_int8, onnx, 3e-2)
    if scheme == "int4":
        # There a value is its four bits less 8.
        packed = (quantised.values ^ 0x88).reshape(outputs, -1, stored.GROUP // 2)
        held = {"w": packed, "s": quantised.scale.astype(np.float32).reshape(-1), "b": bias}
        body = (
            f"p = com.microsoft.MatMulNBits<K={depth}, N={outputs}, bits=4, "
            f"block_size={stored.GROUP}, accuracy_level=4>(x, w, s) y = Add(p, b)"
        )
        onnx = graph(body, {"x": x}, [held] * small)
        return Case(kernel, plain, None, onnx, 3e-2)
    # onnxruntime keeps float32 for products that it computes in float32.
    onnx = graph("y = Gemm<transB=1>(x, w, b)", {"x": x}, [{"w": weight, "b": bias}] * copies)
    return Case(kernel, plain, torch_floats, onnx)


def _bytes(weight: Any) -> int:
    if isinstance(weight, stored.Int8 | stored.Int4):
        return int(weight.values.nbytes + weight.scale.nbytes)
    return int(weight.nbytes)


def windows(rows: int, channels: int, taps: int, stride: int, outputs: int) -> Case:
    """A strided convolution as products with overlapping windows; it has no bias."""
    depth, step = taps * channels, stride * channels
    x, weight = normal((rows - 1) * step + depth), normal(outputs, depth)
    out = np.empty((rows, outputs), np.float32)
    layer = linear.prepare(weight)

    def kernel() -> Any:
        layer(x, step, out)
        return out

    # Elsewhere channels come before frames.
    turned = np.ascontiguousarray(x.reshape(1, -1, channels).transpose(0, 2, 1))
    filters = np.ascontiguousarray(weight.reshape(outputs, taps, channels).transpose(0, 2, 1))

    def torch_side(torch: Any) -> Any:
        tx, tw = tensors(torch, turned, filters)
        return lambda: torch.nn.functional.conv1d(tx, tw, stride=stride)[0].T

    body = f"c = Conv<strides=[{stride}]>(x, w) t = Transpose<perm=[0, 2, 1]>(c) y = Squeeze(t, i)"
    onnx = graph(body, {"x": turned}, [{"w": filters, "i": np.array([0])}])
    return Case(kernel, lambda: sliding_window_view(x, depth)[::step] @ weight.T, torch_side, onnx)


def convolution(rows: int, channels: int, taps: int, half: bool = False) -> Case:
    """A depthwise convolution whose weights and past rows are cold."""
    past, bias = normal(taps - 1 + rows, channels), normal(channels)
    weight = normal(taps, channels).astype(np.float16 if half else np.float32)
    out = np.empty((rows, channels), np.float32)
    size = len(past)
    oldest = size // 3

    def prepared() -> tuple[depthwise.Depthwise, Any, I64]:
        layer = depthwise.prepare(weight, bias)
        ring, cursor = layer.ring(rows), np.array([oldest, 0])
        for row in past[: taps - 1]:
            layer(row[None], ring, cursor, out[:1])
        return layer, ring, cursor

    copies = min(COLD_BYTES // (weight.nbytes + past.nbytes), 1000)
    layers = cycle([prepared() for _ in range(copies)])
    floats = weight.astype(np.float32)
    plain_layers = cycle([(floats.copy(), past.copy()) for _ in range(copies)])

    def kernel() -> Any:
        layer, ring, cursor = next(layers)
        # The same past each time.
        cursor[0] = (oldest + taps - 1) % ring.shape[1]
        layer(past[taps - 1 :], ring, cursor, out)
        return out

    def plain() -> Any:
        w, x = next(plain_layers)
        return np.stack([bias + np.einsum("jc,jc->c", w, x[t : t + taps]) for t in range(rows)])

    turned = np.ascontiguousarray(past.T[None])
    filters = np.ascontiguousarray(floats.T[:, None])

    def torch_side(torch: Any) -> Any:
        turns = cycle([tensors(torch, turned, filters) for _ in range(copies)])
        (tb,) = tensors(torch, bias)

        def run() -> Any:
            tx, tw = next(turns)
            return torch.nn.functional.conv1d(tx, tw, tb, groups=channels)[0].T

        return run

    body = f"c = Conv<group={channels}>(x, w, b) t = Transpose<perm=[0, 2, 1]>(c) y = Squeeze(t, i)"
    held = {"w": filters, "b": bias, "i": np.array([0])}
    onnx = graph(body, {"x": turned}, [held] * min(copies, 64))
    return Case(kernel, plain, torch_side, onnx)
