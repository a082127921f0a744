"""Layers that several stages are built from.

A layer holds weights and never changes. What a stream carries from chunk to chunk, and the
memory it works in, is a state the layer makes; `copy.deepcopy` of a state resumes the stream.
Activations are (rows, channels) float32; a call takes any number of rows up to the state's.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from fcs_edge.kernels._types import F16
from fcs_edge.kernels._types import F32 as F32
from fcs_edge.kernels._types import U16 as U16
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.linear import ADD as ADD
from fcs_edge.kernels.gemm.linear import GELU as GELU
from fcs_edge.kernels.gemm.linear import WRITE as WRITE
from fcs_edge.kernels.gemm.quantized_weights import Weight as Weight
from fcs_edge.kernels.ops import depthwise, history, layer_norm


class Tensors(Protocol):
    """A model's tensors by their published names."""

    def __getitem__(self, name: str) -> F32:
        """Return a tensor as float32."""

    def floats(self, name: str) -> F32 | F16:
        """Return a tensor as it is stored, float32 or float16."""

    def matrix(self, name: str) -> Weight:
        """Return a weight of matrix products as it is stored, (outputs, depth).

        A convolution's is its windows' weight, depth kernel x channels; a transposed
        convolution's has kernel x outputs rows.
        """


class State(Protocol):
    """What a layer or a stage carries from chunk to chunk."""

    def reset(self) -> None:
        """Start a new stream."""


def new(*shape: int) -> F32:
    """Return memory for activations, (shape) float32, zeroed."""
    return np.zeros(shape, np.float32)


class Linear:
    """``y = x @ weight.T + bias``."""

    def __init__(self, weight: Weight, bias: F32 | None) -> None:
        self._product = linear.prepare(weight, bias)
        self.outputs = self._product.outputs

    @classmethod
    def named(cls, tensors: Tensors, name: str) -> Linear:
        """Build from ``name.weight`` and ``name.bias``; a 1x1 convolution counts as linear."""
        return cls(tensors.matrix(f"{name}.weight"), tensors[f"{name}.bias"])

    def __call__(self, x: F32, out: F32, finish: int = WRITE) -> None:
        """Write y of x (rows, inputs), gelu(y), or the sum with y into out (rows, outputs)."""
        self._product(x.reshape(-1), x.shape[1], out, 0, finish)


class LayerNorm:
    """``y = (x - mean) / sqrt(variance + eps) * weight + bias`` over columns, or its GELU."""

    def __init__(
        self, tensors: Tensors, name: str, eps: float = 1e-5, active: bool = False
    ) -> None:
        self._weight = tensors[f"{name}.weight"]
        self._bias = tensors[f"{name}.bias"]
        self._eps = np.float32(eps)
        self._kernel = layer_norm.layer_norm_gelu if active else layer_norm.layer_norm

    def __call__(self, x: F32, out: F32) -> None:
        """Write y of x into out, both (rows, columns)."""
        self._kernel(x, self._weight, self._bias, self._eps, out)


class FeedForward:
    """``y = out_proj(gelu(in_proj(x)))``."""

    def __init__(
        self, tensors: Tensors, name: str, first: str = "in_proj", last: str = "out_proj"
    ) -> None:
        self._first = Linear.named(tensors, f"{name}.{first}")
        self._last = Linear.named(tensors, f"{name}.{last}")
        self.inner = self._first.outputs

    def __call__(self, x: F32, out: F32, hidden: F32, finish: int = WRITE) -> None:
        """Write y of x into out, or add it; hidden, (rows, inner), is worked in."""
        self._first(x, hidden, GELU)
        self._last(hidden, out, finish)


class ConvState:
    """The last kernel - 1 rows of a convolution's input, by channel group, and room for more."""

    def __init__(
        self, groups: int, past: int, max_rows: int, channels: int, zeros: bool = False
    ) -> None:
        self.past = past
        self.rows = new(groups, past + max_rows, channels)
        self.begun = np.zeros(1, np.int64)
        self._zeros = zeros
        self.reset()

    def reset(self) -> None:
        """Start a new stream: its past is zeros, or the first row that will come."""
        self.begun[0] = self._zeros
        if self._zeros:
            self.rows[:] = 0


class CausalConv:
    """A causal convolution as products with windows of rows, weight (out, kernel * in / groups).

    When a stream starts, the past is the first row repeated, or zeros.
    """

    def __init__(
        self,
        weight: Weight,
        bias: F32 | None,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        zeros: bool = False,
    ) -> None:
        self.outputs, depth = weight.shape
        self._channels, self._kernel = depth // kernel, kernel
        self._stride, self._groups, self._zeros = stride, groups, zeros
        size = self.outputs // groups
        self._products = [
            linear.prepare(
                stored.rows(weight, g * size, (g + 1) * size),
                None if bias is None else bias[g * size : (g + 1) * size],
            )
            for g in range(groups)
        ]

    def state(self, max_rows: int) -> ConvState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return ConvState(
            self._groups, self._kernel - 1, max_rows, self._channels, zeros=self._zeros
        )

    def __call__(self, x: F32, out: F32, state: ConvState, finish: int = WRITE) -> None:
        """Write the convolution of x (rows, in), or its GELU, into out (rows / stride, out)."""
        rows, past = x.shape[0], state.past
        history.append(x, past, state.begun, state.rows)
        column = 0
        for window, product in zip(state.rows, self._products, strict=True):
            product(window.reshape(-1), self._stride * self._channels, out, column, finish)
            column += product.outputs
        history.keep_last(state.rows, rows, past)


class RingState:
    """The last rows of a depthwise convolution's input, in a ring."""

    def __init__(self, ring: F32, zeros: bool = False) -> None:
        self.ring = ring
        self.place = np.zeros(2, np.int64)
        self._zeros = zeros
        self.reset()

    def reset(self) -> None:
        """Start a new stream: its past is zeros, or the first row that will come."""
        self.place[:] = 0, self._zeros
        if self._zeros:
            self.ring[:] = 0


class DepthwiseConv:
    """A causal depthwise convolution, kernel [channels, 1, k].

    When a stream starts, the past is the first row repeated, or zeros; it may be kept as float16.
    """

    def __init__(
        self, tensors: Tensors, name: str, zeros: bool = False, half: bool = False
    ) -> None:
        weight = np.ascontiguousarray(tensors.floats(f"{name}.weight")[:, 0].T)
        self._conv = depthwise.prepare(weight, tensors[f"{name}.bias"], half)
        self._zeros = zeros

    def state(self, max_rows: int) -> RingState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return RingState(self._conv.ring(max_rows), self._zeros)

    def __call__(self, x: F32, out: F32, state: RingState) -> None:
        """Write the convolution of x into out, both (rows, channels)."""
        self._conv(x, state.ring, state.place, out)
