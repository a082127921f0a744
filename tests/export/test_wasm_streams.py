"""Tokens and samples of the WebAssembly modules equal those of the same kernels on x86-64.

The built-in model and small ones with each type of weights go through fcs.js in Node, cut in many
ways. `x86-64-v2-wasm` is the library that they must equal to the bit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fingerprints
import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries
from fcs_edge.kernels.isa import instructions, targets
from fcs_edge.kernels.runtime import aot_library
from fcs_edge.modelfile import catalogue
from native_tools import lacking, needed

HERE = Path(__file__).parent
SCRIPT = Path(libraries.__file__).parent / "web" / "fcs.js"
LENGTHS = [0, 1, 319, 320, 321, 640, 1279, 1281]
"""Samples of streams that end in a partial chunk."""
MODELS = "edge-65k", "f32", "f16", "int8", "int4", "int8 by 8 bits"
GOLDEN = ("nolookahead",)
BUILD = "python scripts/compile_kernels.py --target wasm --target x86-64-v2-wasm"


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder of the modules."""
    try:
        return libraries.find(libraries.MODULE).folder
    except FcsError as error:
        lacking(f"{error}; {BUILD}")


@pytest.fixture(scope="module")
def oracle() -> dict[str, str]:
    """The environment in which streams have the kernels of WebAssembly, on x86-64."""
    path = aot_library.FOLDER / f"{targets.ORACLE.name}.so"
    if not path.is_file():
        lacking(f"no {path}: {BUILD}")
    recorded = aot_library.record_of(path).read_bytes()
    if wrong := aot_library.difference(path.read_bytes(), recorded, aot_library.sources_hash()):
        lacking(f"{path} ({wrong}): {BUILD}")
    chosen = {instructions.VARIABLE: targets.ORACLE.using.name}
    return {**os.environ, **chosen, aot_library.VARIABLE: str(path.parent)}


def job(folder: Path, golden: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Write models and signals; return what is to be run."""
    listed = []
    paths = fingerprints.models(folder)
    signals = {name: fingerprints.speech() for name in MODELS}
    for name in GOLDEN:
        case = golden(name)
        paths[name], signals[name] = case.model, case.signal
    for name, signal in signals.items():
        out, activations = folder / name, fingerprints.ACTIVATIONS.get(name)
        source = str(paths[name] or name)
        model = catalogue.find(source)
        model = model.with_activations(activations) if activations else model
        (folder / f"{name}.fcsm").write_bytes(exporter.model_bytes(model, libraries.MODULE))
        signal.tofile(folder / f"{name}.signal")
        entry = {"name": name, "source": source, "activations": activations, "out": str(out)}
        entry |= {"model": f"{out}.fcsm", "signal": f"{out}.signal", "lengths": LENGTHS}
        listed.append(entry)
    return listed


def in_node(path: Path) -> dict[str, Any]:
    command = [needed("node"), str(HERE / "wasm_streams.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(entry: dict[str, Any], kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what Node and the oracle wrote, as bits."""
    dtype = np.uint16 if kind == "tokens" else np.uint32
    ours, theirs = (np.fromfile(f"{entry['out']}{w}.{kind}", dtype) for w in ("", ".oracle"))
    return ours, theirs


def test_streams_are_those_of_x86_64(
    modules: Path,
    oracle: dict[str, str],
    golden: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    needed("node")
    folder = tmp_path_factory.mktemp("wasm")
    entries = job(folder, golden)
    facts = {"script": str(SCRIPT), "module": str(modules / "fcs.wasm"), "models": entries}
    path = folder / "job.json"
    path.write_text(json.dumps(facts))
    command = [sys.executable, str(HERE / "wasm_oracle.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=oracle)
    assert not done.returncode, done.stderr
    report = in_node(path)
    for entry in entries:
        name = entry["name"]
        assert report[name]["differ"] == [], name
        for kind in ("tokens", "samples"):
            ours, theirs = written(entry, kind)
            assert np.array_equal(ours, theirs), (name, kind)
        if name in GOLDEN:
            expected = golden(name).expected["toks"]
            assert np.array_equal(written(entry, "tokens")[0][: expected.size], expected)
