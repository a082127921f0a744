"""Norms, activations, quantisation and what moves rows, at the full published model's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.sides import Case, graph, normal, tensors

from fcs_edge.kernels.ops import (
    attention,
    binary,
    dynamic_tanh,
    focal,
    gelu,
    history,
    layer_norm,
    residual,
    samples,
    snake,
)
from fcs_edge.stream import SAMPLE_LIMIT


def _into(out: Any, run: Callable[..., object]) -> Callable[[], Any]:
    """Return what runs a kernel and returns the array that it writes."""

    def kernel() -> Any:
        run()
        return out

    return kernel


def norm(rows: int, columns: int, active: bool = False) -> Case:
    """A layer norm, with GELU or without; NumPy's GELU is the tanh approximation."""
    x, weight, bias = normal(rows, columns), normal(columns), normal(columns)
    eps, out = np.float32(1e-5), np.empty((rows, columns), np.float32)
    run = layer_norm.layer_norm_gelu if active else layer_norm.layer_norm

    def plain() -> Any:
        centred = x - x.mean(1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(1, keepdims=True) + eps)
        y = centred / deviation * weight + bias
        return _gelu(y) if active else y

    def torch_side(torch: Any) -> Any:
        tx, tw, tb = tensors(torch, x, weight, bias)
        function = torch.nn.functional
        if active:
            return lambda: function.gelu(function.layer_norm(tx, (columns,), tw, tb, 1e-5))
        return lambda: function.layer_norm(tx, (columns,), tw, tb, 1e-5)

    last = "n = LayerNormalization(x, w, b) y = Gelu(n)"
    body = last if active else "y = LayerNormalization(x, w, b)"
    onnx = graph(body, {"x": x}, [{"w": weight, "b": bias}])
    return Case(_into(out, lambda: run(x, weight, bias, eps, out)), plain, torch_side, onnx)


def _gelu(x: Any) -> Any:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return x * (1 + np.tanh(inner)) / 2


def activation(rows: int, columns: int) -> Case:
    """GELU; NumPy has no erf, so its side is the approximation by tanh."""
    x = normal(rows, columns)
    out = np.empty_like(x)

    def torch_side(torch: Any) -> Any:
        (tx,) = tensors(torch, x)
        return lambda: torch.nn.functional.gelu(tx)

    onnx = graph("y = Gelu(x)", {"x": x})
    return Case(_into(out, lambda: gelu.gelu(x, out)), lambda: _gelu(x), torch_side, onnx)


def waves(rows: int, columns: int) -> Case:
    """Snake."""
    x, alpha = normal(rows, columns), np.exp(normal(columns))
    inverse, out = 1 / (alpha + np.float32(1e-9)), np.empty_like(x)

    def torch_side(torch: Any) -> Any:
        tx, ta, ti = tensors(torch, x, alpha, inverse)
        return lambda: tx + (ta * tx).sin().square() * ti

    body = "p = Mul(x, a) s = Sin(p) q = Mul(s, s) r = Mul(q, i) y = Add(x, r)"
    onnx = graph(body, {"x": x}, [{"a": alpha, "i": inverse}])
    kernel = _into(out, lambda: snake.snake(x, alpha, inverse, out))
    return Case(kernel, lambda: x + np.sin(alpha * x) ** 2 * inverse, torch_side, onnx)


def squash(rows: int, columns: int) -> Case:
    """Dynamic tanh."""
    x, alpha = normal(rows, columns), np.float32(0.5)
    out = np.empty_like(x)

    def torch_side(torch: Any) -> Any:
        (tx,) = tensors(torch, x)
        return lambda: torch.tanh(0.5 * tx)

    onnx = graph("p = Mul(x, a) y = Tanh(p)", {"x": x}, [{"a": np.array(alpha)}])
    kernel = _into(out, lambda: dynamic_tanh.dynamic_tanh(x, alpha, out))
    return Case(kernel, lambda: np.tanh(alpha * x), torch_side, onnx)


def gate(rows: int, heads: int, head_dim: int) -> Case:
    """The gate of the relative position's bias."""
    z, weight, bias = normal(rows, heads * head_dim), normal(2, head_dim), normal(2)
    const, out = normal(heads), np.empty((rows, heads), np.float32)

    def plain() -> Any:
        u = z.reshape(rows, heads, head_dim) @ weight.T + bias
        a, b = np.moveaxis(1 / (1 + np.exp(-u)), 2, 0)
        return a * (b * const - 1) + 2

    def torch_side(torch: Any) -> Any:
        tz, tw, tb, tc = tensors(torch, z, weight, bias, const)

        def run() -> Any:
            a, b = (tz.view(rows, heads, head_dim) @ tw.T + tb).sigmoid().unbind(2)
            return a * (b * tc - 1) + 2

        return run

    body = (
        "h = Reshape(z, s) m = MatMul(h, w) u = Add(m, b) g = Sigmoid(u) "
        "p, q = Split<axis=2, num_outputs=2>(g) i = Squeeze(p, two) j = Squeeze(q, two) "
        "k = Mul(j, c) l = Sub(k, one) n = Mul(i, l) y = Add(n, both)"
    )
    held = {"s": np.array([rows, heads, head_dim]), "w": weight.T, "b": bias, "c": const}
    held |= {"two": np.array([2]), "one": np.float32([1]), "both": np.float32([2])}
    kernel = _into(out, lambda: attention.position_gate(z, weight, bias, const, out))
    return Case(kernel, plain, torch_side, graph(body, {"z": z}, [held]))


def aggregate(rows: int, width: int) -> Case:
    """A level of focal modulation, the first one, whose sum begins anew."""
    x, gates = normal(rows, width), normal(rows, 3)
    context, total = np.empty_like(x), np.empty_like(x)
    one = gates[:, :1]

    def torch_side(torch: Any) -> Any:
        tx, tg = tensors(torch, x, one)
        return lambda: torch.nn.functional.gelu(tx) * tg

    onnx = graph("c = Gelu(x) y = Mul(c, g)", {"x": x, "g": np.ascontiguousarray(one)})
    kernel = _into(total, lambda: focal.aggregate(x, gates, 0, context, total))
    return Case(kernel, lambda: _gelu(x) * one, torch_side, onnx)


def in_place(name: str, rows: int, columns: int) -> Case:
    """What changes an array where it is, by numbers that never let it overflow.

    ONNX has nothing that writes in place: it returns a new array.
    """
    start = normal(rows, columns)
    ones, gamma = np.ones_like(start), normal(columns)
    ours, theirs = start.copy(), start.copy()
    kernels: dict[str, Callable[[], None]] = {
        "divide": lambda: focal.divide(ours, np.float32(1)),
        "modulate": lambda: focal.modulate(ours, ones),
        "add": lambda: residual.add(ours, ones),
        "add_scaled": lambda: residual.add_scaled(ours, ones, gamma),
    }

    def plain() -> Any:
        # Of the same numbers each time, so that there is one result.
        if name == "divide":
            np.divide(start, np.float32(1), out=theirs)
        elif name == "modulate":
            np.multiply(start, ones, out=theirs)
        elif name == "add":
            np.add(start, ones, out=theirs)
        else:
            np.add(start, ones * gamma, out=theirs)
        return theirs

    def torch_side(torch: Any) -> Any:
        tx, ty, tg = tensors(torch, start, ones, gamma)
        runs = {
            "divide": lambda: tx.div_(1.0),
            "modulate": lambda: tx.mul_(ty),
            "add": lambda: tx.add_(ty),
            "add_scaled": lambda: tx.addcmul_(ty, tg),
        }
        return runs[name]

    bodies = {
        "divide": "y = Div(x, o)",
        "modulate": "y = Mul(x, o)",
        "add": "y = Add(x, o)",
        "add_scaled": "p = Mul(o, g) y = Add(x, p)",
    }
    held = {"g": gamma} if name == "add_scaled" else {}
    onnx = graph(bodies[name], {"x": start, "o": ones}, [held])
    return Case(_into(ours, kernels[name]), plain, torch_side, onnx)


def unit(rows: int, bits: int) -> Case:
    """Latents on the sphere."""
    x = normal(rows, bits)
    out = np.empty_like(x)

    def torch_side(torch: Any) -> Any:
        (tx,) = tensors(torch, x)
        return lambda: torch.nn.functional.normalize(tx, dim=1)

    onnx = graph("y = LpNormalization<axis=1, p=2>(x)", {"x": x})
    kernel = _into(out, lambda: binary.normalize(x, out))
    return Case(kernel, lambda: x / np.sqrt((x * x).sum(1, keepdims=True)), torch_side, onnx)


def tokens(rows: int, bits: int) -> Case:
    """Tokens of latents."""
    x = normal(rows, bits)
    powers = 2 ** np.arange(bits)[::-1]
    out = np.empty(rows, np.uint16)

    def torch_side(torch: Any) -> Any:
        tx, tp = tensors(torch, x, powers)
        return lambda: ((tx > 0) * tp).sum(1)

    body = "g = Greater(x, zero) i = Cast<to=7>(g) y = MatMul(i, p)"
    onnx = graph(body, {"x": x}, [{"zero": np.float32(0), "p": powers}], np.int64)
    kernel = _into(out, lambda: binary.quantize(x, out))
    return Case(kernel, lambda: (x > 0) @ powers, torch_side, onnx)


def codes(rows: int, bits: int) -> Case:
    """Codes of tokens."""
    drawn = np.random.default_rng(1).integers(0, 1 << bits, rows).astype(np.uint16)
    shifts, value = np.arange(bits)[::-1].copy(), np.float32(1 / math.sqrt(bits))
    out, wide = np.empty((rows, bits), np.float32), drawn.astype(np.int64)[:, None]

    def torch_side(torch: Any) -> Any:
        tg, ts = tensors(torch, wide, shifts)
        return lambda: torch.where((tg >> ts & 1).bool(), value, -value)

    body = (
        's = BitShift<direction="RIGHT">(x, n) b = BitwiseAnd(s, one) '
        "c = Cast<to=9>(b) y = Where(c, plus, minus)"
    )
    held = {"n": shifts.astype(np.uint64), "one": np.uint64([1])}
    held |= {"plus": np.float32([value]), "minus": np.float32([-value])}
    onnx = graph(body, {"x": wide.astype(np.uint64)}, [held])
    kernel = _into(out, lambda: binary.codes(drawn, out))
    return Case(kernel, lambda: np.where(wide >> shifts & 1, value, -value), torch_side, onnx)


def cleaned(count: int) -> Case:
    """Samples as they come in, NaN and infinity taken out."""
    x = normal(count)
    x[::97] = np.nan
    out, bad = np.empty_like(x), np.zeros(1, np.int64)

    def plain() -> Any:
        return np.clip(np.nan_to_num(x, posinf=0, neginf=0), -SAMPLE_LIMIT, SAMPLE_LIMIT)

    def torch_side(torch: Any) -> Any:
        (tx,), limit = tensors(torch, x), float(SAMPLE_LIMIT)
        return lambda: tx.nan_to_num(0.0, 0.0, 0.0).clamp(-limit, limit)

    kernel = _into(out, lambda: samples.sanitize(x, SAMPLE_LIMIT, out, bad))
    body = "n = IsNaN(x) w = Where(n, zero, x) y = Clip(w, low, high)"
    held = {"zero": np.float32(0), "low": -SAMPLE_LIMIT, "high": SAMPLE_LIMIT}
    return Case(kernel, plain, torch_side, graph(body, {"x": x}, [held]))


def clipped(count: int) -> Case:
    """Samples as they go out."""
    x = normal(count)
    out = np.empty_like(x)

    def torch_side(torch: Any) -> Any:
        (tx,) = tensors(torch, x)
        return lambda: tx.clamp(-1.0, 1.0)

    held = {"low": np.float32(-1), "high": np.float32(1)}
    onnx = graph("y = Clip(x, low, high)", {"x": x}, [held])
    kernel = _into(out, lambda: samples.clip(x, out))
    return Case(kernel, lambda: np.clip(x, -1, 1), torch_side, onnx)


def row_copies(name: str, rows: int, columns: int, n_past: int) -> Case:
    """Rows put where the next chunk finds them, or taken out."""
    x = normal(rows, columns)
    ours = normal(1, n_past + rows, columns)
    theirs = ours.copy()
    primed = np.ones(1, np.int64)
    kernels: dict[str, Callable[[], None]] = {
        "write": lambda: history.write(x, ours[0], n_past),
        "append": lambda: history.append(x, n_past, primed, ours),
        "copy": lambda: history.copy(x, ours[0]),
        "keep_last": lambda: history.keep_last(ours, rows, n_past),
    }

    def done(x: Any, buffer: Any) -> Any:
        if name == "keep_last":
            buffer[:, :n_past] = buffer[:, rows : rows + n_past]
        elif name == "copy":
            buffer[0, :rows] = x
            buffer[0, rows:] = 0
        else:
            buffer[:, n_past:] = x
        return buffer

    def torch_side(torch: Any) -> Any:
        tx, buffer = tensors(torch, x, theirs)
        return lambda: done(tx, buffer)

    return Case(_into(ours, kernels[name]), lambda: done(x, theirs), torch_side)
