"""Stage 4 over a whole signal, focal decoder without causality: codes to features."""

from __future__ import annotations

from fcs_edge.model.decompressor import transposed
from fcs_edge.model.focal import Snake
from fcs_edge.model.layers import F32, Linear, Tensors, new
from fcs_edge.model.whole_blocks import BLOCK_ROWS, blocks
from fcs_edge.model.whole_focal import WholeFocalBlock
from fcs_edge.modelfile.config import DecompressorConfig


class WholeDecompressor:
    """A projection, then layers of focal block and upscale (Snake, transposed convolution)."""

    def __init__(self, config: DecompressorConfig, tensors: Tensors) -> None:
        self.config = config
        self._project = Linear.named(tensors, "decompressor.in_proj")
        names = [f"decompressor.layers.{i}" for i in range(len(config.hidden_dims))]
        self._blocks = [WholeFocalBlock(config, tensors, f"{name}.focal_block") for name in names]
        self._snakes = [Snake(tensors, f"{name}.upscale.activation") for name in names]
        self._upscales = [
            transposed(tensors, f"{name}.upscale.upscale", factor)
            for name, factor in zip(names, config.upscale_factors, strict=True)
        ]

    def __call__(self, codes: F32) -> F32:
        """Return the features of codes.

        Parameters
        ----------
        codes : numpy.ndarray
            (tokens, bits) float32.

        Returns
        -------
        numpy.ndarray
            (frames, output_dim) float32.
        """
        config = self.config
        x = new(len(codes), config.hidden_dims[0])
        for block in blocks(len(codes)):
            self._project(codes[block], x[block])
        widths = (*config.hidden_dims[1:], config.output_dim)
        for i, factor in enumerate(config.upscale_factors):
            if len(x):
                self._blocks[i](x)
            out, active = new(len(x) * factor, widths[i]), new(BLOCK_ROWS, x.shape[1])
            scaled = out.reshape(len(x), factor * widths[i])
            for block in blocks(len(x)):
                rows = active[: block.stop - block.start]
                self._snakes[i](x[block], rows)
                self._upscales[i](rows, scaled[block])
            x = out
        return x
