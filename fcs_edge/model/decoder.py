"""Stage 5, causal WaveNeXt: features to samples (backbone of arXiv 2306.00814, linear head)."""

from __future__ import annotations

from fcs_edge.kernels.ops import residual, samples
from fcs_edge.model.layers import (
    F32,
    Array,
    CausalConv,
    DepthwiseConv,
    FeedForward,
    LayerNorm,
    Linear,
    RingState,
    State,
    Tensors,
    histories,
    new,
)
from fcs_edge.modelfile.config import DecoderConfig, VocosConfig

_EPS = 1e-6


class ConvNextBlock:
    """``x += gamma * pwconv2(gelu(pwconv1(norm(dwconv(x)))))``."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self.conv = DepthwiseConv(tensors, f"{name}.dwconv", zeros=True)
        self._norm = LayerNorm(tensors, f"{name}.norm", _EPS)
        self._feed_forward = FeedForward(tensors, name, "pwconv1", "pwconv2")
        self._gamma = tensors[f"{name}.gamma"]

    def __call__(self, x: F32, state: DecoderState, past: RingState) -> None:
        """Replace x (rows, dim) by the block's output."""
        rows = x.shape[0]
        y, normed = state.y[:rows], state.normed[:rows]
        self.conv(x, y, past)
        self._norm(y, normed)
        self._feed_forward(normed, y, state.hidden[:rows])
        residual.add_scaled(x, y, self._gamma)


class DecoderState:
    """The state of one stream in the decoder, and its workspace."""

    def __init__(self, decoder: Decoder, max_rows: int) -> None:
        config = decoder.config
        self.embedding = decoder.embedding.state(max_rows)
        self.blocks = [block.conv.state(max_rows) for block in decoder.blocks]
        self.x = new(max_rows, config.dim)
        self.y = new(max_rows, config.dim)
        self.normed = new(max_rows, config.dim)
        self.hidden = new(max_rows, config.ffn_dim)
        self.samples = new(max_rows, config.hop_length)

    def reset(self) -> None:
        """Start a new stream."""
        for part in self._parts():
            part.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self._parts())

    def _parts(self) -> list[State]:
        return [self.embedding, *self.blocks]


class Decoder:
    """Embedding convolution, ConvNeXt blocks and a linear head; the history starts as zeros."""

    def __init__(self, config: DecoderConfig | VocosConfig, tensors: Tensors) -> None:
        self.config = config
        name = "decoder.backbone"
        self.embedding = CausalConv(
            tensors.matrix(f"{name}.embedding.weight"),
            tensors[f"{name}.embedding.bias"],
            config.kernel_size,
            zeros=True,
        )
        self._input_norm = LayerNorm(tensors, f"{name}.input_norm", _EPS)
        self.blocks = [
            ConvNextBlock(tensors, f"{name}.layers.{i}") for i in range(config.num_layers)
        ]
        self._output_norm = LayerNorm(tensors, f"{name}.output_norm", _EPS)
        self._head = Linear.named(tensors, "decoder.head.proj")

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
            (frames * hop_length,) float32, in [-1, 1].
        state : DecoderState
            The stream's state; it advances by these frames.
        """
        rows = features.shape[0]
        x, y, joined = state.x[:rows], state.y[:rows], state.samples[:rows]
        self.embedding(features, y, state.embedding)
        self._input_norm(y, x)
        for block, past in zip(self.blocks, state.blocks, strict=True):
            block(x, state, past)
        self._output_norm(x, y)
        self._head(y, joined)
        samples.clip(joined.reshape(-1), out)
