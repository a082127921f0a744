"""A plug-in of pytest: all kernels come from a library, and a test that needs Numba fails.

    FCS_EDGE_COMPILED=FOLDER PYTHONPATH=scripts python -m pytest -p arm64_library TESTS

``arm64_smoke.sh`` runs it. One kernel that a library lacks hands all kernels to Numba, which takes
minutes under emulation.
"""

from __future__ import annotations

import sys

from fcs_edge.kernels.runtime import _jit, aot_library


def refuse() -> None:
    """Fail in place of `_jit.use_numba`."""
    raise RuntimeError("the library lacks a kernel: scripts/compile_kernels.py --tests lists them")


if _jit.uses_numba():
    sys.exit(f"arm64_library: no library is used: {aot_library.fault() or aot_library.target()}")
_jit.use_numba = refuse
