"""Cuts and recordings as lhotse writes them, a line of JSON each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fcs_edge.corpus.manifest_entries import (
    Entry,
    Malformed,
    id_of,
    other_columns,
    seconds_of,
    text_of,
)

_SUPERVISION_KEYS = ("text", "speaker", "language")
_OWN_KEYS = frozenset(("id", "start", "duration", "channel", "recording", "type", "features"))
_RECORDING_KEYS = frozenset(
    ("id", "sources", "sampling_rate", "num_samples", "duration", "channel_ids", "transforms")
)


def is_lhotse(row: Mapping[str, Any]) -> bool:
    """Return whether a line is a cut or a recording of lhotse."""
    return "recording" in row or "sources" in row or row.get("type") in ("MixedCut", "PaddingCut")


def lhotse_entry(row: Mapping[str, Any], *, keep_text: bool) -> Entry:
    """Return the sound of a cut or a recording.

    Raises
    ------
    Malformed
        It is neither, or a cut of several sounds.
    """
    if row.get("type") in ("MixedCut", "PaddingCut"):
        raise Malformed(f"is a {row['type']}, which is no part of one file")
    if "recording" in row:
        return _cut(row, _mapping(row["recording"], "recording"), keep_text)
    path, channel, error = _source(row, None)
    columns = other_columns(row, _RECORDING_KEYS) if keep_text else {}
    length = seconds_of(row, "duration")
    return Entry(path, id_of(row), None, None, channel, length, error, columns)


def _cut(row: Mapping[str, Any], recording: Mapping[str, Any], keep_text: bool) -> Entry:
    offset, duration = seconds_of(row, "start"), seconds_of(row, "duration")
    path, channel, error = _source(recording, row.get("channel"))
    columns = {**other_columns(row, _OWN_KEYS), **_supervision(row)} if keep_text else {}
    return Entry(path, id_of(row), offset or 0.0, duration, channel, None, error, columns)


def _source(recording: Mapping[str, Any], channel: Any) -> tuple[str, int | None, str | None]:
    """Return the file of a recording, the channel in it to read, and why it is not read."""
    sources = [_mapping(s, "source") for s in _sequence(recording.get("sources"), "sources")]
    if not sources:
        raise Malformed("its recording has no sources")
    channels = _channels(channel)
    if channels is not None:
        sources = [s for s in sources if set(channels) & set(_channels(s.get("channels")) or [])]
    if len(sources) != 1:
        first = text_of(sources[0].get("source") if sources else "", "source")
        return first, None, "its channels are not in one file"
    source, own = sources[0], _channels(sources[0].get("channels")) or [0]
    path = text_of(source.get("source"), "source")
    if (kind := source.get("type", "file")) != "file":
        return path, None, f"a source of the type {kind!r} is not read; only files are"
    if recording.get("transforms"):
        return path, None, "its recording has transforms, which are not applied"
    if channels is None or len(own) == 1 or set(own) <= set(channels):
        return path, None, None
    if len(channels) > 1:
        return path, None, "some of its file's channels are no mean and no single one"
    return path, own.index(channels[0]) + 1, None


def _channels(value: Any) -> list[int] | None:
    """Return channels as a list of numbers, from 0; None where none are stated."""
    if value is None:
        return None
    channels = value if isinstance(value, list) else [value]
    if not all(type(c) is int and c >= 0 for c in channels):
        raise Malformed("its channel is no number from 0")
    return channels


def _supervision(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the text, speaker and language of a cut; texts of several supervisions are joined."""
    parts = [_mapping(s, "supervision") for s in _sequence(row.get("supervisions") or [], "text")]
    columns = {}
    for key in _SUPERVISION_KEYS:
        values = [s[key] for s in parts if isinstance(s.get(key), str)]
        if values:
            columns[key] = " ".join(values if key == "text" else dict.fromkeys(values))
    return other_columns(columns, frozenset())


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"its {name} is no object")
    return value


def _sequence(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Malformed(f"its {name} is no list")
    return value
