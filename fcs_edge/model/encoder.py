"""Stage 1, causal WavLM: samples to features."""

from __future__ import annotations

from fcs_edge.kernels.ops import residual
from fcs_edge.model.attention import Attention, AttentionState, chunk_biases, position_bias
from fcs_edge.model.layers import (
    ADD,
    F32,
    GELU,
    Array,
    CausalConv,
    ConvState,
    FeedForward,
    LayerNorm,
    Linear,
    State,
    Tensors,
    histories,
    new,
)
from fcs_edge.modelfile.config import EncoderConfig


class FeatureBlock:
    """Strided causal convolution, LayerNorm, GELU."""

    def __init__(self, tensors: Tensors, name: str, kernel: int, stride: int) -> None:
        self.stride = stride
        self.conv = CausalConv(tensors.matrix(f"{name}.conv.weight"), None, kernel, stride)
        self.outputs = self.conv.outputs
        self._norm = LayerNorm(tensors, f"{name}.norm", active=True)

    def __call__(self, x: F32, out: F32, work: F32, conv: ConvState) -> None:
        """Write the block's output of x (rows, in) into out (ceil(rows / stride), out)."""
        self.conv(x, work, conv)
        self._norm(work, out)


class TransformerLayer:
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, config: EncoderConfig, tensors: Tensors, name: str, biases: F32) -> None:
        self._attention_norm = LayerNorm(tensors, f"{name}.attention_norm")
        self.attention = Attention(config, tensors, f"{name}.attention", biases)
        self._feed_forward_norm = LayerNorm(tensors, f"{name}.feed_forward_norm")
        self._feed_forward = FeedForward(tensors, f"{name}.feed_forward")

    def __call__(self, x: F32, state: EncoderState, attention: AttentionState) -> None:
        """Replace x (rows, dim) by the layer's output."""
        rows = x.shape[0]
        normed = state.normed[:rows]
        self._attention_norm(x, normed)
        self.attention(normed, x, attention)
        self._feed_forward_norm(x, normed)
        self._feed_forward(normed, x, state.hidden[:rows], ADD)


class EncoderState:
    """The state of one stream in the encoder, and its workspace."""

    def __init__(self, encoder: Encoder, max_chunks: int) -> None:
        config = encoder.config
        rows = max_chunks * config.frame_size * config.chunk_frames
        self.convs: list[ConvState] = []
        self.blocks: list[tuple[F32, F32]] = []
        for block in encoder.blocks:
            self.convs.append(block.conv.state(rows))
            rows //= block.stride
            self.blocks.append((new(rows, block.outputs), new(rows, block.outputs)))
        self.positional = encoder.positional.state(rows)
        self.attention = [layer.attention.state(rows) for layer in encoder.layers]
        self.normed = new(rows, config.dim)
        self.hidden = new(rows, config.ffn_dim)

    def reset(self) -> None:
        """Start a new stream."""
        for part in self._parts():
            part.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self._parts())

    def _parts(self) -> list[State]:
        return [*self.convs, self.positional, *self.attention]


class Encoder:
    """Convolutional feature extractor, positional convolution and transformer."""

    def __init__(self, config: EncoderConfig, tensors: Tensors) -> None:
        self.config = config
        self.blocks = [
            FeatureBlock(tensors, f"encoder.feature_extractor.layers.{i}", kernel, stride)
            for i, (kernel, stride) in enumerate(
                zip(config.kernel_sizes, config.strides, strict=True)
            )
        ]
        self._norm = LayerNorm(tensors, "encoder.norm")
        self._project = Linear.named(tensors, "encoder.feature_proj")
        conv = "encoder.encoder.positional_embedding.conv"
        self.positional = CausalConv(
            tensors.matrix(f"{conv}.weight"),
            tensors[f"{conv}.bias"],
            config.conv_pos,
            groups=config.conv_pos_groups,
        )
        bias = position_bias(tensors["encoder.encoder.relative_embedding.weight"], config)
        self.biases = chunk_biases(bias, config)
        """The position biases that all layers read."""
        self.layers = [
            TransformerLayer(config, tensors, f"encoder.encoder.layers.{i}", self.biases)
            for i in range(config.num_layers)
        ]

    def state(self, max_chunks: int = 1) -> EncoderState:
        """Return the state of a new stream whose calls take up to `max_chunks` chunks."""
        return EncoderState(self, max_chunks)

    def __call__(self, samples: F32, out: F32, state: EncoderState) -> None:
        """Write the features of whole chunks, and of a partial one at the end of the stream.

        A partial chunk is computed on its own rows: none is added. Row i of a convolution of
        stride s reads its input up to row ``i * s``, so each block has ``ceil(rows / stride)``.

        Parameters
        ----------
        samples : numpy.ndarray
            (n,) float32. Where the last chunk is partial, the stream ends with it.
        out : numpy.ndarray
            (ceil(n / frame_size), dim) float32.
        state : EncoderState
            The stream's state; it advances by these samples.
        """
        x = samples.reshape(-1, 1)
        for block, (y, work), conv in zip(self.blocks, state.blocks, state.convs, strict=True):
            rows = -(-x.shape[0] // block.stride)
            block(x, y[:rows], work[:rows], conv)
            x = y[:rows]
        work = state.blocks[-1][1][: x.shape[0]]
        self._norm(x, work)
        self._project(work, out)
        self._embed_position(out, state)
        for layer, attention in zip(self.layers, state.attention, strict=True):
            layer(out, state, attention)

    def _embed_position(self, x: F32, state: EncoderState) -> None:
        active = state.normed[: x.shape[0]]
        self.positional(x, active, state.positional, GELU)
        residual.add(x, active)
