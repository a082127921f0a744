"""How a child process of Python is started: one thread, and modules of this installation alone."""

from __future__ import annotations

import os
import sys

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def command(module: str) -> list[str]:
    """Return the command that runs the function `main` of a module of this package.

    The current folder takes no part: a file ``random.py`` in it would be imported.
    """
    code = (
        "import sys; sys.path[:] = [path for path in sys.path if path]; "
        f"from {module} import main; main()"
    )
    return [sys.executable, "-c", code]


def environment() -> dict[str, str]:
    """Return this process's environment, with one thread for each library of numbers."""
    return {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
