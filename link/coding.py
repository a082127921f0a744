"""What decodes the packets of a model."""

from __future__ import annotations

from fcs_edge.codec import Codec
from fcs_edge.entropy import neutral_coder
from fcs_edge.link.packets import Coders


def packet_coders(codec: Codec) -> Coders:
    """Return the coders of a model's priors by their checks, the newest first, the neutral last."""
    coders = [prior.coder() for prior in codec.priors.values()][::-1]
    coders.append(neutral_coder(codec.bits_per_token))
    for coder in coders:
        coder.warm_up()
    return {coder.check: coder for coder in coders}
