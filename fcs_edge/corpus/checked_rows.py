"""What a row of a dataset must be like."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fcs_edge.corpus.shard_reading import TokenRows
from fcs_edge.errors import shown

if TYPE_CHECKING:
    from fcs_edge.corpus.schema import ShardFacts

_SHA256 = re.compile("[0-9a-f]{64}")
_LEAST = {"sample_rate_in": 1, "channels": 1, "n_not_finite": 0, "size": 0}
"""The least values of numbers."""


class RowRules:
    """Checks rows of a shard.

    Parameters
    ----------
    facts : ShardFacts
        What the shard states of its rows.
    """

    def __init__(self, facts: ShardFacts) -> None:
        self._highest = (1 << facts.bits_per_token) - 1
        self._per_token = facts.sample_rate / facts.token_rate
        self._counts_exactly = facts.settings.get("causal", True) is not False

    def problems(self, rows: list[dict[str, Any]], tokens: TokenRows) -> Iterator[tuple[int, str]]:
        """Yield what is wrong with a batch of rows: the row's number in it, and a line."""
        wrong = tokens.tokens > self._highest
        if wrong.any():
            places = np.searchsorted(tokens.starts, np.flatnonzero(wrong), side="right") - 1
            for place in np.unique(places).tolist():
                high = int(tokens.row(place).max())
                yield place, f"holds the token {high}; the model's are 0 to {self._highest}"
        for place, row in enumerate(rows):
            problem = self._problem(row, int(tokens.lengths[place]))
            if problem is not None:
                yield place, problem

    def _problem(self, row: dict[str, Any], length: int) -> str | None:
        for column in ("id", "path"):
            if not row[column]:
                return f"has no {column}"
        if row["error"] is not None:
            return "has both tokens and an error" if row["has_tokens"] else None
        if not row["has_tokens"]:
            return "has neither tokens nor an error"
        if row["n_tokens"] != length:
            return f"holds {length} tokens, and its n_tokens is {row['n_tokens']}"
        if row["n_samples"] is None or row["n_samples"] <= 0:
            return f"its n_samples is {row['n_samples']}"
        needed = math.ceil(row["n_samples"] / self._per_token)
        # Of a model that is not causal the last token may stand for up to two.
        least = needed if self._counts_exactly else needed - 2
        if not least <= length <= needed:
            return f"holds {length} tokens, and its {row['n_samples']} samples need {needed}"
        if not _SHA256.fullmatch(row["sha256"] or ""):
            return f"its sha256 is {shown(row['sha256'], 80)}"
        for column, least in _LEAST.items():
            if row[column] is None or row[column] < least:
                return f"its {column} is {row[column]}"
        return None
