"""Between stages 2 and 3: latents to the codes of which most of what is wanted can be told.

Latents' signs are chosen as if each bit were decoded alone. A small network tells the spectrum's
envelope of a token and those before it; the compressor says what the envelope should be, and of
the codes near a latent the one is taken that tells it best (analysis by synthesis; Atal, Remde,
A new model of LPC excitation, ICASSP 1982). Tokens are decoded as any others.
"""

from __future__ import annotations

import numpy as np

from fcs_edge.config import SearchConfig
from fcs_edge.kernels import search as kernels
from fcs_edge.layers import F32, Linear, Tensors, new


class SearchState:
    """The codes that one stream was given last, and what the search works in."""

    def __init__(self, search: Search, max_rows: int) -> None:
        self.past = new(search.config.history, search.bits)
        self.wanted = new(max_rows, search.config.wide)
        self.signs = new(max_rows, search.bits)
        self.sums, self.told = new(search.config.inner), new(search.config.wide)

    def reset(self) -> None:
        """Start a new stream: nothing was told before."""
        self.past[:] = 0


class Search:
    """The choice of each latent's code, by those before it."""

    def __init__(self, config: SearchConfig, tensors: Tensors) -> None:
        self.config = config
        self._seek = Linear.named(tensors, "search.wanted")
        first = tensors["search.told_in.weight"].reshape(config.inner, config.history, -1)
        self.bits = first.shape[2]
        # A flip changes all inner sums by one row, and a sum tells all that is wide by one.
        self._first = np.ascontiguousarray(first.transpose(1, 2, 0))
        self._second = np.ascontiguousarray(tensors["search.told_out.weight"].T)
        self._biases = tensors["search.told_in.bias"], tensors["search.told_out.bias"]
        self._prior = np.float32(config.prior)
        self._code = np.float32(1 / np.sqrt(self.bits))

    def state(self, max_rows: int) -> SearchState:
        """Return the state of a new stream whose calls take up to `max_rows` latents."""
        return SearchState(self, max_rows)

    def __call__(self, hidden: F32, latents: F32, state: SearchState) -> None:
        """Move latents onto the codes chosen for them.

        Parameters
        ----------
        hidden : numpy.ndarray
            (tokens, width) float32, what the latents were projected from.
        latents : numpy.ndarray
            (tokens, bits) float32, rows of unit length; written over with +-1/sqrt(bits).
        state : SearchState
            The stream's state; it moves on by these tokens.
        """
        rows = len(latents)
        wanted, signs = state.wanted[:rows], state.signs[:rows]
        self._seek(hidden, wanted)
        kernels.choose(
            latents,
            wanted,
            self._first,
            self._biases[0],
            self._second,
            self._biases[1],
            self._prior,
            self.config.passes,
            state.past,
            state.sums,
            state.told,
            signs,
        )
        np.multiply(signs, self._code, out=latents)
