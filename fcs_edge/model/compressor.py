"""Stage 2, causal focal encoder: features to latents."""

from __future__ import annotations

from fcs_edge.kernels.ops import binary
from fcs_edge.model.focal import FocalBlock, FocalState, Snake
from fcs_edge.model.layers import (
    F32,
    Array,
    CausalConv,
    ConvState,
    Linear,
    State,
    Tensors,
    histories,
    new,
)
from fcs_edge.modelfile.config import CompressorConfig


class CompressorState:
    """The state of one stream in the compressor, and its workspace."""

    def __init__(self, compressor: Compressor, max_rows: int) -> None:
        config = compressor.config
        rows = max_rows
        self.downscales: list[ConvState] = []
        self.blocks: list[FocalState] = []
        self.work: list[tuple[F32, F32]] = []
        for i, block in enumerate(compressor.blocks):
            self.downscales.append(compressor.downscales[i].state(rows))
            rows //= config.downscale_factors[i]
            self.blocks.append(block.state(rows))
            self.work.append((new(rows, config.hidden_dims[i]), new(rows, config.hidden_dims[i])))
        self.projected = new(rows, config.output_dim)
        self.hidden: F32 = self.work[-1][1]
        """The rows that the last call projected to latents, (max rows, width), from row 0 on."""

    def reset(self) -> None:
        """Start a new stream."""
        for part in self._parts():
            part.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self._parts())

    def _parts(self) -> list[State]:
        return [*self.downscales, *self.blocks]


class Compressor:
    """Layers of downscale (convolution, Snake) and focal block, then a projection."""

    def __init__(self, config: CompressorConfig, tensors: Tensors) -> None:
        self.config = config
        self.downscales: list[CausalConv] = []
        self._snakes: list[Snake] = []
        self.blocks: list[FocalBlock] = []
        for i, factor in enumerate(config.downscale_factors):
            name = f"compressor.layers.{i}"
            conv = f"{name}.downscale.downscale"
            self.downscales.append(
                CausalConv(
                    tensors.matrix(f"{conv}.weight"), tensors[f"{conv}.bias"], factor, factor
                )
            )
            self._snakes.append(Snake(tensors, f"{name}.downscale.activation"))
            self.blocks.append(
                FocalBlock(config, tensors, f"{name}.focal_block", config.window_size)
            )
        self._project = Linear.named(tensors, "compressor.out_proj")

    def state(self, max_rows: int) -> CompressorState:
        """Return the state of a new stream whose calls take up to `max_rows` frames."""
        return CompressorState(self, max_rows)

    def __call__(self, features: F32, out: F32, state: CompressorState) -> None:
        """Write the latents of features.

        Parameters
        ----------
        features : numpy.ndarray
            (frames, input_dim) float32. Where the frames of the last token are too few, the stream
            ends with it.
        out : numpy.ndarray
            (ceil(frames / frames_per_token), bits) float32: rows of unit length.
        state : CompressorState
            The stream's state; it advances by these frames.
        """
        x = features
        for i, factor in enumerate(self.config.downscale_factors):
            rows = -(-x.shape[0] // factor)
            scaled, y = state.work[i][0][:rows], state.work[i][1][:rows]
            self.downscales[i](x, scaled, state.downscales[i])
            self._snakes[i](scaled, y)
            self.blocks[i](y, state.blocks[i])
            x = y
        projected = state.projected[: x.shape[0]]
        self._project(x, projected)
        binary.normalize(projected, out)
