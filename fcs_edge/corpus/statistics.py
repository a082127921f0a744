"""What a dataset holds, in numbers, in memory that its size does not change."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.corpus.dataset import TokenDataset
from fcs_edge.corpus.dataset import open as open_dataset
from fcs_edge.corpus.durations import Durations
from fcs_edge.corpus.error_groups import kind_of
from fcs_edge.corpus.models import model_of
from fcs_edge.corpus.pair_counts import PairCounts, entropy
from fcs_edge.corpus.schema import is_cut
from fcs_edge.corpus.shard_reading import TokenRows, batches, tokens_bytes
from fcs_edge.corpus.silence import silence_tokens
from fcs_edge.corpus.storage import data_name
from fcs_edge.errors import CorpusError
from fcs_edge.model.layers import U16

Facts = dict[str, Any]
"""Values for JSON by name."""

_COLUMNS = (
    *("id", "n_samples", "tokens", "sample_rate_in", "channels"),
    *("n_not_finite", "size", "warning", "error"),
)
_FREQUENT = 10
"""Tokens that are listed."""
_MOST_KINDS = 200
"""Different errors, rates, channels and suffixes that are counted; others are one more."""
_SILENT = 0.9
"""Share of silence from which a file counts as silent."""
_SECONDS_AN_HOUR = 3600.0


def stats(
    dataset: str | os.PathLike[str] | TokenDataset,
    *,
    model: str | os.PathLike[str] | None = None,
) -> Facts:
    """Return what a dataset holds, as ``fcs-edge corpus stats --json`` writes it.

    Parameters
    ----------
    dataset : str, path or TokenDataset
        A folder or URI, or an opened dataset. A run that is not finished counts, too.
    model : str or path, optional
        The model of the tokens, whose silence is counted. Absent: a model with a name here
        that has the dataset's fingerprint; without one, ``silence`` is None.

    Returns
    -------
    dict
        Values by name, as docs/reference/corpus-stats.md lists them.

    Raises
    ------
    fcs_edge.CorpusError
        There is no such dataset, or a shard of it is damaged.
    """
    opened = dataset if isinstance(dataset, TokenDataset) else open_dataset(dataset, partial=True)
    stated = opened.facts
    codec = model_of(bytes.fromhex(stated.fingerprint), model)
    silence = None
    if codec is not None and codec.model.part != "decoder":
        silence = silence_tokens(codec)
    tally = _Tally(stated.bits_per_token, stated.sample_rate, silence)
    n_bytes = 0
    for shard in opened.shards:
        n_bytes += _read(opened, shard, tally)
    facts = tally.facts(stated.token_rate)
    size = facts["sizes"]
    size["shards_bytes"] = n_bytes
    size["bytes_per_token"] = _ratio(n_bytes, facts["tokens"])
    return {
        "model": {"name": stated.model, "fingerprint": stated.fingerprint},
        "settings": dict(stated.settings),
        "token_rate": stated.token_rate,
        "bits_per_token": stated.bits_per_token,
        "shards": len(opened.shards),
        **facts,
    }


def _read(opened: TokenDataset, shard: str, tally: _Tally) -> int:
    """Count the rows of a shard; return the bytes of its file."""
    name = data_name(shard)
    for batch in batches(opened.storage, name, _COLUMNS):
        tally.add(batch, name)
    tally.add_size(tokens_bytes(opened.storage, name))
    with opened.storage.open(name) as file:
        return file.seek(0, os.SEEK_END)


class _Parts:
    """Files and seconds of sound by a property of the source."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, key: object, seconds: float) -> None:
        """Count a file."""
        text = "unknown" if key is None else str(key)
        if text not in self._files and len(self._files) >= _MOST_KINDS:
            text = "other"
        self._files[text] += 1
        self._seconds[text] += seconds

    def facts(self) -> list[Facts]:
        """Return the parts, the longest first."""
        order = sorted(self._files, key=lambda key: (-self._seconds[key], key))
        return [
            {
                "value": key,
                "files": self._files[key],
                "hours": self._seconds[key] / _SECONDS_AN_HOUR,
            }
            for key in order
        ]


class _Tally:
    """Sums over rows."""

    def __init__(self, bits: int, sample_rate: int, silence: U16 | None) -> None:
        self._bits, self._rate = bits, sample_rate
        self._counts = np.zeros(1 << bits, np.int64)
        self._first_counts = np.zeros(1 << bits, np.int64)
        self._pairs = PairCounts()
        self._durations = Durations()
        self._silence = silence
        self._is_silence = np.zeros(1 << bits, np.int64)
        if silence is not None:
            self._is_silence[silence] = 1
        self._n: Counter[str] = Counter()
        self._kinds = {"errors": Counter[str](), "warnings": Counter[str]()}
        self._sources = {"sample_rates": _Parts(), "channels": _Parts(), "suffixes": _Parts()}

    def add(self, batch: Any, name: str) -> None:
        """Count a batch of rows."""
        rows = TokenRows(batch.column("tokens"), name)
        self._add_tokens(rows, name)
        columns = {
            key: batch.column(key).to_pylist() for key in batch.schema.names if key != "tokens"
        }
        for values in zip(*columns.values(), strict=True):
            self._add_row(dict(zip(columns, values, strict=True)))
        if self._silence is not None and rows.tokens.size:
            has = rows.lengths > 0
            silent = np.add.reduceat(self._is_silence[rows.tokens], rows.starts[has])
            self._n["silent_files"] += int((silent >= _SILENT * rows.lengths[has]).sum())

    def _add_tokens(self, rows: TokenRows, name: str) -> None:
        tokens = rows.tokens
        if not tokens.size:
            return
        if int(tokens.max()) >= self._counts.size:
            raise CorpusError(
                f"{name}: holds the token {tokens.max()}; the model's are 0 to "
                f"{self._counts.size - 1}; fcs-edge corpus check says more"
            )
        self._counts += np.bincount(tokens, minlength=self._counts.size)
        within = np.ones(tokens.size - 1, np.bool_)
        # No pair of the last token of a row and the first of the next.
        starts = rows.starts[rows.lengths > 0][1:]
        within[starts - 1] = False
        first = tokens[:-1][within]
        self._first_counts += np.bincount(first, minlength=self._counts.size)
        self._pairs.add(first, tokens[1:][within])

    def _add_row(self, row: Facts) -> None:
        self._n["files"] += 1
        self._n["source_bytes"] += row["size"] or 0
        for column, kinds in (("error", "errors"), ("warning", "warnings")):
            if row[column] is not None:
                self._n[kinds] += 1
                self._count_kind(kinds, kind_of(row[column]))
        if row["error"] is not None:
            return
        n_samples = row["n_samples"] or 0
        seconds = n_samples / self._rate
        self._n["samples"] += n_samples
        self._n["not_finite_samples"] += row["n_not_finite"] or 0
        self._n["not_finite_files"] += bool(row["n_not_finite"])
        self._durations.add(seconds)
        self._n["cut"] += is_cut(row)
        self._sources["sample_rates"].add(row["sample_rate_in"], seconds)
        self._sources["channels"].add(row["channels"], seconds)
        suffix = PurePosixPath(row["id"] or "").suffix.lower()
        self._sources["suffixes"].add(suffix if len(suffix) <= 8 else "", seconds)

    def _count_kind(self, kinds: str, kind: str) -> None:
        counter = self._kinds[kinds]
        counter[kind if kind in counter or len(counter) < _MOST_KINDS else "other"] += 1

    def add_size(self, n_bytes: int) -> None:
        """Count the bytes that the tokens of a shard take in its file."""
        self._n["tokens_bytes"] += n_bytes

    def facts(self, token_rate: float) -> Facts:
        """Return the sums, and what follows from them."""
        n, tokens = self._n, int(self._counts.sum())
        seconds = n["samples"] / self._rate
        return {
            "files": n["files"],
            "hours": seconds / _SECONDS_AN_HOUR,
            "errors": n["errors"],
            "cut": n["cut"],
            "error_kinds": _listed(self._kinds["errors"]),
            "warning_kinds": _listed(self._kinds["warnings"]),
            "not_finite": {"files": n["not_finite_files"], "samples": n["not_finite_samples"]},
            "tokens": tokens,
            "entropy": self._entropy(),
            "codes": self._codes(tokens),
            "silence": self._silence_facts(tokens, token_rate),
            "durations": self._durations.facts(),
            "sources": {key: parts.facts() for key, parts in self._sources.items()},
            "sizes": {
                "sources_bytes": n["source_bytes"],
                "tokens_column_bytes": n["tokens_bytes"],
                "tokens_column_bytes_per_token": _ratio(n["tokens_bytes"], tokens),
            },
        }

    def _entropy(self) -> Facts:
        total = int(self._counts.sum())
        ones = self._ones()
        single, pairs = entropy(self._counts), self._pairs.entropy()
        share = ones / total if total else np.zeros(self._bits)
        return {
            "token_bits": single,
            "pair_bits": pairs,
            "token_bits_after_previous": max(0.0, pairs - entropy(self._first_counts)),
            "pairs": self._pairs.n,
            "pair_coverage": self._pairs.coverage(),
            "pairs_counted": 1 / 2**self._pairs.level,
            "bit_ones": [float(value) for value in share],
            "bit_entropy": [_binary_entropy(float(value)) for value in share],
        }

    def _ones(self) -> NDArray[np.int64]:
        """Return how often each bit of a token is 1, the lowest first."""
        codes = np.arange(self._counts.size)
        return np.array([self._counts[(codes >> bit) & 1 == 1].sum() for bit in range(self._bits)])

    def _codes(self, tokens: int) -> Facts:
        used = np.sort(self._counts[self._counts > 0])[::-1]
        order = np.lexsort((np.arange(self._counts.size), -self._counts))[:_FREQUENT]
        ranks = _ranks(used.size)
        shares = np.cumsum(used) / max(1, tokens)
        frequent = [
            {
                "token": int(token),
                "share": _ratio(int(self._counts[token]), tokens),
                "silence": None if self._silence is None else bool(self._is_silence[token]),
            }
            for token in order
            if self._counts[token]
        ]
        return {
            "of": self._counts.size,
            "used": int(used.size),
            "perplexity": 2 ** entropy(self._counts) if tokens else 0.0,
            "most_frequent": frequent,
            "ranks": ranks.tolist(),
            "count_at_rank": used[ranks - 1].tolist(),
            "share_up_to_rank": [float(share) for share in shares[ranks - 1]],
        }

    def _silence_facts(self, tokens: int, token_rate: float) -> Facts | None:
        if self._silence is None:
            return None
        silent = int(self._counts[self._silence].sum())
        return {
            "tokens": self._silence.tolist(),
            "share": _ratio(silent, tokens),
            "hours": silent / token_rate / _SECONDS_AN_HOUR,
            "silent_files": self._n["silent_files"],
        }


def _listed(kinds: Counter[str]) -> list[Facts]:
    return [{"kind": kind, "files": n} for kind, n in sorted(kinds.items(), key=_most_first)]


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _binary_entropy(share: float) -> float:
    parts = np.array([share, 1 - share])
    return float(-(parts * np.log2(parts)).sum()) if 0 < share < 1 else 0.0


def _ranks(n: int) -> NDArray[np.int64]:
    """Return up to 100 ranks from 1 to n, in even steps of their logarithm."""
    if not n:
        return np.zeros(0, np.int64)
    return np.unique(np.geomspace(1, n, 100).round().astype(np.int64))
