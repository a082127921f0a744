"""The C libraries that tests of exports call: one of toy kernels, and this machine's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import toy_codec
import traced_models
from c_library import Library, Model
from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries
from fcs_edge.export.libraries import NATIVE
from fcs_edge.kernels.isa import targets
from fcs_edge.kernels.runtime import aot_library
from native_tools import compiled, lacking

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trace a model once for a target, in whatever process a test runs."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "model_bytes", traced_models.traced_once(folder))
        yield


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


@pytest.fixture(scope="session")
def machine() -> str:
    """The target of this machine, whose library is built: skip, or fail, where it is not."""
    target = targets.fitting()
    if target is None:
        pytest.skip("no target is for this CPU")
    try:
        libraries.find(target.name)
    except FcsError as error:
        lacking(str(error))
    return target.name


@pytest.fixture(scope="session")
def library(machine: str) -> Library:
    """The C library of this machine."""
    return Library(libraries.find(machine).folder / "libfcs.so")


@pytest.fixture(scope="session")
def exported(library: Library, machine: str) -> Callable[[str | Path | None], Model]:
    """Export a model for this machine, the built-in one for None, and open it: once each."""
    models: dict[str | Path | None, Model] = {}

    def export(model: str | Path | None) -> Model:
        if model not in models:
            found = None if model is None else str(model)
            with pytest.MonkeyPatch.context() as patch:
                # Weights are packed by the library beside that of C, in place of Numba.
                patch.setenv(aot_library.VARIABLE, str(aot_library.FOLDER))
                models[model] = library.open(exporter.model_bytes(found, machine))
        return models[model]

    return export
