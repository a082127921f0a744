"""Recipes, jobs, reports, totals and rows as JSON text, which any process reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from fcs_edge.corpus.items import Item, item_of, values_of
from fcs_edge.corpus.job import Job, Recipe, Report, Row, Totals


def to_json(value: Recipe | Job | Report | Totals) -> str:
    """Return a value as one line of ASCII; the function of its class reads it."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def recipe_of(text: str) -> Recipe:
    """Return the recipe of a line."""
    fields = json.loads(text)
    for name in ("text_columns", "also"):
        fields[name] = tuple(fields[name])
    return Recipe(**{**fields, "options": MappingProxyType(fields["options"])})


def job_of(text: str) -> Job:
    """Return the job of a line."""
    fields = json.loads(text)
    items = tuple(map(item_of, fields["items"]))
    blamed, rows = MappingProxyType(fields["blamed"]), MappingProxyType(fields["rows"])
    return Job(fields["name"], items, blamed, rows)


def report_of(text: str) -> Report:
    """Return the report of a line."""
    return Report(**json.loads(text))


def totals_of(text: str) -> Totals:
    """Return the totals of a line."""
    return Totals(**json.loads(text))


def row_to_json(row: Row) -> str:
    """Return a row as one line of ASCII."""
    tokens = row["tokens"]
    if tokens is not None:
        tokens = base64.b64encode(np.ascontiguousarray(tokens, "<u2").tobytes()).decode()
    return json.dumps({**row, "tokens": tokens}, separators=(",", ":"))


def row_of(text: str) -> Row:
    """Return the row of a line, equal to the one that was written."""
    row: Row = json.loads(text)
    if row["tokens"] is not None:
        tokens = np.frombuffer(base64.b64decode(row["tokens"]), "<u2")
        row["tokens"] = tokens.astype(np.uint16, copy=False)
    return row


def _plain(value: Any) -> Any:
    """Return what `json` has no form for as what it has: items as lists, others as dictionaries."""
    if isinstance(value, Item):
        return values_of(value)
    return dict(value) if isinstance(value, Mapping) else vars(value)
