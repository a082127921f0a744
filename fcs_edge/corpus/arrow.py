"""pyarrow, imported at first use: only corpora need it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fcs_edge.errors import CorpusError


def pyarrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or the module of it that `module` names.

    Raises
    ------
    CorpusError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise CorpusError(
            'fcs-edge corpus needs pyarrow: pip install "fcs-edge[corpus]"'
        ) from error
