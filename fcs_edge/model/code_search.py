"""Code search, between stages 2 and 3: latents to the codes that predict the spectrum best.

The sign of a latent ignores what the other bits decode to. The search compares whole codes instead,
by analysis by synthesis (Atal, Remde, A new model of LPC excitation, ICASSP 1982):

1. The target of a token is the cepstrum of the input's mel bands. A network adds a correction, from
   those bands and the compressor's hidden rows, that removes noise.
2. A second network predicts that cepstrum from a token's code and the codes before it.
3. A beam search flips bits of each latent's signs; its cost is the squared error of the prediction.
   At the end of a chunk it takes the sequence of the lowest cost. A last, partial chunk ends with
   its own last token, and zeros fill the samples of that token.

The tokens decode like those of any other model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.ops import binary, code_search, spectrum
from fcs_edge.mel import mel_filters
from fcs_edge.model.layers import ADD, F32, Array, Linear, Tensors, new
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, SPECTRA_A_TOKEN, CodecConfig, SearchConfig

BAND_EDGES_HZ = 60.0, 7600.0
"""Lower edge of the first mel band and upper edge of the last one."""
WINDOW = 0.032
"""Seconds per spectrum; a token's last window ends with the token."""
FLOOR = 3e-4
"""Amplitude of a band, relative to full scale, that counts as silence."""
MEAN_LOG_AMPLITUDE = -6.0
"""Typical log amplitude of a band, subtracted before the cepstrum."""


def band_filters(bands: int, bins: int, bin_hz: float) -> NDArray[np.float64]:
    """Return the search's mel filters, (bands, bins) float64; each row sums to 1."""
    return mel_filters(
        bands, bin_hz * np.arange(bins, dtype=np.float64), *BAND_EDGES_HZ, norm="sum"
    )


def cepstral_rows(bands: int, orders: int) -> NDArray[np.float64]:
    """Return the first rows of the orthonormal DCT-II, (orders, bands), row 0 times sqrt(1/2)."""
    k, at = np.arange(orders)[:, None], np.arange(bands) + 0.5
    rows = np.sqrt(np.where(k, 2, 0.5) / bands) * np.cos(np.pi / bands * k * at)
    return _without_residue(np.asarray(rows))


def _without_residue(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, with zeros for what is left of a zero of cos or sin: CPUs differ there."""
    return np.where(np.abs(x) < 1e-12, 0, x)


def reversed_bits(size: int) -> I64:
    """Return the numbers below a power of two with their bits reversed, (size,) int64."""
    order = np.zeros(1, np.int64)
    while order.size < size:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def roots(size: int) -> F32:
    """Return ``exp(-2 pi i k / size)`` for k < size / 2, (size / 2, 2) float32."""
    turns = np.exp(-2j * np.pi * np.arange(size // 2) / size)
    return _without_residue(np.stack([turns.real, turns.imag], 1)).astype(np.float32)


def ranges(filters: NDArray[np.float64]) -> I64:
    """Return where each filter is not 0, (bands, 2) int64: the first bin, and one past the last."""
    bounds = np.zeros((len(filters), 2), np.int64)
    for bound, row in zip(bounds, filters, strict=True):
        used = np.flatnonzero(row)
        if used.size:
            bound[:] = used[0], used[-1] + 1
    return bounds


def settings(config: SearchConfig, chunk: int) -> code_search.Settings:
    """Return how the search goes in chunks of so many tokens."""
    return code_search.Settings(
        np.float32(config.prior), config.max_flips, config.shortlist, chunk, config.beam_width
    )


class SearchState:
    """The last codes and samples of one stream, and the memory that the search works in."""

    def __init__(self, search: Search, max_tokens: int) -> None:
        config, size = search.config, search.window.size
        self.n_past = size - search.hop
        self.samples = new(self.n_past + max_tokens * SPECTRA_A_TOKEN * search.hop)
        self.past = new(config.history, search.bits)
        self.hidden = new(max_tokens, search.width)
        """The rows that the latents were projected from: the caller's array, or a copy."""
        self.log_bands = new(max_tokens * SPECTRA_A_TOKEN, config.bands)
        self.target_inputs = new(max_tokens, search.width + SPECTRA_A_TOKEN * config.bands)
        self.target_inner = new(max_tokens, config.inner)
        self.target = new(max_tokens, SPECTRA_A_TOKEN * config.orders)
        self.spectrum = new(size, 2, spectrum.LANES)
        self.workspace = search.codes.workspace()

    def reset(self) -> None:
        """Start a new stream: its past samples and codes are zeros."""
        self.samples[:] = 0
        self.past[:] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [self.samples[: self.n_past], self.past]


class Search:
    """Chooses the code of each latent.

    Parameters
    ----------
    config : CodecConfig
        A configuration with ``search``.
    tensors : Tensors
        The model's tensors.
    """

    def __init__(self, config: CodecConfig, tensors: Tensors) -> None:
        assert config.search is not None
        self.config = search = config.search
        self.bits, self.width = config.bits_per_token, config.compressor.hidden_dims[-1]
        self.hop = config.samples_per_token // SPECTRA_A_TOKEN
        self.chunk = config.chunk_tokens
        size = round(WINDOW * SAMPLE_RATE_IN)
        # Scaled so that a sine of amplitude 1 has a peak of 1.
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        self.window = (window * 2 / window.sum()).astype(np.float32)
        self._order = reversed_bits(size)
        self._roots = roots(size)
        filters = band_filters(search.bands, size // 2 + 1, SAMPLE_RATE_IN / size)
        self._filters = filters.astype(np.float32)
        self._ranges = ranges(filters)
        self._log_bands = spectrum.log_bands()
        rows = cepstral_rows(search.bands, search.orders).astype(np.float32)
        self._cepstra = Linear(rows, None)
        self._target_in = Linear.named(tensors, "search.wanted_in")
        self._target_out = Linear.named(tensors, "search.wanted_out")
        first = tensors["search.told_in.weight"]
        first = first.reshape(search.inner, search.history, self.bits)
        # Transposed: a flip changes the sums by one row, and a sum the prediction by one row.
        predictor = code_search.Predictor(
            first.transpose(1, 2, 0),
            tensors["search.told_in.bias"],
            tensors["search.told_out.weight"].T,
            tensors["search.told_out.bias"],
        )
        self.codes = code_search.CodeSearch(predictor, settings(search, self.chunk))

    def state(self, max_tokens: int) -> SearchState:
        """Return the state of a new stream whose calls take up to `max_tokens` tokens."""
        return SearchState(self, max_tokens)

    def __call__(self, samples: F32, latents: F32, state: SearchState) -> None:
        """Replace latents by the codes chosen for them; `state.hidden` has their hidden rows.

        Parameters
        ----------
        samples : numpy.ndarray
            (tokens * samples_per_token,) float32, the latents' samples.
        latents : numpy.ndarray
            (tokens, bits) float32, rows of unit length; overwritten with ``+-1 / sqrt(bits)``. They
            are chunks. Where the last one is partial, the stream ends with it.
        state : SearchState
            The stream's state; it advances by these tokens.
        """
        n = len(latents)
        log_bands, target = state.log_bands[: n * SPECTRA_A_TOKEN], state.target[:n]
        inputs, inner = state.target_inputs[:n], state.target_inner[:n]
        self._log_bands(
            samples,
            self.hop,
            self.window,
            self._order,
            self._roots,
            self._filters,
            self._ranges,
            np.float32(FLOOR),
            np.float32(MEAN_LOG_AMPLITUDE),
            state.samples,
            state.spectrum,
            log_bands,
        )
        code_search.join(state.hidden[:n], log_bands.reshape(n, -1), inputs)
        self._target_in(inputs, inner)
        code_search.rectify(inner)
        self._target_out(inner, target)
        self._cepstra(log_bands, target.reshape(n * SPECTRA_A_TOKEN, -1), ADD)
        # The last chunk has a call of its own, whole or not: so the calls are always the same.
        last = (n - 1) // self.chunk * self.chunk
        for rows in (slice(0, last), slice(last, n)):
            if rows.start < rows.stop:
                part = latents[rows]
                self.codes(part, target[rows], state.past, state.workspace, part)
        binary.normalize(latents, latents)
