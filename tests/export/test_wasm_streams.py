"""Tokens and samples of the WebAssembly modules equal those of the same kernels on x86-64.

Models with each type of weights go through fcs.js in Node, cut in many
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
import wasm_module
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
MODELS = "edge-65k", "int4", "int8 by 8 bits", "noisy"
GOLDEN = "nolookahead", "options"
"""Of float32 weights: tokens are those of the reference too."""
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


def entry(folder: Path, name: str, signal: NDArray[np.float32], **facts: Any) -> dict[str, Any]:
    """Write a signal; return what is to be run with it."""
    signal.tofile(folder / f"{name}.signal")
    return {"name": name, "signal": f"{folder / name}.signal", "out": str(folder / name)} | facts


def job(folder: Path, golden: Callable[[str], Any], clips: dict[str, Any]) -> list[dict[str, Any]]:
    """Write models and signals; return what is to be run."""
    listed = []
    paths = fingerprints.models(folder)
    signals = {name: fingerprints.speech() for name in MODELS}
    for name in GOLDEN:
        case = golden(name)
        paths[name], signals[name] = case.model, case.signal
    for name, signal in signals.items():
        activations = fingerprints.ACTIVATIONS.get(name)
        source = str(paths[name] or name)
        model = catalogue.find(source)
        model = model.with_activations(activations) if activations else model
        (folder / f"{name}.fcsm").write_bytes(exporter.model_bytes(model, libraries.MODULE))
        facts = {"model": str(folder / f"{name}.fcsm"), "source": source}
        listed.append(
            entry(folder, name, signal, **facts, activations=activations, lengths=LENGTHS)
        )
    facts = {key: listed[0][key] for key in ("model", "source")}
    return listed + [entry(folder, name, clips[name], **facts, once=True) for name in clips]


def in_node(path: Path, *options: str) -> dict[str, Any]:
    command = [needed("node"), *options, str(HERE / "wasm_streams.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(entry: dict[str, Any], kind: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what Node and the oracle wrote, as bits."""
    dtype = np.uint16 if kind == "tokens" else np.uint32
    ours, theirs = (np.fromfile(f"{entry['out']}{w}.{kind}", dtype) for w in ("", ".oracle"))
    return ours, theirs


@pytest.fixture(scope="module")
def path(
    modules: Path,
    oracle: dict[str, str],
    golden: Callable[[str], Any],
    speech: NDArray[np.float32],
    second_speech: NDArray[np.float32],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What is to be run; what the oracle gives lies beside it."""
    needed("node")
    folder = tmp_path_factory.mktemp("wasm")
    with pytest.MonkeyPatch.context() as patch:
        # Weights are packed by a library, in place of Numba.
        patch.setenv(aot_library.VARIABLE, str(aot_library.FOLDER))
        models = job(folder, golden, {"a clip": speech, "another clip": second_speech})
    facts = {"script": str(SCRIPT), "module": str(modules / "fcs.wasm"), "models": models}
    path = folder / "job.json"
    path.write_text(json.dumps(facts))
    command = [sys.executable, str(HERE / "wasm_oracle.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=oracle)
    assert not done.returncode, done.stderr
    return path


def check(path: Path, report: dict[str, Any]) -> None:
    for entry in json.loads(path.read_text())["models"]:
        name = entry["name"]
        assert report[name]["differ"] == [], name
        for kind in ("tokens", "samples"):
            ours, theirs = written(entry, kind)
            assert np.array_equal(ours, theirs), (name, kind)


def test_streams_are_those_of_x86_64(path: Path, golden: Callable[[str], Any]) -> None:
    check(path, in_node(path))
    for entry in json.loads(path.read_text())["models"]:
        if entry["name"] in GOLDEN:
            expected = golden(entry["name"]).expected["toks"]
            assert np.array_equal(written(entry, "tokens")[0][: expected.size], expected)


def relaxed_options() -> list[str]:
    """Return the options with which Node runs relaxed-simd right; None of old ones does."""
    known = subprocess.run([needed("node"), "--v8-options"], capture_output=True, text=True).stdout
    flags = "--experimental-wasm-relaxed-simd", "--no-liftoff"
    return [flag for flag in flags if flag.removeprefix("--no-").removeprefix("--") in known]


def test_the_relaxed_module_gives_the_same(path: Path, modules: Path, tmp_path: Path) -> None:
    """Its other instruction is exact: baseline code of Node 20, which is wrong, is turned off."""
    facts = json.loads(path.read_text()) | {"relaxed": str(modules / "fcs-relaxed.wasm")}
    facts["models"] = [m for m in facts["models"] if m["name"] == "int4"]
    job = tmp_path / "job.json"
    job.write_text(json.dumps(facts))
    report = in_node(job, *relaxed_options())
    if not report["int4"]["relaxed"]:
        pytest.skip("this Node has no relaxed-simd, or computes it wrongly")
    check(job, report)


def test_the_test_of_the_engine_passes_without_relaxed_simd(modules: Path) -> None:
    """A kernel of other arguments would fail it. Data lie behind the stack."""
    script = (
        "const m = new WebAssembly.Module(require('fs').readFileSync(process.argv[1])); "
        "const x = new WebAssembly.Instance(m).exports; "
        "for (let i = 0; i < 50; i++) if (x.fcs_self_test(i)) process.exit(1); "
        f"console.log(x.fcs_version() >= {wasm_module.STACK})"
    )
    module = str(modules / "fcs.wasm")
    done = subprocess.run([needed("node"), "-e", script, module], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "true\n", "")
