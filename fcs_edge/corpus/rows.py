"""Rows of any table to rows with tokens, for libraries that hold the rows themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fcs_edge.arguments import as_integer, as_signal
from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.audio.sound_input import Channel
from fcs_edge.codec import Codec
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Recipe, Row
from fcs_edge.errors import reason
from fcs_edge.model.layers import F32
from fcs_edge.tokens.settings import token_settings

RESULTS = (
    *("n_samples", "n_tokens", "tokens", "sample_rate_in", "channels"),
    *("n_not_finite", "sha256", "warning", "error"),
)
"""What `encode_rows` adds to a row; docs/reference/corpus-dataset.md describes each column."""

_SOUNDS = ("audio", "array", "sampling_rate")
"""What holds the sound itself, and is not passed on."""


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    codec: Codec,
    *,
    channel: Channel = "mean",
    resampler: str = DEFAULT_RESAMPLER,
    strict: bool = False,
    exact: bool = False,
    window: float | None = None,
    overlap: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield each row with the tokens of its sound; nothing is written.

    Parameters
    ----------
    rows : iterable of mappings
        A row has its sound in ``path``, a file; in ``audio``, a mapping of ``bytes`` or ``path``,
        as the `datasets` library gives it with ``Audio(decode=False)``; or in ``array``, floats of
        shape (n,) or (channels, n) at ``sampling_rate``. A row with an ``offset`` in seconds is a
        part of its sound, up to ``duration``, if it has that. What else a row has is passed on.
    codec : Codec
        The model.
    channel, resampler, strict
        As in `fcs_edge.read_audio`.
    exact, window, overlap
        As in `Codec.encode`.

    Yields
    ------
    dict
        The row, without ``audio``, ``array`` and ``sampling_rate``, and with `RESULTS`. A sound
        that cannot be read has tokens None, and says why in ``error``.

    Raises
    ------
    fcs_edge.ModelFileError
        The model is a half without an encoder. Nothing was read.
    TypeError
        A row has no sound, or one that is not floating point.
    ValueError
        An option is out of range, or the model has no use for it.

    Examples
    --------
    >>> import fcs_edge, numpy
    >>> silence = {"id": "a", "array": numpy.zeros(16000), "sampling_rate": 16000}
    >>> [row] = encode_rows([silence], fcs_edge.load())
    >>> row["id"], row["n_tokens"], row["error"]
    ('a', 50, None)
    """
    reading = {"channel": channel, "resampler": resampler, "strict": strict}
    recipe = _recipe(codec, **reading, exact=exact, window=window, overlap=overlap)
    # Now, not with the first row: what cannot work is refused before any work.
    return _encoded(rows, ItemEncoder(codec, recipe))


def encode_columns(
    batch: Mapping[str, Sequence[Any]], codec: Codec, **options: Any
) -> dict[str, list[Any]]:
    """Return a batch of rows, as lists by column, with the tokens of its sounds.

    It is for ``datasets.Dataset.map(batched=True)`` and Ray's ``map_batches``.

    Parameters
    ----------
    batch : mapping of str to sequence
        Columns of equal lengths; `encode_rows` says which.
    codec : Codec
        The model.
    **options
        As in `encode_rows`.
    """
    names = list(batch)
    rows = (dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True))
    encoded = list(encode_rows(rows, codec, **options))
    others = [name for name in names if name not in _SOUNDS]
    return {name: [row[name] for row in encoded] for name in dict.fromkeys((*others, *RESULTS))}


def _recipe(codec: Codec, **fields: Any) -> Recipe:
    """Return a recipe of a codec; nothing is written by it."""
    return Recipe(
        model=codec.name,
        model_sha256=codec.model.sha256,
        fingerprint=codec.fingerprint.hex(),
        settings=token_settings(codec.model, resampler=fields["resampler"]),
        out="",
        **fields,
    )


def _encoded(rows: Iterable[Mapping[str, Any]], encoder: ItemEncoder) -> Iterator[dict[str, Any]]:
    try:
        for row in rows:
            encoded = _encoded_row(row, encoder)
            others = {name: value for name, value in row.items() if name not in _SOUNDS}
            yield others | {name: encoded[name] for name in RESULTS}
    finally:
        encoder.close()


def _encoded_row(row: Mapping[str, Any], encoder: ItemEncoder) -> Row:
    """Return the columns of a row's sound."""
    sound = row.get("audio")
    sound = sound if isinstance(sound, Mapping) else row
    offset = _number(row.get("offset"))
    duration = None if offset is None else _number(row.get("duration"))
    path = sound.get("path")
    if sound.get("bytes") is None and sound.get("array") is None and path is not None:
        return encoder.row(_item_of(os.fsdecode(path), offset, duration))
    item = Item("", "", offset=offset, duration=duration)
    if (data := sound.get("bytes")) is not None:
        return encoder.row_of_bytes(item, bytes(data))
    if (array := sound.get("array")) is not None:
        rate = as_integer(sound.get("sampling_rate"), "sampling_rate")
        return encoder.row_of_samples(item, _channels(array), rate)
    raise TypeError(
        "a row has its sound in path, in audio (bytes or path), or in array and sampling_rate; "
        f"this one has {', '.join(map(str, row)) or 'nothing'}"
    )


def _item_of(path: str, offset: float | None, duration: float | None) -> Item:
    """Return a file as an item; what its size is, or why that is unknown."""
    size, error = 0, None
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as problem:
        error = reason(problem) if isinstance(problem, ValueError) else problem.strerror
    return Item("", path, size=size, offset=offset, duration=duration, error=error)


def _number(value: Any) -> float | None:
    """Return a number of a row; None where a table has none, as None or NaN."""
    return None if value is None or value != value else float(value)


def _channels(array: Any) -> F32:
    """Return samples as (n, channels) float32; one channel is (n,), several are (channels, n)."""
    samples = np.asarray(array)
    if samples.ndim == 2:
        return np.stack([as_signal(channel) for channel in samples], axis=1)
    return as_signal(samples)[:, None]
