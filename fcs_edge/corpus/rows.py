"""Rows of any table to rows with tokens, for libraries that hold the rows themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fcs_edge.audio.resampling import DEFAULT_RESAMPLER
from fcs_edge.audio.sound_input import Channel
from fcs_edge.codec import Codec


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
    """Yield each row with the tokens of its sound."""
    raise NotImplementedError


def encode_columns(
    batch: Mapping[str, Sequence[Any]], codec: Codec, **options: Any
) -> dict[str, list[Any]]:
    """Return a batch of rows, as lists by column, with the tokens of its sounds."""
    raise NotImplementedError
