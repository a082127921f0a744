"""The C libraries that tests of exports call: one of toy kernels, and this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import toy_codec
from c_library import Library, Model
from fcs_edge.export.libraries import NATIVE
from native_tools import compiled

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def toy_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fcs.c over the toy kernels, built by the C compiler alone."""
    return compiled(
        tmp_path_factory.mktemp("toy") / "libtoy.so",
        *("-shared", "-fPIC", "-fvisibility=default", f"-I{NATIVE}"),
        *(NATIVE / "fcs.c", NATIVE / "fcs_inside.c", HERE / "toy_kernels.c"),
    )


@pytest.fixture(scope="session")
def toy(toy_library: Path) -> Model:
    """The toy codec."""
    return Library(toy_library).open(toy_codec.model())
