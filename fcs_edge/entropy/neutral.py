"""The coder that needs no prior."""

from __future__ import annotations

import numpy as np

from fcs_edge.entropy.coder import TokenCoder
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
    width = kernels.HISTORY + bits
    work = np.zeros((bits, width), np.int32), np.zeros(width, np.int32)
    return TokenCoder(bits, 0, kernels.code_neutrally, (probabilities(), *work))
