"""Kernels compiled ahead of time: the same tokens with no Numba, and what Numba then compiles."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.linalg import _umath_linalg

import check_wheel
import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.kernels.runtime import _jit, aot_library
from fcs_edge.streams.memory import ProgramMemory
from sound_card import virtual_sound_card

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(aot_library.target() is None, reason="no kernels are built for this CPU"),
    pytest.mark.skipif(shutil.which("ld") is None, reason="no linker"),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this CPU's library; compile it where `make compiled` left none."""
    path = aot_library.FOLDER / f"{aot_library.target()}.so"
    record = aot_library.record_of(path)
    if path.exists() and record.exists():
        files = path.read_bytes(), record.read_bytes()
        if not aot_library.difference(*files, aot_library.sources_hash()):
            return aot_library.FOLDER
    folder = tmp_path_factory.mktemp("compiled")
    script = ROOT / "scripts" / "compile_kernels.py"
    subprocess.run(
        [sys.executable, script, "--target", str(aot_library.target()), "--without-c", folder],
        check=True,
        timeout=600,
    )
    return folder


@pytest.fixture
def python(compiled: Path) -> Callable[..., Any]:
    """Run a program with the library, and return the JSON that it prints."""

    def run(program: str, *arguments: object, **environment: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, **environment, aot_library.VARIABLE: str(compiled)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    return run


TOKENS = """
import hashlib, json, re, sys
import numpy, fcs_edge
from fcs_edge.kernels.runtime import _jit
results = {}
for model in sys.argv[2:]:
    codec = fcs_edge.load(None if model == "built-in" else model)
    tokens = codec.encode(numpy.load(sys.argv[1]))
    sound = codec.decode(tokens)
    results[model] = tokens.tolist(), hashlib.sha256(sound.tobytes()).hexdigest()
status = open("/proc/self/status").read()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
loaded = [name for name in ("numba", "llvmlite") if name in sys.modules]
print(json.dumps({"results": results, "loaded": loaded, "numba": _jit.uses_numba(), "peak": peak}))
"""


def test_the_same_tokens_and_samples_without_numba(
    python: Callable[..., Any], golden: Callable[..., Any], floats: Path, tmp_path: Path
) -> None:
    """The built-in model, and every type of weights at its size."""
    signal = golden("tiny").signal
    np.save(tmp_path / "signal.npy", signal)
    models = {"built-in": fcs_edge.load()}
    for scheme in ("f32", "f16", "int8", "int4"):
        path = tmp_path / f"{scheme}.safetensors"
        convert(floats, path, weights=scheme)
        models[str(path)] = fcs_edge.load(path)
    report = python(TOKENS, tmp_path / "signal.npy", *models)
    assert report["loaded"] == []
    assert not report["numba"]
    for name, codec in models.items():
        tokens, sound = report["results"][name]
        expected = codec.encode(signal)
        assert tokens == expected.tolist()
        assert sound == hashlib.sha256(codec.decode(expected).tobytes()).hexdigest()


def test_the_built_in_model_takes_less_than_100_mb(
    python: Callable[..., Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "signal.npy", np.zeros(16000, np.float32))
    assert python(TOKENS, tmp_path / "signal.npy", "built-in")["peak"] < 100


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_golden_tokens(
    name: str, python: Callable[..., Any], golden: Callable[..., Any], tmp_path: Path
) -> None:
    """What is not compiled ahead (small heads) makes Numba take over, half-way through a model."""
    case = golden(name)
    np.save(tmp_path / "signal.npy", case.signal)
    report = python(TOKENS, tmp_path / "signal.npy", case.model)
    assert report["results"][str(case.model)][0] == case.expected["toks"].tolist()


MIC = """
import atexit, json, re, sys

@atexit.register
def report():
    status = open("/proc/self/status").read()
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024 / 1e6
    others = {"numba", "llvmlite", "nacl", "soundfile", "matplotlib", "torch"}
    print(json.dumps({"loaded": sorted(others & set(sys.modules)), "peak": peak}))

from fcs_edge.cli.main import main
main(["mic", "--duration", "2"])
"""


def test_mic_takes_less_than_90_mb(python: Callable[..., Any]) -> None:
    """Sound devices included: PortAudio and ALSA's plug-ins take a quarter."""
    with virtual_sound_card() as card:
        report = python(MIC, **card.env)
    assert report["loaded"] == []
    assert report["peak"] < 90


PROGRAMS = """
import json, sys
import numpy
import fcs_edge
from fcs_edge.kernels.runtime import _jit
from fcs_edge.streams import memory
rng = numpy.random.default_rng(0)

class Counted(memory.LibraryProgram):
    made = runs = 0
    def __init__(self, words):
        Counted.made += 1
        super().__init__(words)
    def __call__(self, bases):
        Counted.runs += 1
        super().__call__(bases)

def run(loaded, signal):
    "A stream in uneven steps, cut off, started again, copied; whole signals, with odd ends."
    encoder, decoder = loaded.stream_encoder(3), loaded.stream_decoder(3)
    found = []
    for _ in range(2):
        for part in numpy.array_split(signal, (900, 7000, 9000, 16000)):
            tokens = encoder.push(part)
            found += [tokens, decoder.push(tokens[:-1]), decoder.push(tokens[-1:])]
        others = encoder.copy(), decoder.copy()
        for one, other in ((encoder, decoder), others):
            tokens = one.push(signal[:8000])
            found += [tokens, other.push(tokens)]
        found += [encoder.flush(), decoder.push(tokens[:3]), decoder.flush()]
    return [*found, loaded.encode(signal), loaded.decode(tokens[:-1]), loaded.decode(tokens[:-1])]

signal = numpy.load(sys.argv[1])
memory.LibraryProgram, programs_of = Counted, memory.programs_of
report = {}
for model in sys.argv[2:]:
    Counted.made = Counted.runs = 0
    reference = None if model == "built-in" else model
    by_program = run(fcs_edge.load(reference), signal)
    report[model] = {"made": Counted.made, "runs": Counted.runs}
    memory.programs_of = lambda *_: None
    straight = run(fcs_edge.load(reference), signal)
    memory.programs_of = programs_of
    same = [a.tobytes() == b.tobytes() for a, b in zip(by_program, straight)]
    report[model] |= {"same": all(same), "n": len(same), "straight": Counted.runs}
print(json.dumps({"report": report, "numba": _jit.uses_numba()}))
"""


def test_programs_change_no_bit(
    python: Callable[..., Any], golden: Callable[..., Any], floats: Path, tmp_path: Path
) -> None:
    """Streams that leave Python out, however they are cut, and streams that do not."""
    np.save(tmp_path / "signal.npy", np.tile(golden("tiny").signal, 3))
    models = ["built-in"]
    for scheme in ("f32", "int4"):
        path = tmp_path / f"{scheme}.safetensors"
        convert(floats, path, weights=scheme)
        models.append(str(path))
    found = python(PROGRAMS, tmp_path / "signal.npy", *models)
    assert not found["numba"]
    for counts in found["report"].values():
        assert counts["same"]
        assert counts["n"] == 47
        # Of either direction: of each number of chunks, of a file's 8, and of tails.
        assert 2 * 4 < counts["made"] < counts["runs"] == counts["straight"]


def test_streams_run_programs_but_where_numba_compiles(golden: Callable[..., Any]) -> None:
    loaded = fcs_edge.load(golden("tiny").model)
    streams = (
        loaded.stream_encoder(),
        loaded.stream_decoder(),
        loaded.stage_stream("encoder", "decoder"),
    )
    for stream in streams:
        assert isinstance(stream._state.memory, ProgramMemory) != _jit.uses_numba()


TAKE_OVER = """
import json, sys
import numpy
from fcs_edge.kernels.gemm import linear_plain
from fcs_edge.kernels.ops import attention, gelu
from fcs_edge.kernels.runtime import _jit
before = _jit.uses_numba(), "numba" in sys.modules
x = numpy.linspace(-3, 3, 12, dtype=numpy.float32).reshape(3, 4)
aot, after = numpy.empty_like(x), numpy.empty_like(x)
kernel = gelu.gelu
kernel(x, aot)
out = numpy.empty((3, 2), numpy.float32)
held = linear_plain.linear_f32
held(x.reshape(-1), 4, numpy.eye(2, 4, dtype=numpy.float32), numpy.zeros(2, numpy.float32), out, 0)
gelu.gelu(x, after)
again = numpy.empty_like(x)
kernel(x, again)
print(json.dumps({
    "before": before, "now": _jit.uses_numba(), "swapped": gelu.gelu is not kernel,
    "difference": float(abs(aot - after).max()), "same": bool((aot == again).all()),
    "linear": bool((out == x[:, :2]).all()),
}))
"""


def test_numba_takes_over_where_a_kernel_is_missing(python: Callable[..., Any]) -> None:
    report = python(TAKE_OVER)
    assert report["before"] == [False, False]
    assert report["now"]
    assert report["swapped"]
    assert report["difference"] == 0
    assert report["same"]
    assert report["linear"]


REFUSED = """
import json, sys
import numpy as np
from fcs_edge.kernels.ops import gelu
good = np.ones((3, 4), np.float32)
wrong = {
    "type": good.astype(np.float64), "integers": np.ones((3, 4), np.int32), "dimensions": good[0],
    "order": np.asfortranarray(good), "gaps": np.ones((3, 8), np.float32)[:, ::2],
    "bytes": good.astype(">f4"),
    "alignment": np.frombuffer(bytearray(49), np.float32, 12, 1).reshape(3, 4),
}
report = {}
for name, array in wrong.items():
    for number, arguments in enumerate(((array, good), (good, array)), 1):
        try:
            gelu.gelu(*arguments)
        except TypeError as error:
            report[f"{name} {number}"] = str(error)
try:
    gelu.gelu(good)
except TypeError as error:
    report["few"] = str(error)
held = np.full((3, 4), 7, np.float32)
held.flags.writeable = False
gelu.gelu(held, good)
try:
    gelu.gelu(good, held)
except TypeError as error:
    report["read-only"] = str(error)
report["unchanged"] = bool((held == 7).all())
print(json.dumps(report))
"""


def test_arrays_that_a_kernel_was_not_compiled_for_are_refused(python: Callable[..., Any]) -> None:
    report = python(REFUSED)
    for name in ("type", "integers", "dimensions", "order", "gaps", "bytes", "alignment"):
        for number in (1, 2):
            assert report[f"{name} {number}"].startswith(f"argument {number}: no contiguous array")
    assert "few" in report
    assert report["read-only"].startswith("argument 2: no contiguous array")
    assert report["unchanged"]


USED = """
def pytest_sessionfinish(session):
    from fcs_edge.kernels.runtime import _jit

    assert not _jit.uses_numba()
"""


def test_the_edges_of_the_api_hold_with_compiled_kernels(compiled: Path, tmp_path: Path) -> None:
    """In a process of its own, which a kernel that writes beyond an array may end by a signal.

    Streams on several threads are cut here only: Numba's kernels run on one.
    """
    (tmp_path / "used.py").write_text(USED)
    folders = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    options = ["-p", "no:cacheprovider", "-p", "used", "-k"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *options),
            "not (tiny or options or nolookahead or TestModelFile or sets_of_instructions)",
            *("tests/fcs_edge/test_api_edges.py", "tests/fcs_edge/test_pickling.py"),
            *("tests/fcs_edge/test_stream_threads.py", "tests/fcs_edge/test_token_coders.py"),
            *("tests/fcs_edge/test_stage_stream.py", "tests/fcs_edge/test_stream_memory.py"),
            *("tests/kernels/test_neighbours.py", "tests/fcs_edge/test_whole_models.py"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "FCS_EDGE_TESTED_LIBRARIES": str(compiled),
            "PYTHONPATH": os.pathsep.join(folders),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_a_library_of_other_sources_is_not_used(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(aot_library.VARIABLE, str(compiled))
    assert aot_library.library.__wrapped__() is not None
    monkeypatch.setattr(aot_library, "sources_hash", lambda: "0" * 64)
    assert aot_library.library.__wrapped__() is None


def test_numba_compiles_without_an_intact_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(aot_library.VARIABLE, str(tmp_path))
    assert aot_library.library.__wrapped__() is None
    (tmp_path / f"{aot_library.target()}.so").write_bytes(b"no library")
    assert aot_library.library.__wrapped__() is None
    monkeypatch.setenv(aot_library.VARIABLE, "off")
    assert aot_library.library.__wrapped__() is None


def test_a_library_needs_no_other(compiled: Path) -> None:
    data = (compiled / f"{aot_library.target()}.so").read_bytes()
    assert check_wheel.library_problems("it", data, platform.machine()) == []


def test_what_a_library_needs_is_found() -> None:
    """NumPy's own needs the C library, by the versions of its symbols, and a library of algebra."""
    data = Path(_umath_linalg.__file__).read_bytes()
    needed = check_wheel.needs(data)
    assert needed.architecture == platform.machine()
    assert any(name.startswith("libc.so") for name in needed.libraries)
    assert any(version.startswith("GLIBC_2.") for version in needed.versions)
    assert "PyCapsule_Type" in needed.symbols
    problems = check_wheel.library_problems("it", data, "sparc")
    assert "not sparc" in problems[0]
    assert " needs lib" in problems[1]
