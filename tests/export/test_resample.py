"""resample.h against a plain windowed sinc in double precision, in NumPy."""

from __future__ import annotations

import ctypes
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fcs_edge.export.libraries import NATIVE
from native_tools import compiled, needed

SIZE = ctypes.c_size_t
BAD_ARGUMENT, BAD_ALIGNMENT, SMALL_BUFFER, SMALL_STATE, BAD_STATE = -1, -2, -3, -4, -5
BAD_RATE = -7
PAIRS = [(44100, 16000), (48000, 16000), (24000, 44100), (24000, 48000), (8000, 16000)]
UNUSUAL = [(11025, 16000), (192000, 16000), (47999, 16000), (24000, 96001), (16000, 16000)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("resample")
    source = folder / "resample.c"
    source.write_text('#define FCS_RESAMPLE_API\n#include "resample.h"\n')
    flags = ("-shared", "-fPIC", "-ffp-contract=off", f"-I{NATIVE}")
    library = ctypes.CDLL(str(compiled(folder / "resample.so", *flags, source)))
    for name in ("size", "delay", "outputs", "remains"):
        getattr(library, f"fcs_resampler_{name}").restype = SIZE
    return library


class Resampler:
    """A resampler in memory of its own."""

    def __init__(self, library: ctypes.CDLL, source: int, target: int) -> None:
        self.library = library
        size = library.fcs_resampler_size(source, target)
        # Memory is as it comes, and what is behind it is not read.
        self.memory = np.full(size // 8 + 9, np.nan)
        assert library.fcs_resampler_init(self.at, SIZE(size), source, target) == 0

    @property
    def at(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.memory.ctypes.data)

    def push(self, samples: np.ndarray, room: int | None = None) -> np.ndarray:
        samples = np.ascontiguousarray(samples, np.float32)
        expected = self.library.fcs_resampler_outputs(self.at, SIZE(samples.size))
        return self._written("push", expected, room, samples.ctypes.data, SIZE(samples.size))

    def flush(self) -> np.ndarray:
        return self._written("flush", self.library.fcs_resampler_remains(self.at), None)

    def all(self, samples: np.ndarray) -> np.ndarray:
        return np.concatenate([self.push(samples), self.flush()])

    def _written(self, name: str, expected: int, room: int | None, *inputs: object) -> np.ndarray:
        out, n = np.full(expected + 1, 7, np.float32), SIZE()
        given = [ctypes.c_void_p(i) if isinstance(i, int) else i for i in inputs]
        call = getattr(self.library, f"fcs_resampler_{name}")
        capacity = SIZE(expected if room is None else room)
        code = call(self.at, *given, ctypes.c_void_p(out.ctypes.data), capacity, ctypes.byref(n))
        assert n.value == expected
        if code:
            raise ValueError(code)
        assert out[-1] == 7
        return out[:-1]


def reference(samples: np.ndarray, source: int, target: int, half: int) -> np.ndarray:
    """The same filter by its definition, in double precision."""
    padded = np.pad(samples.astype(np.float64), (half, half + 1))
    cut = (1 - 0.0446) * min(1.0, target / source)
    n = np.arange(math.ceil(samples.size * target / source))
    whole, rest = np.divmod(n * source, target)
    t = np.arange(1 - half, half + 1) - (rest / target)[:, None]
    inside = np.clip(1 - (t / half) ** 2, 0, None)
    rows = np.sinc(cut * t) * np.where(np.abs(t) < half, np.i0(8.96 * np.sqrt(inside)), 0)
    rows /= rows.sum(1, keepdims=True)
    return (rows * padded[whole[:, None] + np.arange(1, 2 * half + 1)]).sum(1)


@pytest.mark.parametrize(("source", "target"), [*PAIRS, *UNUSUAL])
def test_output_is_the_windowed_sinc(library: ctypes.CDLL, source: int, target: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, 1500)
    resampler = Resampler(library, source, target)
    delay = library.fcs_resampler_delay(resampler.at)
    if source == target:
        assert resampler.push(samples.astype(np.float32)).size == samples.size - delay
        assert resampler.flush().size == delay == 1
        assert np.array_equal(resampler.all(samples), samples.astype(np.float32))
        return
    assert delay == math.ceil(64 * max(1, source / target))
    expected = reference(samples.astype(np.float32), source, target, delay)
    # Between two rows of the table, the line is 100 dB below the sound.
    assert np.abs(resampler.all(samples) - expected).max() < 2e-5


@pytest.mark.parametrize(("source", "target"), [*PAIRS, *UNUSUAL])
def test_any_cutting_gives_the_same_samples(library: ctypes.CDLL, source: int, target: int) -> None:
    rng = np.random.default_rng(2)
    samples = rng.uniform(-1, 1, 9000).astype(np.float32)
    resampler = Resampler(library, source, target)
    whole = resampler.all(samples)
    assert whole.size == math.ceil(samples.size * target / source)
    cuts = np.sort(rng.integers(0, samples.size, 40))
    parts = [resampler.push(part) for part in np.split(samples, cuts)]
    assert np.array_equal(np.concatenate([*parts, resampler.flush()]), whole)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_tones_pass_and_aliases_are_gone(library: ctypes.CDLL, source: int, target: int) -> None:
    resampler = Resampler(library, source, target)
    low = min(source, target)
    time, middle = np.arange(source // 4) / source, slice(target // 20, -target // 20)
    for share in (0.05, 0.3, 0.6, 0.91):
        hertz = share * low / 2
        output = resampler.all(np.sin(2 * np.pi * hertz * time + 0.3))
        expected = np.sin(2 * np.pi * hertz * np.arange(output.size) / target + 0.3)
        error = (output - expected)[middle]
        assert 10 * np.log10(np.mean(error**2) / 0.5) < -90
    for hertz in np.linspace(low / 2 + 10, source / 2 - 10, 12) if source > target else ():
        alias = resampler.all(np.sin(2 * np.pi * hertz * time))[middle]
        assert 10 * np.log10(np.mean(alias**2) / 0.5 + 1e-20) < -80


def test_a_copy_continues_from_the_same_point(library: ctypes.CDLL) -> None:
    samples = np.random.default_rng(3).uniform(-1, 1, 5000).astype(np.float32)
    first, second = (Resampler(library, 44100, 16000) for _ in range(2))
    first.push(samples[:1234])
    second.memory[:] = first.memory
    assert np.array_equal(first.all(samples[1234:]), second.all(samples[1234:]))


def test_nothing_drifts_in_a_long_stream(library: ctypes.CDLL) -> None:
    resampler = Resampler(library, 44100, 16000)
    n = sum(resampler.push(np.zeros(44100)).size for _ in range(100)) + resampler.flush().size
    assert n == 1600000


def test_samples_that_are_not_finite_count_as_0(library: ctypes.CDLL) -> None:
    samples = np.random.default_rng(4).uniform(-1, 1, 3000).astype(np.float32)
    bad = samples.copy()
    samples[[10, 700, 701]] = 0
    bad[[10, 700, 701]] = np.nan, np.inf, -np.inf
    resampler = Resampler(library, 48000, 16000)
    assert np.array_equal(resampler.all(bad), resampler.all(samples))


def test_a_full_buffer_takes_nothing(library: ctypes.CDLL) -> None:
    samples = np.random.default_rng(5).uniform(-1, 1, 3000).astype(np.float32)
    resampler = Resampler(library, 44100, 16000)
    whole = resampler.all(samples)
    resampler.push(samples[:500])
    before = resampler.memory.copy()
    with pytest.raises(ValueError, match=str(SMALL_BUFFER)):
        resampler.push(samples[500:], room=100)
    assert np.array_equal(resampler.memory.view(np.uint8), before.view(np.uint8))
    rest = resampler.all(samples[500:])
    assert np.array_equal(rest, whole[-rest.size :])


def test_wrong_calls_have_codes(library: ctypes.CDLL) -> None:
    memory = np.zeros(100000, np.float64)
    at = memory.ctypes.data
    for rates in ((7999, 16000), (16000, 192001), (0, 0)):
        assert library.fcs_resampler_size(*rates) == 0
        assert library.fcs_resampler_init(ctypes.c_void_p(at), SIZE(8 * 10**5), *rates) == BAD_RATE
    assert library.fcs_resampler_init(None, SIZE(0), 48000, 16000) == BAD_ARGUMENT
    n = SIZE()
    size = library.fcs_resampler_size(48000, 16000)

    def init(address: int, n_bytes: int) -> int:
        code: int = library.fcs_resampler_init(
            ctypes.c_void_p(address), SIZE(n_bytes), 48000, 16000
        )
        return code

    assert init(at, size - 1) == SMALL_STATE
    assert init(at + 4, size) == BAD_ALIGNMENT
    place, count = ctypes.c_void_p(at), ctypes.byref(n)
    assert library.fcs_resampler_push(place, None, SIZE(0), None, SIZE(0), count) == BAD_STATE
    assert library.fcs_resampler_reset(place) == BAD_STATE
    assert init(at, size) == 0
    assert library.fcs_resampler_push(place, None, SIZE(5), None, SIZE(0), count) == BAD_ARGUMENT
    assert library.fcs_resampler_push(place, None, SIZE(0), None, SIZE(0), count) == 0


def test_it_is_cpp_too(tmp_path: Path) -> None:
    source = tmp_path / "user.cpp"
    source.write_text(
        '#include "resample.h"\nint main() { return fcs_resampler_size(48000, 16000) == 0; }\n'
    )
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
    command = [needed("g++"), *flags, f"-I{NATIVE}", "-c", source, "-o", tmp_path / "user.o"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
