"""The settings that change tokens: one small dictionary, wherever tokens are stored."""

from __future__ import annotations

from typing import Any

from fcs_edge.errors import shown
from fcs_edge.modelfile.model_file import ModelFile

Settings = dict[str, Any]
"""JSON values by name; docs/reference/token-files.md lists them."""

RESAMPLER = "soxr VHQ"
"""What brings files of other rates to the model's rate."""

TOKEN_RULES = 1
"""Version of the rules from samples to tokens: the padding of the last chunk, the order of bits."""


def token_settings(model: ModelFile) -> Settings:
    """Return what changes a model's tokens beside its fingerprint.

    Two models of one fingerprint and equal settings give equal tokens, on every CPU that
    docs/reference/exactness.md lists. A causal model has no window and no overlap.
    """
    return {
        "weights": model.scheme,
        "activation_bits": model.activation_bits,
        "resampler": RESAMPLER,
        "search": model.config.search is not None,
        "token_rules": TOKEN_RULES,
    }


def differences(stored: Settings, own: Settings) -> str:
    """Return what stored settings have that a model's own do not, for a message; or nothing.

    Settings that one side does not state are not compared.
    """
    pairs = [(k, stored[k], own[k]) for k in own if k in stored and stored[k] != own[k]]
    return ", ".join(f"{k} {shown(there, 40)} (here {here})" for k, there, here in pairs)
