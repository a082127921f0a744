"""Stage 5 over a whole signal, WaveNeXt or Vocos without causality: features to samples."""

from __future__ import annotations

from fcs_edge.kernels.ops import vocos
from fcs_edge.model.decoder import Backbone, LinearHead
from fcs_edge.model.layers import F32, Tensors, new
from fcs_edge.model.vocos import VocosHead
from fcs_edge.model.whole_blocks import BLOCK_ROWS, blocks, centred, rows_of
from fcs_edge.modelfile.config import DecoderConfig, VocosConfig


class WholeDecoder:
    """Embedding convolution, ConvNeXt blocks and a head; zeros surround the signal."""

    def __init__(self, config: DecoderConfig | VocosConfig, tensors: Tensors) -> None:
        self.config = config
        self._backbone = Backbone(config, tensors, zeros=True)
        self._head = (
            _WholeVocosHead(config, tensors)
            if isinstance(config, VocosConfig)
            else _WholeLinearHead(config, tensors)
        )

    def __call__(self, features: F32) -> F32:
        """Return the samples of features.

        Parameters
        ----------
        features : numpy.ndarray
            (frames, input_dim) float32.

        Returns
        -------
        numpy.ndarray
            (config.n_samples(frames),) float32; in [-1, 1] from WaveNeXt.
        """
        if not len(features):
            return new(0)
        x = self._embedded(features)
        for layer in range(self.config.num_layers):
            self._run_block(layer, x)
        return self._head(x, self._backbone)

    def _embedded(self, features: F32) -> F32:
        config, backbone = self.config, self._backbone
        x, position = new(len(features), config.dim), 0
        sizes = config.kernel_size, config.input_dim, config.dim
        for rows in centred(backbone.embedding, *sizes, rows_of(features)):
            backbone.input_norm(rows, x[position : position + len(rows)])
            position += len(rows)
        return x

    def _run_block(self, layer: int, x: F32) -> None:
        """Replace x by a block's output: the convolution has read a row before it is replaced."""
        config, block = self.config, self._backbone.blocks[layer]
        normed, hidden = new(BLOCK_ROWS, config.dim), new(BLOCK_ROWS, config.ffn_dim)
        position = 0
        for y in centred(block.conv, config.kernel_size, config.dim, config.dim, rows_of(x)):
            rows = len(y)
            block.add(x[position : position + rows], y, normed[:rows], hidden[:rows])
            position += rows


class _WholeLinearHead:
    """A projection of each row to its samples, clipped to [-1, 1]."""

    def __init__(self, config: DecoderConfig, tensors: Tensors) -> None:
        self._hop = config.hop_length
        self._head = LinearHead(config, tensors)

    def __call__(self, x: F32, backbone: Backbone) -> F32:
        hop = self._hop
        out, normed = new(len(x) * hop), new(BLOCK_ROWS, x.shape[1])
        work = self._head.work(BLOCK_ROWS)
        for block in blocks(len(x)):
            rows = normed[: block.stop - block.start]
            backbone.output_norm(x[block], rows)
            self._head(rows, out[block.start * hop : block.stop * hop], work)
        return out


class _WholeVocosHead:
    """Windowed inverse transforms, added where they overlap, over the sum of squared windows."""

    def __init__(self, config: VocosConfig, tensors: Tensors) -> None:
        self._config = config
        self._head = VocosHead(config, tensors)

    def __call__(self, x: F32, backbone: Backbone) -> F32:
        size, hop, window = self._config.n_fft, self._config.hop_length, self._head.window
        out = new((len(x) - 1) * hop + size)
        normed, work = new(BLOCK_ROWS, x.shape[1]), self._head.work(BLOCK_ROWS)
        for block in blocks(len(x)):
            rows = block.stop - block.start
            backbone.output_norm(x[block], normed[:rows])
            waves = self._head.waves(normed[:rows], work)
            vocos.overlap_add(waves, window, block.start, hop, out)
        vocos.divide_by_envelope(out, window, len(x), hop, new(hop))
        cut = (size - hop) // 2
        return out[cut : len(out) - cut]
