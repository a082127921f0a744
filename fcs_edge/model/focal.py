"""Focal modulation block of compressor and decompressor (arXiv 2203.11926, made causal)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8
from fcs_edge.kernels.ops import dynamic_tanh, focal, residual, snake
from fcs_edge.model.layers import (
    ADD,
    F32,
    WRITE,
    Array,
    DepthwiseConv,
    FeedForward,
    Linear,
    Tensors,
    histories,
    new,
)
from fcs_edge.modelfile.config import FocalConfig

Norm: TypeAlias = Callable[[F32, F32], None]
"""Writes the normalised rows of the first array into the second."""
Modulate: TypeAlias = Callable[[F32, F32, int], None]


class DynamicTanh:
    """``y = tanh(alpha * x)``; alpha is a scalar (arXiv 2503.10622)."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._alpha = np.float32(tensors[f"{name}.alpha"][0])

    def __call__(self, x: F32, out: F32) -> None:
        """Write y of x into out; both are (rows, columns)."""
        dynamic_tanh.dynamic_tanh(x, self._alpha, out)


class Snake:
    """``y = x + sin(alpha * x) ** 2 / (alpha + 1e-9)``; alpha has one value per column."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._alpha = np.ascontiguousarray(tensors[f"{name}.alpha"].reshape(-1))
        with np.errstate(divide="ignore", over="ignore"):
            self._inverse = np.float32(1) / (self._alpha + np.float32(1e-9))

    def __call__(self, x: F32, out: F32) -> None:
        """Write y of x into out; both are (rows, columns)."""
        snake.snake(x, self._alpha, self._inverse, out)


class FocalState:
    """The state of one stream in a focal block, and its workspace."""

    def __init__(self, block: FocalBlock, max_rows: int) -> None:
        modulation = block.modulation
        width = modulation.width
        self.levels = [level.state(max_rows) for level in modulation.levels]
        self.normed = new(max_rows, width)
        self.out = new(max_rows, width)
        self.query = new(max_rows, width)
        self.context = new(max_rows, width)
        self.gates = new(max_rows, len(modulation.levels))
        self.convolved = new(max_rows, width)
        self.total = new(max_rows, width)
        self.hidden = new(max_rows, block.feed_forward.inner)

    def reset(self) -> None:
        """Start a new stream."""
        for level in self.levels:
            level.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self.levels)


class FocalModulation:
    """``out_proj(query * context_proj(sum of gated contexts))``; each context level is wider."""

    def __init__(self, config: FocalConfig, tensors: Tensors, name: str, window: int) -> None:
        weight, bias = tensors.matrix(f"{name}.in_proj.weight"), tensors[f"{name}.in_proj.bias"]
        self.width = width = weight.shape[1]
        self._query, self._context, self._gates = (
            Linear(stored.rows(weight, start, stop), bias[start:stop])
            for start, stop in ((0, width), (width, 2 * width), (2 * width, bias.size))
        )
        # Integer weights leave the context no more precision than float16 has.
        half = isinstance(weight, Int8 | Int4)
        self.levels = [
            DepthwiseConv(tensors, f"{name}.layers.{level}.0", half=half)
            for level in range(len(config.kernel_sizes(window)))
        ]
        self._divisor = np.float32(len(self.levels)) if config.normalize_modulator else None
        self._project = Linear.named(tensors, f"{name}.context_proj")
        self._norm = DynamicTanh(tensors, f"{name}.norm") if config.use_post_norm else None
        self._out = Linear.named(tensors, f"{name}.out_proj")

    def __call__(self, x: F32, out: F32, state: FocalState, epilogue: int = WRITE) -> None:
        """Write the modulation of x into out, or add it; both are (rows, width)."""
        rows = x.shape[0]
        query, context, gates = state.query[:rows], state.context[:rows], state.gates[:rows]
        convolved, total = state.convolved[:rows], state.total[:rows]
        self._query(x, query)
        self._context(x, context)
        self._gates(x, gates)
        for i, (level, past) in enumerate(zip(self.levels, state.levels, strict=True)):
            level(context, convolved, past)
            focal.aggregate(convolved, gates, i, context, total)
        if self._divisor is not None:
            focal.divide(total, self._divisor)
        self._project(total, convolved)
        focal.modulate(convolved, query)
        if self._norm is not None:
            self._norm(convolved, total)
            convolved = total
        self._out(convolved, out, epilogue)


class FocalResiduals:
    """The residual connections of a focal block: modulation and feed-forward, each with a norm."""

    def __init__(
        self, config: FocalConfig, tensors: Tensors, name: str, norm: Callable[[Tensors, str], Norm]
    ) -> None:
        self.post_norm = config.use_post_norm
        self.modulation_norm = norm(tensors, f"{name}.modulation_norm")
        self._feed_forward_norm = norm(tensors, f"{name}.feed_forward_norm")
        self.feed_forward = FeedForward(tensors, f"{name}.feed_forward")
        scaled = config.use_layerscale
        self._modulation_gamma = tensors[f"{name}.modulation_gamma"] if scaled else None
        self._feed_forward_gamma = tensors[f"{name}.feed_forward_gamma"] if scaled else None

    def __call__(self, x: F32, modulate: Modulate, normed: F32, out: F32, hidden: F32) -> None:
        """Replace x (rows, width) by the block's output; the other arrays are workspace.

        ``modulate(signal, out, epilogue)`` writes the modulation of a signal, or adds it.
        """
        if self.post_norm:
            modulate(x, out, WRITE)
            self.modulation_norm(out, normed)
            _add(x, normed, self._modulation_gamma)
            self.feed_forward(x, out, hidden)
            self._feed_forward_norm(out, normed)
            _add(x, normed, self._feed_forward_gamma)
            return
        self.modulation_norm(x, normed)
        if self._modulation_gamma is None:
            modulate(normed, x, ADD)
        else:
            modulate(normed, out, WRITE)
            residual.add_scaled(x, out, self._modulation_gamma)
        self._feed_forward_norm(x, normed)
        if self._feed_forward_gamma is None:
            self.feed_forward(normed, x, hidden, ADD)
        else:
            self.feed_forward(normed, out, hidden)
            residual.add_scaled(x, out, self._feed_forward_gamma)


class FocalBlock:
    """Focal modulation and feed-forward, each with dynamic tanh and a residual connection."""

    def __init__(self, config: FocalConfig, tensors: Tensors, name: str, window: int) -> None:
        self.modulation = FocalModulation(config, tensors, f"{name}.modulation", window)
        self._residuals = FocalResiduals(config, tensors, name, DynamicTanh)
        self.feed_forward = self._residuals.feed_forward

    def state(self, max_rows: int) -> FocalState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return FocalState(self, max_rows)

    def __call__(self, x: F32, state: FocalState) -> None:
        """Replace x (rows, width) by the block's output."""
        rows = x.shape[0]

        def modulate(signal: F32, out: F32, epilogue: int) -> None:
            self.modulation(signal, out, state, epilogue)

        work = state.normed[:rows], state.out[:rows], state.hidden[:rows]
        self._residuals(x, modulate, *work)


def _add(x: F32, y: F32, gamma: F32 | None) -> None:
    if gamma is None:
        residual.add(x, y)
    else:
        residual.add_scaled(x, y, gamma)
