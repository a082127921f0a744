"""The coder that needs no prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.entropy.coder import U8, U16, TokenCoder
from fcs_edge.entropy.probabilities import probabilities
from fcs_edge.kernels.ops import neutral_coder as kernels


def neutral_coder(bits: int) -> TokenCoder:
    """Return a coder that starts each block without knowledge, and learns in it.

    Parameters
    ----------
    bits : int
        Bits per token, 1..16.

    Returns
    -------
    TokenCoder
        Its `check` is 0.

    Raises
    ------
    ValueError
        `bits` is out of range.
    """
    return _NeutralCoder(bits, 0)


class _NeutralCoder(TokenCoder):
    def __init__(self, bits: int, check: int) -> None:
        super().__init__(bits, check)
        width = kernels.HISTORY + bits
        self._table = probabilities()
        self._work = np.zeros((bits, width), np.int32), np.zeros(width, np.int32)

    def _run(
        self,
        tokens: U16,
        known: U8,
        decoding: bool,
        limit: int,
        state: NDArray[np.int64],
        data: U8,
    ) -> None:
        kernels.code_neutrally(
            tokens, known, decoding, limit, self.bits, self._table, *self._work, state, data
        )
