"""pyarrow, imported at first use: only corpora need it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fcs_edge.errors import CorpusError, reason


def pyarrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or the module of it that `module` names.

    Raises
    ------
    CorpusError
        It is not installed, or a library of it cannot be loaded.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CorpusError("fcs-edge corpus needs pyarrow: pip install pyarrow") from error
    except ImportError as error:
        raise CorpusError(f"pyarrow cannot be imported: {reason(error)}") from error
