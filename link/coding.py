"""What codes and decodes the packets of a model."""

from __future__ import annotations

import numpy as np

from fcs_edge.codec import Codec
from fcs_edge.entropy import TokenCoder, neutral_coder
from fcs_edge.link.packets import Coders


def newest_coder(codec: Codec) -> TokenCoder:
    """Return the coder of a model's newest prior; the neutral one where it has none."""
    prior = codec.prior
    return _ready(neutral_coder(codec.bits_per_token) if prior is None else prior.coder(), codec)


def coders_of(codec: Codec) -> Coders:
    """Return the coders of a model's priors by their checks, the newest first, the neutral last."""
    coders = [prior.coder() for prior in codec.priors.values()][::-1]
    coders.append(neutral_coder(codec.bits_per_token))
    return {coder.check: _ready(coder, codec) for coder in coders}


def _ready(coder: TokenCoder, codec: Codec) -> TokenCoder:
    """Use a coder once: the first use may compile, for which a live link has no time."""
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    coder.decode(coder.encode(tokens), tokens.size)
    return coder
