"""JSON of files that may be hostile."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from fcs_edge.errors import shown


def loads(text: str | bytes) -> Any:
    """Parse JSON whose objects have no key twice.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON, a key is there twice, or it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {shown(twice, 60)!r} is there twice")
    return values
