"""Lossless coding of tokens in fewer bits (docs/reference/entropy-coding.md).

`neutral_coder` knows nothing at a block's start. `Prior` is a network that a model file holds.
"""

from fcs_edge.entropy.coder import TokenCoder
from fcs_edge.entropy.neutral import neutral_coder
from fcs_edge.entropy.prior import Prior

__all__ = ["Prior", "TokenCoder", "neutral_coder"]
