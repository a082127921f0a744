"""Stage 4, causal focal decoder and refiner: codes to features."""

from __future__ import annotations

import math

import numpy as np

from fcs_edge.kernels.ops import history
from fcs_edge.model.focal import FocalBlock, FocalState, Snake
from fcs_edge.model.layers import ADD, F32, Array, FeedForward, Linear, Tensors, histories, new
from fcs_edge.modelfile.config import DecompressorConfig


class DecompressorState:
    """The state of one stream in the decompressor, and its workspace."""

    def __init__(self, decompressor: Decompressor, max_tokens: int) -> None:
        config = decompressor.config
        rows = max_tokens
        self.blocks: list[FocalState] = []
        self.work: list[tuple[F32, F32]] = []
        for i, block in enumerate(decompressor.blocks):
            width = config.hidden_dims[i]
            self.blocks.append(block.state(rows))
            self.work.append((new(rows, width), new(rows, width)))
            rows *= config.upscale_factors[i]
        chunks = math.ceil(rows / config.chunk_frames)
        width = config.chunk_frames * config.output_dim if config.refines else 0
        self.chunks, self.hidden = new(chunks, width), new(chunks, width)

    def reset(self) -> None:
        """Start a new stream."""
        for block in self.blocks:
            block.reset()

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return histories(self.blocks)


class Decompressor:
    """Layers of focal block and upscale (Snake, transposed convolution), then the refiner."""

    def __init__(self, config: DecompressorConfig, tensors: Tensors) -> None:
        self.config = config
        self._project = Linear.named(tensors, "decompressor.in_proj")
        self.blocks: list[FocalBlock] = []
        self._snakes: list[Snake] = []
        self._upscales: list[Linear] = []
        for i, window in enumerate(config.window_sizes):
            name = f"decompressor.layers.{i}"
            self.blocks.append(FocalBlock(config, tensors, f"{name}.focal_block", window))
            self._snakes.append(Snake(tensors, f"{name}.upscale.activation"))
            self._upscales.append(
                transposed(tensors, f"{name}.upscale.upscale", config.upscale_factors[i])
            )
        self._refine = None
        if config.refines:
            self._refine = FeedForward(tensors, "decompressor.refiner")

    def state(self, max_tokens: int) -> DecompressorState:
        """Return the state of a new stream whose calls take up to `max_tokens` tokens."""
        return DecompressorState(self, max_tokens)

    def __call__(self, codes: F32, out: F32, state: DecompressorState) -> None:
        """Write the features of codes.

        Parameters
        ----------
        codes : numpy.ndarray
            (tokens, bits) float32: whole chunks, or fewer tokens at the end of a stream.
        out : numpy.ndarray
            (frames, output_dim) float32.
        state : DecompressorState
            The stream's state; it advances by these tokens.
        """
        x = state.work[0][0][: codes.shape[0]]
        self._project(codes, x)
        last = len(self.blocks) - 1
        for i, factor in enumerate(self.config.upscale_factors):
            rows = x.shape[0]
            active = state.work[i][1][:rows]
            self.blocks[i](x, state.blocks[i])
            self._snakes[i](x, active)
            y = out if i == last else state.work[i + 1][0][: rows * factor]
            self._upscales[i](active, y.reshape(rows, -1))
            x = y
        if self._refine is not None:
            self._refine_chunks(self._refine, out, state)

    def _refine_chunks(self, refine: FeedForward, x: F32, state: DecompressorState) -> None:
        """Add ``refiner(x)`` to x: a chunk is one row, and zeros fill a last partial chunk."""
        rows = x.shape[0]
        chunks = math.ceil(rows / self.config.chunk_frames)
        stacked = state.chunks[:chunks]
        flat = stacked.reshape(-1, x.shape[1])
        history.copy(x, flat)
        refine(stacked, stacked, state.hidden[:chunks], ADD)
        history.copy(flat[:rows], x)


def transposed(tensors: Tensors, name: str, kernel: int) -> Linear:
    """Return a transposed convolution whose kernel equals its stride: 1 row in, `kernel` out."""
    return Linear(tensors.matrix(f"{name}.weight"), np.tile(tensors[f"{name}.bias"], kernel))
