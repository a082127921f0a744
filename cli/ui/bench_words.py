"""Words and numbers that the reports of ``fcs-edge bench`` share."""

from __future__ import annotations

from fcs_edge.bench.bench import Facts
from fcs_edge.modelfile.model_file import ACTIVATION_BITS

_BUSY = 0.95
"""Share of the CPU time below which other programs disturbed the measurement."""


def kind(run: Facts) -> str:
    """Return the type of the weights, and the bits of activations that are not the default."""
    scheme, bits = run["weights"], run["settings"]["activation_bits"]
    default = ACTIVATION_BITS[scheme][0]
    return scheme if bits == default else f"{scheme} with {bits}-bit activations"


def digits(value: float) -> str:
    """Return three digits, or all digits before the point."""
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def size(n_bytes: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def disturbed(share: float) -> str:
    """Return a line about other programs where they left this share of the time, else nothing."""
    if share >= _BUSY:
        return ""
    return f"\nother programs took {1 - share:.0%} of the time: measure again without them"
