"""Recipes, jobs, reports and totals as JSON text, which any process reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Job, Recipe, Report, Totals


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
    items = tuple(Item(**{**i, "columns": MappingProxyType(i["columns"])}) for i in fields["items"])
    return Job(fields["name"], items, MappingProxyType(fields["blamed"]))


def report_of(text: str) -> Report:
    """Return the report of a line."""
    return Report(**json.loads(text))


def totals_of(text: str) -> Totals:
    """Return the totals of a line."""
    return Totals(**json.loads(text))


def _plain(value: Any) -> Any:
    """Return what `json` has no form for as what it has: fields and mappings as dictionaries."""
    return dict(value) if isinstance(value, Mapping) else vars(value)
