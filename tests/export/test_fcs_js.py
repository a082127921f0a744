"""fcs.js beside streams: facts, errors, memory, resamplers and files, in Node."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcs_edge
from fcs_edge.errors import FcsError
from fcs_edge.export import exporter, libraries, page_files
from fcs_edge.tokens.fcs import fcs_writer
from native_tools import compiled, lacking, needed

HERE = Path(__file__).parent
RATES = [(44100, 16000), (48000, 16000), (24000, 44100), (24000, 48000), (47999, 16000)]


@pytest.fixture(scope="module")
def folder(golden: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has run, with its report."""
    try:
        library = libraries.find(libraries.MODULE)
    except FcsError as error:
        lacking(f"{error}; python scripts/compile_kernels.py --target wasm")
    node, folder = needed("node"), tmp_path_factory.mktemp("fcs-js")
    codec = golden("nolookahead").codec
    (folder / "model").write_bytes(exporter.model_bytes(codec.model, libraries.MODULE))
    rng = np.random.default_rng(1)
    rng.uniform(-1, 1, 20000).astype("<f4").tofile(folder / "signal")
    tokens = rng.integers(0, 2**codec.bits_per_token, 1234, dtype=np.uint16)
    tokens.tofile(folder / "tokens")
    module = library.folder / page_files.MODULES[0]
    script = HERE / "fcs_js.mjs"
    paths = (script, page_files.WEB / "fcs.js", module, folder / "model", folder)
    done = subprocess.run([node, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "report").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report").read_text())
    return found


def test_facts_are_the_codecs(report: dict[str, Any], golden: Callable[[str], Any]) -> None:
    codec, facts = golden("nolookahead").codec, report["facts"]
    assert facts["sampleRateIn"] == codec.sample_rate_in
    assert facts["sampleRateOut"] == codec.sample_rate_out
    assert facts["samplesPerToken"] == codec.samples_per_token
    assert facts["bitsPerToken"] == codec.bits_per_token
    assert facts["chunkSamples"] == codec.chunk_size
    assert facts["chunkTokens"] == codec.chunk_tokens
    assert facts["bitrate"] == pytest.approx(codec.bitrate)
    assert facts["fingerprint"] == codec.fingerprint.hex()
    assert facts["name"] == codec.name
    assert (facts["hasEncoder"], facts["hasDecoder"]) == (True, True)
    assert report["version"] == fcs_edge.__version__
    assert report["relaxed"] is False


@pytest.mark.parametrize(
    ("case", "code"),
    [
        *(("token", -6), ("fraction", -6), ("chunks", -1), ("rate", -7), ("closed", -203)),
        *(("cut", -12), ("changed", -12), ("model", -10), ("module", -204), ("nothing", -202)),
        *(("response", -202), ("file", -122), ("empty", -121), ("count", -103)),
        *(("address", -202), ("written", -6)),
    ],
)
def test_errors_have_codes_and_texts(report: dict[str, Any], case: str, code: int) -> None:
    found = report["errors"][case]
    assert found[0] == code, found
    assert len(found[1]) > 10
    assert "\n" not in found[1]


@pytest.mark.parametrize("call", ["samples", "resampled", "tokens", "put", "count", "file"])
def test_other_types_are_refused(report: dict[str, Any], call: str) -> None:
    assert all(report["types"][call]), report["types"][call]
    assert report["lists"]


def test_a_refused_call_leaves_the_stream_as_it_was(report: dict[str, Any]) -> None:
    assert report["pending"] == [0, 0]


def test_memory_is_used_again(report: dict[str, Any]) -> None:
    assert report["grown"] < 1 << 20


def test_resamplers_give_the_bits_of_c(folder: Path, report: dict[str, Any]) -> None:
    assert report["copies"]
    source = folder / "resample.c"
    source.write_text('#define FCS_RESAMPLE_API\n#include "resample.h"\n')
    flags = ("-shared", "-fPIC", "-ffp-contract=off", f"-I{libraries.NATIVE}")
    library = ctypes.CDLL(str(compiled(folder / "resample.so", *flags, source)))
    signal = np.fromfile(folder / "signal", np.float32)
    for pair in RATES:
        ours = np.fromfile(folder / f"{pair[0]}-{pair[1]}", np.uint32)
        assert np.array_equal(ours, _resampled(library, signal, *pair).view(np.uint32)), pair


def _resampled(library: ctypes.CDLL, signal: np.ndarray, source: int, target: int) -> np.ndarray:
    library.fcs_resampler_size.restype = ctypes.c_size_t
    size = ctypes.c_size_t(library.fcs_resampler_size(source, target))
    memory = np.zeros(size.value // 8 + 1)
    at, n = ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t()
    assert library.fcs_resampler_init(at, size, source, target) == 0
    out = np.zeros(3 * signal.size, np.float32)
    room, count = ctypes.c_size_t(out.size), ctypes.byref(n)
    samples, n_samples = ctypes.c_void_p(signal.ctypes.data), ctypes.c_size_t(signal.size)
    push, flush = library.fcs_resampler_push, library.fcs_resampler_flush
    assert push(at, samples, n_samples, ctypes.c_void_p(out.ctypes.data), room, count) == 0
    written = n.value
    place = ctypes.c_void_p(out[written:].ctypes.data)
    assert flush(at, place, ctypes.c_size_t(out.size - written), count) == 0
    return out[: written + n.value]


def test_files_are_those_of_the_package(
    folder: Path, report: dict[str, Any], golden: Callable[[str], Any], tmp_path: Path
) -> None:
    assert (report["read"], report["whole"]) == (True, True)
    assert report["damaged"] == [False, True]
    codec, tokens = golden("nolookahead").codec, np.fromfile(folder / "tokens", np.uint16)
    path = tmp_path / "file.fcs"
    with path.open("wb") as file:
        writer = fcs_writer(file, codec)
        writer.write(tokens)
        writer.close(tokens.size * codec.samples_per_token)
    assert (folder / "file.fcs").read_bytes() == path.read_bytes()
