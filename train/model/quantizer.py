"""Binary spherical quantisation (arXiv 2406.07548): the sign of each coordinate."""

from __future__ import annotations

import torch
from torch import Tensor


def quantize(latents: Tensor) -> Tensor:
    """Return codes, (..., bits) of +-1/sqrt(bits); gradients pass straight through."""
    codes = torch.where(latents > 0, 1.0, -1.0) * latents.shape[-1] ** -0.5
    return latents + (codes - latents).detach()


def tokens(latents: Tensor) -> Tensor:
    """Return tokens, (...) int64, whose most significant bit is the first coordinate's."""
    bits = latents.shape[-1]
    places = 2 ** torch.arange(bits - 1, -1, -1, device=latents.device)
    return ((latents > 0) * places).sum(-1)


def codes(token: Tensor, bits: int) -> Tensor:
    """Return the codes of tokens, (..., bits) float32."""
    shifts = torch.arange(bits - 1, -1, -1, device=token.device)
    return ((token[..., None] >> shifts & 1) * 2.0 - 1) * bits**-0.5
