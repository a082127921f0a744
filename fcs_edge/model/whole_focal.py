"""Focal modulation block of compressor and decompressor over a whole signal (arXiv 2203.11926)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.ops import focal
from fcs_edge.model.focal import FocalResiduals
from fcs_edge.model.layers import (
    F32,
    WRITE,
    DepthwiseConv,
    LayerNorm,
    Linear,
    Tensors,
    new,
)
from fcs_edge.model.whole_blocks import BLOCK_ROWS, blocks, centred, rows_of
from fcs_edge.modelfile.config import FocalConfig


class _Work:
    """Workspace of a block of rows."""

    def __init__(self, width: int, inner: int) -> None:
        self.normed, self.query = new(BLOCK_ROWS, width), new(BLOCK_ROWS, width)
        self.out, self.convolved = new(BLOCK_ROWS, width), new(BLOCK_ROWS, width)
        self.hidden = new(BLOCK_ROWS, inner)


class _Contexts:
    """What `WholeFocalModulation` gathers over the whole signal."""

    def __init__(self, rows: int, width: int, levels: int) -> None:
        self.rows = rows
        self.gates, self.total = new(rows, levels), new(rows, width)
        self.sums = np.zeros(width, np.float64)
        """The last context, summed over all rows."""
        self.mean = new(width)
        """The global context: GELU of the mean."""


class WholeFocalModulation:
    """``out_proj(query * context_proj(sum of gated contexts))``; the last context is a mean.

    `gather` reads the whole signal. `__call__` then computes any rows.
    """

    def __init__(self, config: FocalConfig, tensors: Tensors, name: str) -> None:
        weight, bias = tensors.matrix(f"{name}.in_proj.weight"), tensors[f"{name}.in_proj.bias"]
        self.width = width = weight.shape[1]
        self._query, self._context, self._gates = (
            Linear(stored.rows(weight, start, stop), bias[start:stop])
            for start, stop in ((0, width), (width, 2 * width), (2 * width, bias.size))
        )
        self._taps = config.kernel_sizes(0)
        self._levels = [
            DepthwiseConv(tensors, f"{name}.layers.{level}.0", zeros=True)
            for level in range(len(self._taps))
        ]
        levels = len(self._taps) + 1
        self._divisor = np.float32(levels) if config.normalize_modulator else None
        self._project = Linear.named(tensors, f"{name}.context_proj")
        self._norm = LayerNorm(tensors, f"{name}.norm") if config.use_post_norm else None
        self._out = Linear.named(tensors, f"{name}.out_proj")

    def gather(self, rows: int, signal: Iterable[F32]) -> _Contexts:
        """Sum the gated contexts of a signal of so many rows, and average the last one."""
        found = _Contexts(rows, self.width, len(self._levels) + 1)
        contexts = self._contexts(signal, found)
        for level in range(len(self._levels)):
            contexts = self._filtered(level, contexts, found)
        for context in contexts:
            focal.add_rows(context, found.sums)
        focal.global_context(found.sums, rows, found.mean)
        return found

    def _contexts(self, signal: Iterable[F32], found: _Contexts) -> Iterator[F32]:
        """Yield the rows before the first level, and store the gates."""
        context, position = new(BLOCK_ROWS, self.width), 0
        for x in signal:
            rows = x.shape[0]
            self._gates(x, found.gates[position : position + rows])
            self._context(x, context[:rows])
            yield context[:rows]
            position += rows

    def _filtered(self, level: int, contexts: Iterable[F32], found: _Contexts) -> Iterator[F32]:
        """Yield the contexts of a level, and add them to the total by their gates."""
        context, position = new(BLOCK_ROWS, self.width), 0
        conv, taps = self._levels[level], self._taps[level]
        for convolved in centred(conv, taps, self.width, self.width, contexts):
            rows = convolved.shape[0]
            block = slice(position, position + rows)
            total = found.total[block]
            focal.aggregate(convolved, found.gates[block], level, context[:rows], total)
            yield context[:rows]
            position += rows

    def __call__(
        self, x: F32, block: slice, found: _Contexts, out: F32, work: _Work, epilogue: int = WRITE
    ) -> None:
        """Write the modulation of a block of rows x into out, or add it; both (rows, width)."""
        rows = x.shape[0]
        query, convolved, total = work.query[:rows], work.convolved[:rows], found.total[block]
        self._query(x, query)
        focal.aggregate_row(found.mean, found.gates[block], len(self._levels), total)
        if self._divisor is not None:
            focal.divide(total, self._divisor)
        self._project(total, convolved)
        focal.modulate(convolved, query)
        if self._norm is not None:
            self._norm(convolved, total)
            convolved = total
        self._out(convolved, out, epilogue)


class WholeFocalBlock:
    """Focal modulation and feed-forward, each with LayerNorm and a residual connection."""

    def __init__(self, config: FocalConfig, tensors: Tensors, name: str) -> None:
        self._modulation = WholeFocalModulation(config, tensors, f"{name}.modulation")
        self._residuals = FocalResiduals(config, tensors, name, LayerNorm)

    def __call__(self, x: F32) -> None:
        """Replace x (rows, width) by the block's output."""
        rows, width = x.shape
        work = _Work(width, self._residuals.feed_forward.inner)
        signal = rows_of(x) if self._residuals.post_norm else self._normed(x, work)
        found = self._modulation.gather(rows, signal)
        for block in blocks(rows):
            self._run(x[block], block, found, work)

    def _normed(self, x: F32, work: _Work) -> Iterator[F32]:
        for part in rows_of(x):
            normed = work.normed[: part.shape[0]]
            self._residuals.modulation_norm(part, normed)
            yield normed

    def _run(self, x: F32, block: slice, found: _Contexts, work: _Work) -> None:
        rows = x.shape[0]

        def modulate(signal: F32, out: F32, epilogue: int) -> None:
            self._modulation(signal, block, found, out, work, epilogue)

        self._residuals(x, modulate, work.normed[:rows], work.out[:rows], work.hidden[:rows])
