"""The probability of a 1 by its logit: data of the format, the same for all coders."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels.ops.range_coder import LIMIT

_ONE = 1 << 60
_RATIO = 1148426689630428643
"""``exp(-1 / 256)`` in 60 fractional bits, rounded down."""


@cache
def probabilities() -> NDArray[np.uint16]:
    """Return the table: entry ``logit + 2048`` is ``65536 / (1 + exp(-logit / 256))``, rounded.

    Returns
    -------
    numpy.ndarray
        (4096,) uint16, 22 to 65514, read-only.
    """
    table = np.empty(2 * LIMIT, np.uint16)
    power = _ONE
    for n in range(LIMIT + 1):
        low = ((power << 17) + _ONE + power) // (2 * (_ONE + power))
        table[LIMIT - n] = low
        if n < LIMIT:
            table[LIMIT + n] = 65536 - low
        power = power * _RATIO >> 60
    table.flags.writeable = False
    return table
