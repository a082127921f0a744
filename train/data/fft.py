"""Lengths of Fourier transforms."""

from __future__ import annotations


def fast_length(samples: int) -> int:
    """Return the least length from `samples` without a prime factor over 5: others are slow."""
    size = max(1, samples)
    while 30**32 % size:  # Up to 2^32, such a number divides this one.
        size += 1
    return size
