"""The head of a Vocos decoder (arXiv 2306.00814): rows to samples by inverse transforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels.ops import fourier, vocos
from fcs_edge.model.layers import F32, Linear, Tensors, new
from fcs_edge.modelfile.config import VocosConfig


class VocosWork:
    """Workspace of the head."""

    def __init__(self, config: VocosConfig, max_rows: int) -> None:
        self.projected = new(max_rows, config.head_dim)
        self.spectra = new(max_rows, config.head_dim)
        self.waves = new(max_rows, config.n_fft)
        self.transforms = new(2, config.n_fft // 2, 2, fourier.LANES)


class VocosHead:
    """Projection to magnitudes and phases, and the inverse transform of each row."""

    def __init__(self, config: VocosConfig, tensors: Tensors) -> None:
        self.config = config
        self._project = Linear.named(tensors, "decoder.head.proj")
        angles = 2 * np.pi * np.arange(config.n_fft) / config.n_fft
        self._roots = _exact(np.stack([np.cos(angles), np.sin(angles)], 1))
        self._factors = np.array(prime_factors(config.n_fft // 2), np.int64)
        self.window = _exact(0.5 - 0.5 * np.cos(angles))
        """The periodic Hann window, (n_fft,) float32."""

    def work(self, max_rows: int) -> VocosWork:
        """Return workspace for calls of up to `max_rows` rows."""
        return VocosWork(self.config, max_rows)

    def waves(self, x: F32, work: VocosWork) -> F32:
        """Return the inverse transforms of x (rows, dim): (rows, n_fft) of the workspace."""
        rows = x.shape[0]
        projected, spectra = work.projected[:rows], work.spectra[:rows]
        waves = work.waves[:rows]
        self._project(x, projected)
        vocos.spectra(projected, spectra)
        fourier.inverse_real(spectra, self._factors, self._roots, work.transforms, waves)
        return waves

    def __call__(self, x: F32, out: F32, work: VocosWork) -> None:
        """Write the last `hop_length` samples of each wave, (rows * hop_length,): causal."""
        vocos.last_columns(self.waves(x, work), out)


def prime_factors(n: int) -> list[int]:
    """Return the prime factors of n, those of 2 in pairs as 4: it takes fewer steps."""
    factors, factor = [], 4
    while n > 1:
        while n % factor == 0:
            factors.append(factor)
            n //= factor
        factor = {4: 2, 2: 3}.get(factor, factor + 2)
    return factors


def _exact(x: NDArray[np.float64]) -> F32:
    """Return x as float32, with zeros for what is left of a zero of cos or sin: CPUs differ."""
    return np.where(np.abs(x) < 1e-12, 0, x).astype(np.float32)
