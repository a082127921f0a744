"""Stage 1 of a model that is not causal, WavLM: a whole signal to features.

Rows are computed in blocks. Beside the features, only the keys and values of one layer have a row
for each frame of the signal. Each row is computed in the same order, whatever rows stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fcs_edge.kernels.ops import history, residual
from fcs_edge.model.attention import distance_bias
from fcs_edge.model.layers import (
    ADD,
    F32,
    GELU,
    FeedForward,
    LayerNorm,
    Linear,
    Tensors,
    group_products,
    new,
)
from fcs_edge.model.whole_attention import WholeAttention, WholeMemory
from fcs_edge.model.whole_blocks import blocks
from fcs_edge.modelfile.config import EncoderConfig

_FRAMES = 32
"""Frames of a block of the feature extractor: its first convolution has 64 rows for each."""
_ROWS = 128
"""Rows of a block of the transformer: a weight, and a key, is read once for all of them."""

Progress = Callable[[float], None]


class WholeFeatureBlock:
    """Strided convolution without padding, LayerNorm, GELU."""

    def __init__(self, tensors: Tensors, name: str, kernel: int, stride: int) -> None:
        weight = tensors.matrix(f"{name}.conv.weight")
        self.kernel, self.stride = kernel, stride
        self.outputs, self._channels = weight.shape[0], weight.shape[1] // kernel
        (self._product,) = group_products(weight, None, 1)
        self._norm = LayerNorm(tensors, f"{name}.norm", active=True)

    def rows(self, inputs: int) -> int:
        """Return the rows of the output of so many rows."""
        return max(inputs - self.kernel, 0) // self.stride + 1

    def inputs(self, rows: int) -> int:
        """Return how many rows so many rows of the output read."""
        return (rows - 1) * self.stride + self.kernel

    def __call__(self, x: F32, work: F32, out: F32) -> F32:
        """Return the block's output of x (rows, in), in out; work is as large, and both are flat.

        x may lie in out. Fewer rows than the kernel has are followed by zeros.
        """
        if x.shape[0] < self.kernel:
            x = np.concatenate([x, new(self.kernel - x.shape[0], x.shape[1])])
        rows = self.rows(x.shape[0])
        y, normed = (a[: rows * self.outputs].reshape(rows, self.outputs) for a in (work, out))
        self._product(x.reshape(-1), self.stride * self._channels, y)
        self._norm(y, normed)
        return normed


class FeatureExtractor:
    """The convolutions, `encoder.norm` and `feature_proj`."""

    def __init__(self, config: EncoderConfig, tensors: Tensors) -> None:
        self._frame_size = config.frame_size
        self._blocks = [
            WholeFeatureBlock(tensors, f"encoder.feature_extractor.layers.{i}", kernel, stride)
            for i, (kernel, stride) in enumerate(
                zip(config.kernel_sizes, config.strides, strict=True)
            )
        ]
        self._norm = LayerNorm(tensors, "encoder.norm")
        self._project = Linear.named(tensors, "encoder.feature_proj")

    def _inputs(self, frames: int) -> list[int]:
        """Return the rows that so many frames read of each block's input, the samples last."""
        rows = [frames]
        for block in reversed(self._blocks):
            rows.append(block.inputs(rows[-1]))
        return rows[1:]

    def __call__(self, samples: F32, out: F32, progress: Progress) -> None:
        """Write the frames of samples (n,) into out (frames, dim)."""
        count = out.shape[0]
        outputs = [min(_FRAMES, count), *self._inputs(min(_FRAMES, count))]
        widths = [block.outputs for block in reversed(self._blocks)]
        size = max(rows * width for rows, width in zip(outputs, widths, strict=False))
        work, active = new(size), new(size)
        for frames in blocks(count, _FRAMES):
            first = frames.start * self._frame_size
            n_inputs = self._inputs(frames.stop - frames.start)[-1]
            x = samples[first : first + n_inputs].reshape(-1, 1)
            for block in self._blocks:
                x = block(x, work, active)
            normed = work[: x.size].reshape(x.shape)
            self._norm(x, normed)
            self._project(normed, out[frames])
            progress(frames.stop / count)


class PositionalConv:
    """``x += gelu(conv(x))``: a grouped convolution, padded with zeros to as many rows as x has.

    Row t of the convolution reads the rows t - kernel // 2 to t - kernel // 2 + kernel - 1.
    """

    def __init__(self, config: EncoderConfig, tensors: Tensors) -> None:
        name = "encoder.encoder.positional_embedding.conv"
        weight, bias = tensors.matrix(f"{name}.weight"), tensors[f"{name}.bias"]
        self._kernel, self._groups = config.conv_pos, config.conv_pos_groups
        self._products = group_products(weight, bias, self._groups)

    def __call__(self, x: F32) -> None:
        """Replace x (rows, dim). A window holds the rows around a block as they were."""
        count, dim = x.shape
        past = self._kernel - 1
        before = self._kernel // 2
        ahead, block = past - before, min(_ROWS, count)
        window = new(self._groups, past + block, dim // self._groups)
        active = new(block, dim)
        _append(x[:ahead], before, window[:, :past])
        for some in blocks(count, _ROWS):
            rows, column = some.stop - some.start, 0
            _append(x[some.start + ahead : some.stop + ahead], past, window[:, : past + rows])
            for part, product in zip(window, self._products, strict=True):
                product(part.reshape(-1), part.shape[1], active[:rows], column, GELU)
                column += product.outputs
            residual.add(x[some], active[:rows])
            history.keep_last(window, rows, past)


def _append(x: F32, past: int, window: F32) -> None:
    """Write x behind `past` rows of a window, by group of columns, and zeros behind x."""
    for group, columns in zip(window, np.split(x, len(window), axis=1), strict=True):
        group[past : past + len(x)] = columns
        group[past + len(x) :] = 0


class WholeTransformerLayer:
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, config: EncoderConfig, tensors: Tensors, name: str) -> None:
        self._attention_norm = LayerNorm(tensors, f"{name}.attention_norm")
        self.attention = WholeAttention(config, tensors, f"{name}.attention")
        self._feed_forward_norm = LayerNorm(tensors, f"{name}.feed_forward_norm")
        self._feed_forward = FeedForward(tensors, f"{name}.feed_forward")

    def store(self, x: F32, first: int, normed: F32, memory: WholeMemory) -> None:
        """Store keys and values of x, rows from `first` on; normed is workspace."""
        normed = normed[: x.shape[0]]
        self._attention_norm(x, normed)
        self.attention.store(normed, first, memory)

    def __call__(
        self, x: F32, first: int, bias: F32, normed: F32, hidden: F32, memory: WholeMemory
    ) -> None:
        """Replace x, rows from `first` on, by the layer's output; normed, hidden are workspace."""
        rows = x.shape[0]
        normed = normed[:rows]
        self._attention_norm(x, normed)
        self.attention(normed, x, first, bias, memory)
        self._feed_forward_norm(x, normed)
        self._feed_forward(normed, x, hidden[:rows], ADD)


class WholeEncoder:
    """Convolutional feature extractor, positional convolution and transformer, not causal."""

    def __init__(self, config: EncoderConfig, tensors: Tensors) -> None:
        self.config = config
        self._extract = FeatureExtractor(config, tensors)
        self._embed_position = PositionalConv(config, tensors)
        self._bias = tensors["encoder.encoder.relative_embedding.weight"]
        self._layers = [
            WholeTransformerLayer(config, tensors, f"encoder.encoder.layers.{i}")
            for i in range(config.num_layers)
        ]

    def __call__(self, samples: F32, on_progress: Progress | None = None) -> F32:
        """Return the features of a signal, (frames, dim) float32.

        Parameters
        ----------
        samples : numpy.ndarray
            (n,) float32.
        on_progress : callable, optional
            Called with the fraction of the work that is done, from time to time.
        """
        report = on_progress or _ignore
        x = new(self.config.n_frames(samples.size), self.config.dim)
        shares = self._shares(x.shape[0])
        self._extract(samples, x, lambda done: report(done * shares[0]))
        self._embed_position(x)
        self._transform(x, lambda done: report(shares[0] + done * shares[1]))
        return x

    def _shares(self, count: int) -> Sequence[float]:
        """Return the fractions of the work of so many rows before the transformer, and in it."""
        config, wide = self.config, self.config.dim
        before, inputs = 0, 1
        for kernel, outputs, stride in zip(
            config.kernel_sizes, config.hidden_dims, config.strides, strict=True
        ):
            before, inputs = before * stride + kernel * inputs * outputs, outputs
        before += wide * (inputs + wide // config.conv_pos_groups * config.conv_pos)
        layer = wide * (4 * wide + 2 * config.ffn_dim + 2 * count)
        total = before + config.num_layers * layer
        return before / total, 1 - before / total

    def _transform(self, x: F32, progress: Progress) -> None:
        """Replace x (rows, dim) by the output of all layers."""
        if not self._layers:
            return
        count, block = x.shape[0], min(_ROWS, x.shape[0])
        reach = min(self.config.max_distance, count - 1)
        bias = distance_bias(self._bias, self.config, -reach, reach)
        memory = WholeMemory(self._layers[0].attention, count, block)
        normed, hidden = new(block, self.config.dim), new(block, self.config.ffn_dim)
        for i, layer in enumerate(self._layers):
            for rows in blocks(count, _ROWS):
                layer.store(x[rows], rows.start, normed, memory)
            for rows in blocks(count, _ROWS):
                layer(x[rows], rows.start, bias, normed, hidden, memory)
                progress((i + rows.stop / count) / len(self._layers))


def _ignore(done: float) -> None:
    """Do nothing with the fraction that is done."""
