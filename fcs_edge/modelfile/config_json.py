"""The configuration as JSON, spelled as in a published ``config.json``.

The keys of a file never change: a model's fingerprint depends on them. Where a field of
`fcs_edge.modelfile.config` has another name than its key, `_KEYS` maps the two.
"""

from __future__ import annotations

import dataclasses
import reprlib
from typing import Any, TypeVar

from fcs_edge.errors import ConfigError, shown
from fcs_edge.modelfile.config import (
    SUPPORTED,
    CodecConfig,
    CompressorConfig,
    DecoderConfig,
    DecompressorConfig,
    EncoderConfig,
    QuantizerConfig,
    SearchConfig,
    VocosConfig,
    check,
)

_NAMES = {
    "encoder": "WavLM",
    "compressor": "FocalEncoder",
    "quantizer": "BinarySphericalQuantizer",
    "decompressor": "FocalDecoder",
    "decoder": "WaveNeXt",
}
_VOCOS = "Vocos"
"""The other decoder."""
_KEYS = {"max_flips": "passes", "shortlist": "tries", "beam_width": "ways"}
"""Keys in files, by field, where they differ; all are of ``search_config``."""

_ADDED = {"noise_channels": 0, "win_length": None}
"""Keys of ``decoder_config`` that published models lack: they are written where they say more."""

_SIZE_LIMIT = 1 << 16
_NUMBER_LIMIT = 1e30
"""Magnitude of a number that is no size; no sum of a few of them overflows float32."""
_CODEBOOK_LIMIT = 1 << 53
"""Largest codebook whose number of bits a message states."""
_ZERO_ALLOWED = {
    "lookahead_size",
    "max_cached_steps",
    "focal_level",
    "focal_factor",
    "noise_channels",
}

_Part = TypeVar(
    "_Part",
    EncoderConfig,
    CompressorConfig,
    QuantizerConfig,
    SearchConfig,
    DecompressorConfig,
    DecoderConfig,
    VocosConfig,
)


def to_dict(config: CodecConfig) -> dict[str, Any]:
    """Return a configuration in the published spelling, with every published key written out.

    Parameters
    ----------
    config : CodecConfig
        A configuration.

    Returns
    -------
    dict
        Values that JSON has; `from_dict` reads them.
    """
    out: dict[str, Any] = {}
    vocos = isinstance(config.decoder, VocosConfig)
    for part, name in _NAMES.items():
        values = dataclasses.asdict(getattr(config, part))
        out[f"{part}_name"] = _VOCOS if part == "decoder" and vocos else name
        out[f"{part}_config"] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if key not in _ADDED or value != _ADDED[key]
        }
    if config.search is not None:
        search = dataclasses.asdict(config.search)
        out["search_config"] = {_KEYS.get(field, field): value for field, value in search.items()}
    return out


def from_dict(raw: object) -> CodecConfig:
    """Check a parsed ``config.json`` and build the configuration from it.

    Parameters
    ----------
    raw : object
        The parsed JSON.

    Returns
    -------
    CodecConfig
        The configuration; a key that is absent has its default.

    Raises
    ------
    ConfigError
        A key is unknown, or a value has a wrong type or is out of range. The parts do not fit each
        other.
    """
    if not isinstance(raw, dict):
        raise ConfigError("config: a JSON object is expected")
    valid = {f"{part}_{item}" for part in _NAMES for item in ("name", "config")}
    valid.add("search_config")
    for key in raw:
        if key not in valid:
            raise ConfigError(f"config: unknown key {_shown(key)}")
    for part, name in _NAMES.items():
        stated = raw.get(f"{part}_name", name)
        if stated != name and not (part == "decoder" and stated == _VOCOS):
            raise ConfigError(f"config: {part}_name {_shown(stated)} is not supported; {SUPPORTED}")
    config = CodecConfig(
        _part("encoder", EncoderConfig, raw),
        _part("compressor", CompressorConfig, raw),
        _part("quantizer", QuantizerConfig, raw),
        _part("decompressor", DecompressorConfig, raw),
        _decoder(raw),
        _part("search", SearchConfig, raw) if raw.get("search_config") is not None else None,
    )
    check(config)
    return config


def _decoder(raw: dict[str, Any]) -> DecoderConfig | VocosConfig:
    """Return the decoder's configuration.

    The reference takes any key for Vocos. ``input_channels`` is the former name of ``input_dim``,
    and takes precedence.
    """
    if raw.get("decoder_name") != _VOCOS:
        return _part("decoder", DecoderConfig, raw)
    stated = raw.get("decoder_config")
    if not isinstance(stated, dict):
        return _part("decoder", VocosConfig, raw)
    for key, default in _ADDED.items():
        if stated.get(key, default) != default:
            raise ConfigError(f"config: decoder_config.{key} is for WaveNeXt; Vocos has none")
    valid = {field.name for field in dataclasses.fields(VocosConfig)}
    known = {key: value for key, value in stated.items() if key in valid}
    if "input_channels" in stated:
        known["input_dim"] = stated["input_channels"]
    return _part("decoder", VocosConfig, {"decoder_config": known})


def _part(part: str, kind: type[_Part], raw: dict[str, Any]) -> _Part:
    stated = raw.get(f"{part}_config")
    stated = {} if stated is None else stated
    if not isinstance(stated, dict):
        raise ConfigError(f"config: {part}_config must be an object")
    fields = {_KEYS.get(f.name, f.name): f for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in stated.items():
        where = f"{part}_config.{key}"
        if key not in fields:
            raise ConfigError(f"config: unknown key {shown(where, 80)}")
        values[fields[key].name] = _value(where, key, str(fields[key].type), value)
    return kind(**values)


def _value(where: str, key: str, kind: str, value: object) -> object:
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise ConfigError(f"config: {where} must be true or false, not {_shown(value)}")
    if value is None and "None" in kind:
        return None
    if kind in ("int", "int | None"):
        most = _CODEBOOK_LIMIT if key == "codebook_size" else _SIZE_LIMIT
        return _integer(where, value, 0 if key in _ZERO_ALLOWED else 1, most)
    if kind == "tuple[int, ...]":
        if isinstance(value, list) and 1 <= len(value) <= 64:
            return tuple(_integer(where, v, 1) for v in value)
        raise ConfigError(f"config: {where} must be a list of integers, not {_shown(value)}")
    # NaN is within no limits; an integer may be beyond every float.
    allowed = isinstance(value, int | float) and abs(value) <= _NUMBER_LIMIT
    if not allowed or isinstance(value, bool):
        raise ConfigError(
            f"config: {where} must be a number of at most {_NUMBER_LIMIT:g}, not {_shown(value)}"
        )
    assert isinstance(value, int | float)
    return float(value)


def _shown(value: object) -> str:
    return shown(reprlib.repr(value), 60)


def _integer(where: str, value: object, least: int, most: int = _SIZE_LIMIT) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config: {where} must be an integer, not {_shown(value)}")
    if not least <= value <= most:
        raise ConfigError(f"config: {where} must be {least} to {most}, not {_shown(value)}")
    return value
