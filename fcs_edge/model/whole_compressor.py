"""Stage 2 over a whole signal, focal encoder without causality: features to latents."""

from __future__ import annotations

from collections.abc import Callable

from fcs_edge.errors import AudioError
from fcs_edge.kernels.ops import binary, history
from fcs_edge.model.focal import Snake
from fcs_edge.model.layers import F32, Linear, Tensors, new
from fcs_edge.model.whole_blocks import BLOCK_ROWS, blocks
from fcs_edge.model.whole_focal import WholeFocalBlock
from fcs_edge.modelfile.config import CompressorConfig


class WholeCompressor:
    """Layers of downscale (convolution, Snake) and focal block, then a projection."""

    def __init__(self, config: CompressorConfig, tensors: Tensors) -> None:
        self.config = config
        names = [f"compressor.layers.{i}" for i in range(len(config.hidden_dims))]
        self._downscales = [Linear.named(tensors, f"{name}.downscale.downscale") for name in names]
        self._snakes = [Snake(tensors, f"{name}.downscale.activation") for name in names]
        self._blocks = [WholeFocalBlock(config, tensors, f"{name}.focal_block") for name in names]
        self._project = Linear.named(tensors, "compressor.out_proj")

    def __call__(self, features: F32, on_progress: Callable[[float], None] | None = None) -> F32:
        """Return the latents of features.

        Parameters
        ----------
        features : numpy.ndarray
            (frames, input_dim) float32.
        on_progress : callable, optional
            Takes the share of the layers that are done.

        Returns
        -------
        numpy.ndarray
            (tokens, bits) float32: rows of unit length.

        Raises
        ------
        fcs_edge.AudioError
            There are too few frames for a downscale.
        """
        if len(features) and not self.config.n_tokens(len(features)):
            factors = "x".join(map(str, self.config.downscale_factors))
            raise AudioError(
                f"the sound is too short: this model's downscale by {factors} takes more frames "
                f"than its {len(features)}"
            )
        x = features
        for i, factor in enumerate(self.config.downscale_factors):
            x = self._downscaled(i, factor, x)
            self._blocks[i](x)
            if on_progress is not None:
                on_progress((i + 1) / len(self._blocks))
        out = new(len(x), self.config.output_dim)
        projected = new(BLOCK_ROWS, self.config.output_dim)
        for block in blocks(len(x)):
            rows = projected[: block.stop - block.start]
            self._project(x[block], rows)
            binary.normalize(rows, out[block])
        return out

    def _downscaled(self, i: int, factor: int, x: F32) -> F32:
        """Return ``snake(conv(x))``, f rows to one; T mod f zero rows follow x."""
        rows, width = x.shape
        out = new((rows + rows % factor) // factor, self.config.hidden_dims[i])
        scaled, filled = new(BLOCK_ROWS, out.shape[1]), new(factor, width)
        whole = min(rows // factor, len(out))
        for block in blocks(whole):
            windows = x[block.start * factor : block.stop * factor].reshape(-1, factor * width)
            self._downscale(i, windows, scaled[: len(windows)], out[block])
        if len(out) > whole:
            history.copy(x[whole * factor :], filled)
            self._downscale(i, filled.reshape(1, -1), scaled[:1], out[whole:])
        return out

    def _downscale(self, i: int, windows: F32, scaled: F32, out: F32) -> None:
        self._downscales[i](windows, scaled)
        self._snakes[i](scaled, out)
