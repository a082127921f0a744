"""Losses of the code search: ``search_target``, ``search_prediction``, ``latent_commitment``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fcs_edge.model.code_search import BAND_EDGES_HZ
from train.data.batches import Batch
from train.losses.spectral import RATE
from train.model import FocalCodecStream
from train.model.codec import Encoding

_VARIANCE = 100.0
"""Typical variance of the cepstra that codes are searched by. It scales the distances."""


def target_cepstra(codec: FocalCodecStream, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return cepstra of the target audio, and which crops have the band that they need.

    Returns
    -------
    cepstra : torch.Tensor
        (batch, tokens, columns).
    valid : torch.Tensor
        (batch, 1, 1) of 0 and 1.
    """
    assert codec.search is not None
    cepstra = codec.search.cepstra(codec.search.log_bands(batch.target, RATE))
    return cepstra, (batch.band_hz >= BAND_EDGES_HZ[1]).float()[:, None, None]


def distance(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the squared distance of cepstra, (batch, tokens, columns), over valid crops."""
    return ((output - target).square() * valid).sum(2).mean() / _VARIANCE


def search_losses(codec: FocalCodecStream, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
    """Return the losses of the search; none for a codec without one.

    ``search_target`` and ``search_prediction`` compare with the cepstra of the target audio.
    ``latent_commitment`` is softplus(-s z), for latents z times sqrt(bits) and selected signs s.
    Where they agree, the search has less to change.
    """
    search = codec.search
    if search is None or encoding.target is None:
        return {}
    cepstra, valid = target_cepstra(codec, batch)
    signs = torch.sign(encoding.codes.detach())
    latents = encoding.latents * encoding.latents.shape[2] ** 0.5
    return {
        "search_target": distance(encoding.target, cepstra, valid),
        "search_prediction": distance(search(encoding.codes), cepstra, valid),
        "latent_commitment": functional.softplus(-signs * latents).mean(),
    }
