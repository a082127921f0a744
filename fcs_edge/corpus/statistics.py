"""What a dataset holds, in numbers."""

from __future__ import annotations

import os
from typing import Any

Facts = dict[str, Any]


def stats(dataset: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None) -> Facts:
    """Return what a dataset holds, as values for JSON, in memory that its size does not change."""
    raise NotImplementedError
