"""What codes and decodes the packets of a model."""

from __future__ import annotations

from fcs_edge.codec import Codec
from fcs_edge.link.packets import NO_CODERS, Coders
from fcs_edge.link.payload import PacketCoder


def newest_coder(codec: Codec) -> PacketCoder:
    """Return the coder of a model's newest prior; the neutral one where it has none."""
    raise NotImplementedError


def coders_of(codec: Codec) -> Coders:
    """Return the coders of a model's priors by their checks, the newest first."""
    return NO_CODERS
