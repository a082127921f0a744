"""Priors with drawn weights."""

import numpy as np

from fcs_edge.entropy.prior import Prior, specs


def drawn(bits: int, hidden: int, seed: int, spread: float = 12) -> Prior:
    """Return a prior of drawn weights; few of them are clipped."""
    random_numbers = np.random.default_rng(seed)
    arrays = {}
    for name, (dtype, shape) in specs(bits, hidden).items():
        values = random_numbers.standard_normal(shape) * (spread if dtype == np.int8 else 64)
        arrays[name] = np.clip(np.rint(values), -127, 127).astype(dtype)
    return Prior(**arrays)


def filled(bits: int, hidden: int, value: int) -> Prior:
    """Return a prior whose 8-bit weights are all the same, and its biases 0."""
    arrays = {
        name: np.full(shape, value if dtype == np.int8 else 0, dtype)
        for name, (dtype, shape) in specs(bits, hidden).items()
    }
    return Prior(**arrays)
