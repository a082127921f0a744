"""Layers that the stages share.

A layer holds weights and never changes. Its `state` method creates the state of one stream: the
history that later chunks need, and workspace. A state resumes the stream of another one whose
history is copied into its own.
Activations are (rows, channels) float32. A call takes at most the rows that the state was created
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import F16
from fcs_edge.kernels._types import F32 as F32
from fcs_edge.kernels._types import U16 as U16
from fcs_edge.kernels.gemm import linear
from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.gemm.linear import ADD as ADD
from fcs_edge.kernels.gemm.linear import GELU as GELU
from fcs_edge.kernels.gemm.linear import WRITE as WRITE
from fcs_edge.kernels.gemm.quantized_weights import Weight as Weight
from fcs_edge.kernels.ops import depthwise, history, layer_norm, noise
from fcs_edge.kernels.runtime import memory

Array: TypeAlias = NDArray[Any]


class Tensors(Protocol):
    """A model's tensors, by published name."""

    def __getitem__(self, name: str) -> F32:
        """Return a tensor as float32."""

    def floats(self, name: str) -> F32 | F16:
        """Return a tensor as it is stored, float32 or float16."""

    def matrix(self, name: str) -> Weight:
        """Return a weight of matrix products as it is stored, (outputs, depth).

        For a convolution, depth is kernel x channels. For a transposed convolution, outputs is
        kernel x channels.
        """


class State(Protocol):
    """What a layer or a stage retains from chunk to chunk."""

    def reset(self) -> None:
        """Start a new stream."""

    def history(self) -> list[Array]:
        """Return the arrays that later chunks read, or views of them; all else is workspace."""


def histories(states: Iterable[State]) -> list[Array]:
    """Return the history of several states, one after the other."""
    return [array for state in states for array in state.history()]


def new(*shape: int) -> F32:
    """Return a float32 array of zeros for activations."""
    array: F32 = memory.new(shape, np.float32)
    return array


class Linear:
    """``y = x @ weight.T + bias``."""

    def __init__(self, weight: Weight, bias: F32 | None) -> None:
        self._product = linear.prepare(weight, bias)
        self.outputs = self._product.outputs

    @classmethod
    def named(cls, tensors: Tensors, name: str) -> Linear:
        """Build from ``name.weight`` and ``name.bias``; a 1x1 convolution counts as linear."""
        return cls(tensors.matrix(f"{name}.weight"), tensors[f"{name}.bias"])

    def __call__(self, x: F32, out: F32, epilogue: int = WRITE) -> None:
        """Write y of x (rows, inputs) or gelu(y) into out (rows, outputs), or add y to it."""
        self._product(x.reshape(-1), x.shape[1], out, 0, epilogue)


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
        """Write y of x into out; both are (rows, columns)."""
        self._kernel(x, self._weight, self._bias, self._eps, out)


class FeedForward:
    """``y = out_proj(gelu(in_proj(x)))``."""

    def __init__(
        self, tensors: Tensors, name: str, first: str = "in_proj", last: str = "out_proj"
    ) -> None:
        self._first = Linear.named(tensors, f"{name}.{first}")
        self._last = Linear.named(tensors, f"{name}.{last}")
        self.inner = self._first.outputs

    def __call__(self, x: F32, out: F32, hidden: F32, epilogue: int = WRITE) -> None:
        """Write y of x into out, or add it; hidden, (rows, inner), is workspace."""
        self._first(x, hidden, GELU)
        self._last(hidden, out, epilogue)


class ConvState:
    """The last kernel - 1 input rows of a convolution, by channel group, then the new rows."""

    def __init__(
        self, groups: int, past: int, max_rows: int, channels: int, zeros: bool = False
    ) -> None:
        self.past = past
        self.rows = new(groups, past + max_rows, channels)
        self.primed = np.zeros(1, np.int64)
        self._zeros = zeros
        self.reset()

    def reset(self) -> None:
        """Start a new stream; its history is zeros, or copies of its first row."""
        self.primed[0] = self._zeros
        if self._zeros:
            self.rows[:] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [self.primed, self.rows[:, : self.past]]


def group_products(weight: Weight, bias: F32 | None, groups: int) -> list[linear.Linear]:
    """Return the matrix product of each group of a convolution: outputs are cut evenly."""
    size = weight.shape[0] // groups
    return [
        linear.prepare(
            stored.rows(weight, g * size, (g + 1) * size),
            None if bias is None else bias[g * size : (g + 1) * size],
        )
        for g in range(groups)
    ]


class CausalConv:
    """A causal convolution, computed as matrix products with windows of rows.

    The history at the start of a stream is zeros, or copies of its first row.

    Parameters
    ----------
    weight : Weight
        (outputs, kernel * inputs / groups).
    bias : numpy.ndarray or None
        (outputs,) float32.
    kernel, stride, groups : int
        As in torch.nn.Conv1d.
    zeros : bool
        Whether the history starts as zeros.
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
        self._products = group_products(weight, bias, groups)

    def state(self, max_rows: int) -> ConvState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return ConvState(
            self._groups, self._kernel - 1, max_rows, self._channels, zeros=self._zeros
        )

    def __call__(self, x: F32, out: F32, state: ConvState, epilogue: int = WRITE) -> None:
        """Write the convolution of x (rows, in), or its GELU, into out (ceil(rows / stride), out).

        Row i reads x up to row ``i * stride``.
        """
        history.append(x, state.past, state.primed, state.rows)
        self._convolve(x.shape[0], out, state, epilogue)

    def _convolve(self, rows: int, out: F32, state: ConvState, epilogue: int) -> None:
        """Write the convolution of the rows behind the past; the last rows become the past."""
        column = 0
        for window, product in zip(state.rows, self._products, strict=True):
            product(window.reshape(-1), self._stride * self._channels, out, column, epilogue)
            column += product.outputs
        history.keep_last(state.rows, rows, state.past)


class NoisyState(ConvState):
    """The last rows of features and noise, and the number of the next row."""

    def __init__(self, past: int, max_rows: int, channels: int) -> None:
        self.number = np.zeros(1, np.int64)
        """Rows since the stream's start, modulo 2^32."""
        super().__init__(1, past, max_rows, channels, zeros=True)

    def reset(self) -> None:
        """Start a new stream."""
        super().reset()
        self.number[0] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `State`."""
        return [self.number, self.rows[:, : self.past]]


class NoisyConv(CausalConv):
    """A causal convolution of rows beside which seeded noise stands; its history starts as zeros.

    Its weight has the columns of the rows, then those of the noise. `kernels.ops.noise` says which
    noise a row has.
    """

    def state(self, max_rows: int) -> NoisyState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return NoisyState(self._kernel - 1, max_rows, self._channels)

    def __call__(self, x: F32, out: F32, state: ConvState, epilogue: int = WRITE) -> None:
        """Write the convolution of x (rows, in) and its noise, or its GELU, into out."""
        assert isinstance(state, NoisyState)
        noise.append(x, state.past, state.number, state.rows)
        self._convolve(x.shape[0], out, state, epilogue)


class RingState:
    """The last input rows of a depthwise convolution, in a ring."""

    def __init__(self, ring: F32, zeros: bool = False) -> None:
        self.ring = ring
        self.cursor = np.zeros(2, np.int64)
        self._zeros = zeros
        self.reset()

    def reset(self) -> None:
        """Start a new stream; its history is zeros, or copies of its first row."""
        self.cursor[:] = 0, self._zeros
        if self._zeros:
            self.ring[:] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [self.cursor, self.ring]


class DepthwiseConv:
    """A causal depthwise convolution, weight (channels, 1, kernel).

    The history at the start of a stream is zeros, or copies of its first row. With `half` it is
    stored as float16.
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
        """Write the convolution of x into out; both are (rows, channels)."""
        self._conv(x, state.ring, state.cursor, out)
