"""The WebAssembly module over toy kernels, in Node: random calls, damaged files, its stack."""

from __future__ import annotations

import json
import subprocess
import zlib
from pathlib import Path
from typing import Any

import fuzz_cases
import native_library
import numpy as np
import pytest
import wasm_module

import toolchain
import toy_codec
from fcs_edge.export import fcsm, libraries
from fcs_edge.kernels.isa.targets import MODULES
from native_tools import needed

HERE = Path(__file__).parent
TRIPLE = MODULES[0].triple
CALLS = 25_000


def run(script: str, *arguments: str | Path) -> Any:
    command = [needed("node"), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def toy_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module with toy kernels."""
    for tool in ("clang", "wasm-ld"):
        needed(tool)
    folder = tmp_path_factory.mktemp("toy")
    # Clang has no math.h of its own.
    (folder / "math.h").write_text("#define isfinite(x) __builtin_isfinite(x)\n")
    options = (*wasm_module.COMPILE[:-5], f"-I{folder}", f"-I{libraries.NATIVE}")
    kernels = native_library.compiled(TRIPLE, HERE / "toy_kernels.c", options)
    module = folder / "toy.wasm"
    module.write_bytes(wasm_module.link(MODULES[0], kernels))
    return module


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.fcsm"
    path.write_bytes(toy_codec.model())
    return path


@pytest.mark.parametrize("seed", range(2))
def test_random_calls_of_streams(seed: int, toy_module: Path, toy_model: Path) -> None:
    seed += 1000 * fuzz_cases.SEED
    run("wasm_fuzz.mjs", toy_module, toy_model, str(seed), str(CALLS * fuzz_cases.TIMES))


def damaged(rng: np.random.Generator) -> bytes:
    """Return the model with some of its words changed, and a right checksum."""
    data = bytearray(toy_codec.model())
    words = np.frombuffer(data, np.uint32)
    for at in rng.integers(fcsm.CRC_AT // 4 + 1, words.size, rng.integers(1, 3)):
        values = 0, 1, 2, 3, 63, 64, 4096, 1 << 16, 1 << 31, (1 << 32) - 1, int(words[at]) + 1
        words[at] = rng.choice(np.array(values, np.uint64)) & 0xFFFFFFFF
    data[fcsm.CRC_AT : fcsm.CRC_AT + 4] = zlib.crc32(data[fcsm.CRC_AT + 4 :]).to_bytes(4, "little")
    return bytes(data)


def test_opening_damaged_files_does_no_harm(
    toy_module: Path, toy_model: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(fuzz_cases.SEED)
    files = [damaged(rng) for _ in range(400 * fuzz_cases.TIMES)]
    parts = (len(data).to_bytes(4, "little") + data for data in files)
    (tmp_path / "damaged").write_bytes(b"".join(parts))
    found = run("wasm_fuzz.mjs", toy_module, toy_model, "1", "0", tmp_path / "damaged")
    assert len(files) / 4 < found["refused"] < len(files)


def test_an_overflow_of_the_stack_stops_the_module(tmp_path: Path) -> None:
    """Without --stack-first it would write on data, and go on."""
    for tool in ("clang", "wasm-ld"):
        needed(tool)
    code, module = tmp_path / "deep.o", tmp_path / "deep.wasm"
    code.write_bytes(native_library.compiled(TRIPLE, HERE / "deep_calls.c", wasm_module.COMPILE))
    command = [toolchain.tool("wasm-ld"), *wasm_module.LINK, "-o", module, code]
    subprocess.run(command, check=True)
    assert run("deep_calls.mjs", module) == {"stopped": True, "before": 1234567, "after": 1234567}
