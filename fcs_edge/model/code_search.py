"""Between stages 2 and 3: latents to the codes of which most of what is wanted can be told.

Latents' signs are chosen as if each bit were decoded alone. A small network tells the spectrum's
envelope of a token and those before it. What it should be is heard from the samples, less the noise
that a second network finds in them by the compressor's features; of the codes near a latent those
are kept that tell it best, and at the end of a chunk the best of their sequences is taken (analysis
by synthesis; Atal, Remde, A new model of LPC excitation, ICASSP 1982). Tokens are decoded as any
others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels._types import I64
from fcs_edge.kernels.ops import code_search, spectrum
from fcs_edge.model.layers import ADD, F32, Linear, Tensors, new
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, SPECTRA_A_TOKEN, CodecConfig, SearchConfig

HEARD_HZ = 60.0, 7600.0
"""Where the bands lie that codes are searched by."""
WINDOW = 0.032
"""Seconds; the last one ends with its token."""
FLOOR = 3e-4
"""Amplitudes of a band, of full scale, below which there is nothing to be told."""
USUAL = -6.0
"""Of a band's log amplitude: what cepstra are taken from is the rest."""


def band_filters(bands: int, bins: int, bin_hz: float) -> NDArray[np.float64]:
    """Return (bands, bins) triangles as wide as each other in mel, each of weight 1.

    mel(f) = 2595 log10(1 + f / 700); each ends where its neighbours have their peaks.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in HEARD_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    at = bin_hz * np.arange(bins)
    rise = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    return np.asarray(filters / filters.sum(1, keepdims=True))


def cepstral_rows(bands: int, orders: int) -> NDArray[np.float64]:
    """Return the first rows of the orthonormal DCT-II, (orders, bands); loudness counts half."""
    k, at = np.arange(orders)[:, None], np.arange(bands) + 0.5
    rows = np.sqrt(np.where(k, 2, 0.5) / bands) * np.cos(np.pi / bands * k * at)
    return np.asarray(rows)


def reversed_bits(size: int) -> I64:
    """Return the numbers below a power of two, each with its bits in reverse order."""
    order = np.zeros(1, np.int64)
    while order.size < size:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def roots(size: int) -> F32:
    """Return ``exp(-2 pi i k / size)`` of k below size / 2, (size / 2, 2) float32."""
    turns = np.exp(-2j * np.pi * np.arange(size // 2) / size)
    return np.stack([turns.real, turns.imag], 1).astype(np.float32)


def room(config: SearchConfig, bits: int, chunk: int) -> code_search.Workspace:
    """Return the workspace of `kernels.ops.code_search`."""
    return code_search.Workspace(
        new(2, config.ways, max(config.history, chunk), bits),
        new(2, config.ways),
        np.zeros((2, config.ways), np.int64),
        new(2, bits),
        new(config.inner),
        new(SPECTRA_A_TOKEN * config.orders),
    )


class SearchState:
    """What one stream was given last, the samples before, and what the search works in."""

    def __init__(self, search: Search, max_tokens: int) -> None:
        config, size = search.config, search.window.size
        self.samples = new(size - search.hop + max_tokens * SPECTRA_A_TOKEN * search.hop)
        self.past = new(config.history, search.bits)
        self.heard = new(max_tokens * SPECTRA_A_TOKEN, config.bands)
        self.wanted_from = new(max_tokens, search.width + SPECTRA_A_TOKEN * config.bands)
        self.wanted_inner = new(max_tokens, config.inner)
        self.wanted = new(max_tokens, SPECTRA_A_TOKEN * config.orders)
        self.work = new(size, 2)
        self.room = room(config, search.bits, search.chunk)

    def reset(self) -> None:
        """Start a new stream: nothing was heard before, and nothing told."""
        self.samples[:] = 0
        self.past[:] = 0


class Search:
    """The choice of each latent's code, by those before it.

    Parameters
    ----------
    config : CodecConfig
        One with a ``search``.
    tensors : Tensors
        The model's.
    """

    def __init__(self, config: CodecConfig, tensors: Tensors) -> None:
        assert config.search is not None
        self.config = search = config.search
        self.bits, self.width = config.bits_per_token, config.compressor.hidden_dims[-1]
        self.hop = config.samples_per_token // SPECTRA_A_TOKEN
        self.chunk = config.chunk_tokens
        size = round(WINDOW * SAMPLE_RATE_IN)
        # As loud as a sine of the same amplitude, whatever its frequency.
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        self.window = (window * 2 / window.sum()).astype(np.float32)
        self._order = reversed_bits(size)
        self._roots = roots(size)
        filters = band_filters(search.bands, size // 2 + 1, SAMPLE_RATE_IN / size)
        self._filters = filters.astype(np.float32)
        rows = cepstral_rows(search.bands, search.orders).astype(np.float32)
        self._cepstra = Linear(rows, None)
        self._inner = Linear.named(tensors, "search.wanted_in")
        self._wanted = Linear.named(tensors, "search.wanted_out")
        first = tensors["search.told_in.weight"]
        first = first.reshape(search.inner, search.history, self.bits)
        # A flip changes all sums by one row, and each sum changes all that is told by one.
        self._predictor = code_search.Predictor(
            np.ascontiguousarray(first.transpose(1, 2, 0)),
            tensors["search.told_in.bias"],
            np.ascontiguousarray(tensors["search.told_out.weight"].T),
            tensors["search.told_out.bias"],
        )
        prior = np.float32(search.prior)
        self._settings = code_search.Settings(prior, search.passes, search.tries, self.chunk)

    def state(self, max_tokens: int) -> SearchState:
        """Return the state of a new stream whose calls take up to `max_tokens` tokens."""
        return SearchState(self, max_tokens)

    def __call__(self, samples: F32, hidden: F32, latents: F32, state: SearchState) -> None:
        """Move latents onto the codes chosen for them.

        Parameters
        ----------
        samples : numpy.ndarray
            (tokens x samples a token,) float32, what the latents were made from: whole chunks.
        hidden : numpy.ndarray
            (tokens, width) float32, what the latents were projected from.
        latents : numpy.ndarray
            (tokens, bits) float32, rows of unit length; written over with +-1/sqrt(bits).
        state : SearchState
            The stream's state; it moves on by these tokens.
        """
        n, kept = len(latents), self.window.size - self.hop
        heard, wanted = state.heard[: n * SPECTRA_A_TOKEN], state.wanted[:n]
        state.samples[kept : kept + samples.size] = samples
        spectrum.log_bands(
            state.samples,
            self.hop,
            self.window,
            self._order,
            self._roots,
            self._filters,
            np.float32(FLOOR),
            np.float32(USUAL),
            state.work,
            heard,
        )
        state.samples[:kept] = state.samples[samples.size : kept + samples.size]
        given, inner = state.wanted_from[:n], state.wanted_inner[:n]
        given[:, : self.width] = hidden
        given[:, self.width :] = heard.reshape(n, -1)
        self._inner(given, inner)
        np.maximum(inner, 0, out=inner)
        self._wanted(inner, wanted)
        self._cepstra(heard, wanted.reshape(n * SPECTRA_A_TOKEN, -1), ADD)
        code_search.search_codes(
            latents, wanted, self._predictor, self._settings, state.past, state.room, latents
        )
        latents *= np.float32(self.bits**-0.5)
