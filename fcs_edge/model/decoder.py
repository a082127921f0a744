"""Stage 5, causal WaveNeXt or Vocos: features to samples (backbone of arXiv 2306.00814)."""

from __future__ import annotations

from typing import Any

from fcs_edge.kernels.ops import residual, samples
from fcs_edge.model.layers import (
    F32,
    Array,
    CausalConv,
    DepthwiseConv,
    FeedForward,
    LayerNorm,
    Linear,
    NoisyConv,
    RingState,
    State,
    Tensors,
    histories,
    new,
)
from fcs_edge.model.vocos import VocosHead
from fcs_edge.modelfile.config import DecoderConfig, VocosConfig

_EPS = 1e-6


class ConvNextBlock:
    """``x += gamma * pwconv2(gelu(pwconv1(norm(dwconv(x)))))``."""

    def __init__(self, tensors: Tensors, name: str, zeros: bool) -> None:
        self.conv = DepthwiseConv(tensors, f"{name}.dwconv", zeros)
        self._norm = LayerNorm(tensors, f"{name}.norm", _EPS)
        self._feed_forward = FeedForward(tensors, name, "pwconv1", "pwconv2")
        self._gamma = tensors[f"{name}.gamma"]

    def __call__(self, x: F32, state: DecoderState, past: RingState) -> None:
        """Replace x (rows, dim) by the block's output."""
        rows = x.shape[0]
        y = state.y[:rows]
        self.conv(x, y, past)
        self.add(x, y, state.normed[:rows], state.hidden[:rows])

    def add(self, x: F32, y: F32, normed: F32, hidden: F32) -> None:
        """Add to x what the block makes of y, its convolution; y, normed and hidden are lost."""
        self._norm(y, normed)
        self._feed_forward(normed, y, hidden)
        residual.add_scaled(x, y, self._gamma)


class Backbone:
    """The layers before the head."""

    def __init__(self, config: DecoderConfig | VocosConfig, tensors: Tensors, zeros: bool) -> None:
        name = "decoder.backbone"
        noisy = config.row_dim > config.input_dim
        self.embedding = (NoisyConv if noisy else CausalConv)(
            tensors.matrix(f"{name}.embedding.weight"),
            tensors[f"{name}.embedding.bias"],
            config.kernel_size,
            zeros=zeros,
        )
        self.input_norm = LayerNorm(tensors, f"{name}.input_norm", _EPS)
        self.blocks = [
            ConvNextBlock(tensors, f"{name}.layers.{i}", zeros) for i in range(config.num_layers)
        ]
        self.output_norm = LayerNorm(tensors, f"{name}.output_norm", _EPS)


class DecoderState:
    """The state of one stream in the decoder, and its workspace."""

    def __init__(self, decoder: Decoder, max_rows: int) -> None:
        config, backbone = decoder.config, decoder.backbone
        self.embedding = backbone.embedding.state(max_rows)
        self.blocks = [block.conv.state(max_rows) for block in backbone.blocks]
        self.x = new(max_rows, config.dim)
        self.y = new(max_rows, config.dim)
        self.normed = new(max_rows, config.dim)
        self.hidden = new(max_rows, config.ffn_dim)
        self.head = decoder.head.work(max_rows)

    def reset(self) -> None:
        """Start a new stream."""
        for part in self._parts():
            part.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self._parts())

    def _parts(self) -> list[State]:
        heads = [self.head] if isinstance(self.head, OverlapState) else []
        return [self.embedding, *self.blocks, *heads]


class LinearHead:
    """A projection of each row to its samples, clipped to [-1, 1]."""

    def __init__(self, config: DecoderConfig, tensors: Tensors) -> None:
        self._hop = config.hop_length
        self._project = Linear.named(tensors, "decoder.head.proj")

    def work(self, max_rows: int) -> F32:
        """Return workspace for calls of up to `max_rows` rows."""
        return new(max_rows, self._hop)

    def __call__(self, x: F32, out: F32, work: F32) -> None:
        """Write the samples of x (rows, dim) into out, (rows * hop_length,)."""
        joined = work[: x.shape[0]]
        self._project(x, joined)
        samples.clip(joined.reshape(-1), out)


class OverlapState:
    """What the last row adds to the next one's samples, and workspace."""

    def __init__(self, max_rows: int, window: int, hop: int) -> None:
        self.projected = new(max_rows, window)
        self.tail = new(window - hop)

    def reset(self) -> None:
        """Start a new stream."""
        self.tail[:] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [self.tail]


class OverlapHead:
    """A projection of each row to its samples and to those that it adds to the next row's."""

    def __init__(self, config: DecoderConfig, tensors: Tensors) -> None:
        self._sizes = config.head_dim, config.hop_length
        self._project = Linear.named(tensors, "decoder.head.proj")

    def work(self, max_rows: int) -> OverlapState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return OverlapState(max_rows, *self._sizes)

    def __call__(self, x: F32, out: F32, work: OverlapState) -> None:
        """Write the samples of x (rows, dim), in [-1, 1], into out, (rows * hop_length,)."""
        projected = work.projected[: x.shape[0]]
        self._project(x, projected)
        samples.overlap_add(projected, work.tail, out)


class Decoder:
    """Embedding convolution, ConvNeXt blocks and a head.

    The history starts as zeros with WaveNeXt, and as copies of the first row with Vocos.
    """

    def __init__(self, config: DecoderConfig | VocosConfig, tensors: Tensors) -> None:
        self.config = config
        self.head: Any
        """Either head has its own kind of workspace."""
        if isinstance(config, VocosConfig):
            self.head = VocosHead(config, tensors)
        elif config.head_dim > config.hop_length:
            self.head = OverlapHead(config, tensors)
        else:
            self.head = LinearHead(config, tensors)
        zeros = not isinstance(config, VocosConfig)
        self.backbone = Backbone(config, tensors, zeros)

    def state(self, max_rows: int) -> DecoderState:
        """Return the state of a new stream whose calls take up to `max_rows` frames."""
        return DecoderState(self, max_rows)

    def __call__(self, features: F32, out: F32, state: DecoderState) -> None:
        """Write the samples of features.

        Parameters
        ----------
        features : numpy.ndarray
            (frames, input_dim) float32.
        out : numpy.ndarray
            (frames * hop_length,) float32; in [-1, 1] from WaveNeXt.
        state : DecoderState
            The stream's state; it advances by these frames.
        """
        rows, backbone = features.shape[0], self.backbone
        x, y = state.x[:rows], state.y[:rows]
        backbone.embedding(features, y, state.embedding)
        backbone.input_norm(y, x)
        for block, past in zip(backbone.blocks, state.blocks, strict=True):
            block(x, state, past)
        backbone.output_norm(x, y)
        self.head(y, out, state.head)
