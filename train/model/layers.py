"""Layers that several stages share. Activations are (batch, rows, channels) float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Depthwise(torch.autograd.Function):
    """``y[t, c] = bias[c] + sum_k weight[k, c] x[t + k, c]``, x already padded on the left.

    PyTorch's own depthwise convolution wants channels first; a pass a tap over rows that the
    cache holds is several times faster on a CPU, forwards and backwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Take x (batch, rows + k - 1, channels), weight (k, channels), bias (channels,)."""
        ctx.save_for_backward(x, weight)
        n = x.shape[1] - len(weight) + 1
        y = torch.addcmul(bias, x[:, :n], weight[0])
        for k in range(1, len(weight)):
            y.addcmul_(x[:, k : k + n], weight[k])
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        (grad,) = grads
        n = grad.shape[1]
        grad_x, grad_weight = torch.zeros_like(x), torch.empty_like(weight)
        for k in range(len(weight)):
            grad_x[:, k : k + n].addcmul_(grad, weight[k])
            grad_weight[k] = (x[:, k : k + n] * grad).sum((0, 1))
        return grad_x, grad_weight, grad.sum((0, 1))


class CausalConv(nn.Module):
    """A convolution whose past is the first row repeated, or zeros.

    Parameters
    ----------
    width_in, width_out : int
        Channels.
    taps, stride, groups : int
        As in `torch.nn.Conv1d`; `groups` is 1, a divisor, or all channels (depthwise).
    bias : bool
        Whether it has one.
    zeros : bool
        Whether the past is zeros, as in the decoder.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        taps: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        zeros: bool = False,
    ) -> None:
        super().__init__()
        fan_in = width_in // groups * taps
        self.weight = nn.Parameter(torch.randn(width_out, width_in // groups, taps) * fan_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(width_out)) if bias else None
        self.taps, self.stride, self.groups, self.zeros = taps, stride, groups, zeros

    def padded(self, x: Tensor) -> Tensor:
        """Return x, (batch, rows, channels), after the ``taps - 1`` rows of its past."""
        past = self.taps - 1
        if past == 0:
            return x
        if self.zeros:
            return functional.pad(x, (0, 0, past, 0))
        return torch.cat([x[:, :1].expand(-1, past, -1), x], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Take (batch, rows, width_in), rows a multiple of stride; return a row for each stride."""
        rows = x.shape[1] // self.stride
        if self.groups == x.shape[2] and self.groups > 1:
            return Depthwise.apply(self.padded(x), self.weight[:, 0].t().contiguous(), self.bias)
        if self.taps == self.stride:
            # The one row of the past, or rather none: a window ends where its stride ends.
            x = self.padded(x)[:, : rows * self.stride]
            return self._product(x.reshape(x.shape[0], rows, -1))
        x = self.padded(x)
        if x.shape[2] == 1:
            return self._product(x[..., 0].unfold(1, self.taps, self.stride)[:, :rows])
        if self.groups > 1:
            y = functional.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=self.groups)
            return y.transpose(1, 2)
        last = self.stride * (rows - 1) + 1
        taps = [x[:, k : k + last : self.stride] for k in range(self.taps)]
        return self._product(torch.cat(taps, -1))

    def _product(self, windows: Tensor) -> Tensor:
        """Multiply (batch, rows, taps x width_in) windows with the weights."""
        return functional.linear(windows, self.weight.permute(0, 2, 1).flatten(1), self.bias)


class FeedForward(nn.Module):
    """``out_proj(GELU(in_proj(x)))``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width) to the same shape."""
        y: Tensor = self.out_proj(functional.gelu(self.in_proj(x)))
        return y


class Snake(nn.Module):
    """``x + sin(alpha x)^2 / (alpha + 1e-9)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, rows, width) to the same shape."""
        alpha = self.alpha[:, 0]
        return x + torch.sin(alpha * x).square() / (alpha + 1e-9)


class DynamicTanh(nn.Module):
    """``tanh(alpha x)``, what focal blocks have in place of a norm."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), alpha))

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return torch.tanh(self.alpha * x)
