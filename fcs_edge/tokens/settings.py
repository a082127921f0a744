"""The settings that change tokens: one small dictionary, wherever tokens are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER, RESAMPLERS, check_resampler
from fcs_edge.errors import shown
from fcs_edge.modelfile.model_file import ModelFile

Settings = dict[str, Any]
"""JSON values by name; docs/reference/token-files.md lists them."""

TOKEN_RULES = 2
"""Version of the rules from samples to tokens.

Of n samples, version 2 gives ``ceil(n / samples_per_token)`` tokens. In version 1 zeros fill the
last chunk, and its tokens are whole chunks.
"""


def token_settings(
    model: ModelFile, *, search: bool = True, resampler: str = DEFAULT_RESAMPLER
) -> Settings:
    """Return what changes a model's tokens beside its fingerprint.

    Two models of one fingerprint and equal settings give equal tokens, on every CPU that
    docs/reference/exactness.md lists. A model that needs the whole signal states ``causal`` False,
    and where windows were encoded their ``window`` and ``overlap`` in seconds, too. The resampler
    is stated for sound of the model's own rate too, which it does not change.

    Parameters
    ----------
    model : ModelFile
        The model.
    search : bool
        That of `Codec.encode`: False where signs replace the code search.
    resampler : str
        What brings sound of other rates to the model's rate: one of `RESAMPLERS`.
    """
    causal = {} if model.config.encodes_streams else {"causal": False}
    return {
        "weights": model.scheme,
        "activation_bits": model.activation_bits,
        "resampler": RESAMPLERS[check_resampler(resampler)],
        "search": search and model.config.search is not None,
        "token_rules": TOKEN_RULES,
        **causal,
    }


_WINDOWS = "window", "overlap"
_MOST_DIGITS = 15


def window_tags(settings: Settings, rate: int) -> dict[str, str]:
    """Return the windows of settings, in seconds, as metadata of a bitstream, in samples."""
    return {key: str(round(settings[key] * rate)) for key in _WINDOWS if key in settings}


def window_settings(tags: Mapping[str, str], rate: int) -> Settings:
    """Return the windows of a bitstream's metadata, in samples, as settings, in seconds.

    The metadata is foreign text: what is no number of samples states nothing.
    """
    stated = {key: tags.get(key, "") for key in _WINDOWS}
    return {
        key: int(text) / rate
        for key, text in stated.items()
        if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    }


def differences(stored: Settings, own: Settings) -> str:
    """Return what stored settings have that a model's own do not, for a message; or nothing.

    Settings that one side does not state are not compared. Nor is the resampler, which belongs to
    the sound and not to the model.
    """
    shared = [key for key in own if key in stored and key != "resampler"]
    pairs = [(key, stored[key], own[key]) for key in shared if stored[key] != own[key]]
    return ", ".join(f"{k} {shown(there, 40)} (here {here})" for k, there, here in pairs)


def most_tokens(
    n_samples: int,
    samples_per_token: int,
    chunk_tokens: int,
    settings: Settings,
    unstated: int = 1,
) -> int:
    """Return how many tokens a number of samples has at most.

    The settings, those of the tokens, name the version of the rules; `unstated` is the version
    where they name none.
    """
    n_tokens = -(-n_samples // samples_per_token)
    whole = chunk_tokens if settings.get("token_rules", unstated) == 1 else 1
    return -(-n_tokens // whole) * whole


class _Field(NamedTuple):
    """A field of the settings code: a code of 0 states nothing."""

    key: str
    shift: int
    bits: int
    values: tuple[Any, ...]
    """Values of the codes 1, 2 and so on."""


_FIELDS = (
    _Field("weights", 0, 3, ("f32", "f16", "int8", "int4")),
    _Field("activation_bits", 3, 2, (32, 12, 8)),
    _Field("search", 5, 2, (False, True)),
    _Field("resampler", 7, 3, tuple(RESAMPLERS.values())),
    _Field("token_rules", 10, 4, tuple(range(1, 16))),
    _Field("dtx", 14, 1, (True,)),
    _Field("causal", 15, 1, (False,)),
)


def settings_code(settings: Settings) -> int:
    """Return settings as the 16-bit number in the header of a bitstream.

    A setting without a code, and one that `settings` does not state, is 0 in its field.
    docs/reference/bitstream.md lists the fields.
    """
    code = 0
    for field in _FIELDS:
        value = settings.get(field.key)
        # True equals 1: the type tells the value of another key's field from this one's.
        codes = [n for n, v in enumerate(field.values, 1) if type(v) is type(value) and v == value]
        code |= (codes[0] if codes else 0) << field.shift
    return code


def settings_of(code: int) -> Settings:
    """Return the settings that a code of `settings_code` states.

    Codes that this release does not know state nothing.
    """
    numbers = ((field, code >> field.shift & ((1 << field.bits) - 1)) for field in _FIELDS)
    return {f.key: f.values[n - 1] for f, n in numbers if 1 <= n <= len(f.values)}
