"""Stage 3, binary spherical quantizer: latents to tokens, tokens to codes."""

from __future__ import annotations

from fcs_edge.kernels.ops import binary
from fcs_edge.model.layers import F32, U16


def quantize(latents: F32, out: U16) -> None:
    """Write the token of each latent: bit j, the most significant first, is latent[j] > 0.

    Parameters
    ----------
    latents : numpy.ndarray
        (tokens, bits) float32.
    out : numpy.ndarray
        (tokens,) uint16.
    """
    binary.quantize(latents, out)


def codes(tokens: U16, out: F32) -> None:
    """Write the code of each token, ``+-1 / sqrt(bits)`` by its bits.

    Parameters
    ----------
    tokens : numpy.ndarray
        (tokens,) uint16.
    out : numpy.ndarray
        (tokens, bits) float32.
    """
    binary.codes(tokens, out)
