"""Shared fixtures: the golden cases, models made from them, and a clip of speech."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import settings
from numpy.typing import NDArray
from safetensors.numpy import save_file

# Numba compiles the kernels of these sources; `test_aot_library` tests the compiled libraries, and
# runs some files again with the folder where they are.
os.environ["FCS_EDGE_COMPILED"] = os.environ.get("FCS_EDGE_TESTED_LIBRARIES", "off")
# The user's own models and default take no part.
os.environ.pop("FCS_EDGE_MODEL", None)
os.environ["XDG_DATA_HOME"] = os.devnull

import fuzz_cases

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.tensor_layout import tensor_shapes
from helpers import COMMAND

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
SMALL_CASES = ("tiny", "options", "nolookahead")

# Each run tries the same examples: a change is to blame for what it finds.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="also run the 249 M-weight case (4 GB of memory, disk)"
    )


def pytest_report_header() -> str:
    return (
        f"fuzz tests: FCS_EDGE_FUZZ_SEED={fuzz_cases.SEED} FCS_EDGE_FUZZ_TIMES={fuzz_cases.TIMES}"
    )


ONE_AT_A_TIME = "tests/live/", "tests/link/test_over_network.py", "tests/export/test_page.py"
"""Tests that measure time or play sound: one process runs them, one after the other."""
FIRST = (
    *ONE_AT_A_TIME,
    "tests/kernels/test_aot_library.py",
    "tests/kernels/test_linear.py",
    "tests/cli/",
)
"""Tests that take longest: they start first, so that no core waits at the end."""


def place(nodeid: str, paths: tuple[str, ...]) -> int:
    """Return which of some paths a test belongs to: their number where it is none."""
    return next((i for i, path in enumerate(paths) if nodeid.startswith(path)), len(paths))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each file's tests in one process, so that its kernels are compiled once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            alone = place(nodeid, ONE_AT_A_TIME) < len(ONE_AT_A_TIME)
            return "one at a time" if alone else nodeid.split("::")[0]

    # In the order of the tests, not of their number in a file.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.nodeid, FIRST))
    if config.getoption("--full"):
        return
    for item in items:
        if "full" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs --full"))


def load_script(name: str) -> ModuleType:
    """Import a file of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Golden:
    """A golden case: the input, the reference's output, and the model to run."""

    name: str
    case: dict[str, Any]
    expected: dict[str, NDArray[Any]]
    signal: NDArray[np.float32]
    checkpoint: Path
    model: Path

    @property
    def codec(self) -> fcs_edge.Codec:
        return fcs_edge.load(self.model)


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """10.96 s of speech, (175360,) float32 at 16 kHz."""
    return read_clip("251-118436-0003")


@pytest.fixture(scope="session")
def second_speech() -> NDArray[np.float32]:
    """15.96 s of another speaker, (255360,) float32 at 16 kHz."""
    return read_clip("84-121123-0005")


def read_clip(name: str) -> NDArray[np.float32]:
    """Return a clip of tests/data."""
    signal, rate = soundfile.read(DATA / f"{name}.flac", dtype="float32")
    assert rate == 16000
    return signal


@pytest.fixture(scope="session")
def golden(
    tmp_path_factory: pytest.TempPathFactory,
    speech: NDArray[np.float32],
    second_speech: NDArray[np.float32],
) -> Callable[[str], Golden]:
    """Return a golden case by name, its model converted from a new checkpoint."""
    cases: dict[str, Golden] = {}
    scripts = load_script("make_checkpoint")

    def get(name: str) -> Golden:
        if name not in cases:
            case_path = DATA / "golden" / f"{name}.json"
            case = json.loads(case_path.read_text())
            folder = tmp_path_factory.mktemp(name)
            scripts.write(case_path, folder)
            model = folder / f"{name}.safetensors"
            convert(folder, model, name, "f32")
            with np.load(DATA / "golden" / f"{name}.npz") as arrays:
                expected = {key: arrays[key] for key in arrays.files}
            stated = case["input"]
            if "chunks" in stated:
                signal = speech[: stated["chunks"] * case["chunk_size"]]
            else:
                signal = second_speech[stated.get("offset", 0) :]
            cases[name] = Golden(name, case, expected, signal, folder, model)
        return cases[name]

    return get


@pytest.fixture(scope="session")
def tiny(golden: Callable[[str], Golden]) -> fcs_edge.Codec:
    """The tiny golden model: every part at odd widths."""
    return golden("tiny").codec


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file as large as the built-in one, of seeded float32 weights."""
    config = config_json.to_dict(fcs_edge.load().model.config)
    return drawn_model(config, tmp_path_factory.mktemp("floats"), 3, "floats")


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> fcs_edge.Codec:
    """A model like the tiny one, of seeded weights, with noise and an overlap of odd sizes.

    Its heads are those that libraries have kernels for.
    """
    config = json.loads((DATA / "golden/tiny.json").read_text())["config"]
    config["encoder_config"]["num_heads"] = 2
    config["decoder_config"] |= {"noise_channels": 5, "win_length": 611}
    return fcs_edge.load(drawn_model(config, tmp_path_factory.mktemp("noisy"), 7, "noisy"))


def drawn_model(config: dict[str, Any], folder: Path, seed: int, name: str) -> Path:
    """Write a checkpoint of seeded weights and convert it; return the model file."""
    shapes = tensor_shapes(config_json.from_dict(config))
    params = {name: list(shape) for name, shape in shapes.items()}
    tensors = load_script("make_checkpoint").make({"seed": seed, "params": params})
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    convert(folder, folder / f"{name}.safetensors", name, "f32")
    return folder / f"{name}.safetensors"


@pytest.fixture
def shell() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the command as a process, with bytes on its standard input."""

    def call(*arguments: object, data: bytes = b"", **options: Any) -> Any:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=data,
            capture_output=True,
            timeout=120,
            **options,
        )

    return call
