"""Every kernel of a chunk, at the full published model's shapes, beside others.

NumPy always; PyTorch, and onnxruntime with onnx, where they are installed. All have one thread, if
it is run as::

    OPENBLAS_NUM_THREADS=1 pytest tests/benchmarks --benchmark-only
"""

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.attending import attend
from benchmarks.elementwise import (
    activation,
    aggregate,
    cleaned,
    clipped,
    codes,
    gate,
    in_place,
    norm,
    row_copies,
    squash,
    tokens,
    unit,
    waves,
)
from benchmarks.products import convolution, product, windows
from benchmarks.sides import SIDES, Case, side
from pytest_benchmark.fixture import BenchmarkFixture

CASES: dict[str, Callable[[], Case]] = {
    "linear 4x1024->4096, cold": lambda: product(4, 1024, 4096),
    "linear 4x4096->1024, cold": lambda: product(4, 4096, 1024),
    "linear 4x1024->4096 in float16, cold": lambda: product(4, 1024, 4096, "f16"),
    "linear 4x1024->4096 in int8, cold": lambda: product(4, 1024, 4096, "int8"),
    "linear 4x1024->4096 in int4, cold": lambda: product(4, 1024, 4096, "int4"),
    "windows 256x10->512": lambda: windows(256, 1, 10, 5, 512),
    "windows 128x1536->512": lambda: windows(128, 512, 3, 2, 512),
    "depthwise 4x1024, 512 taps, cold": lambda: convolution(4, 1024, 512),
    "depthwise 4x1024, 512 taps in float16, cold": lambda: convolution(4, 1024, 512, True),
    "depthwise 4x1024, 7 taps, cold": lambda: convolution(4, 1024, 7),
    "attention 4 rows, 16x64, 512 keys, cold": lambda: attend(4, 16, 64, 512),
    "attention 4 rows, 16x64, 512 keys in float16, cold": lambda: attend(4, 16, 64, 512, True),
    "position_gate 4 rows, 16x64": lambda: gate(4, 16, 64),
    "layer_norm 4x1024": lambda: norm(4, 1024),
    "layer_norm 256x512": lambda: norm(256, 512),
    "layer_norm_gelu 256x512": lambda: norm(256, 512, active=True),
    "gelu 4x4096": lambda: activation(4, 4096),
    "gelu 256x512": lambda: activation(256, 512),
    "snake 4x1024": lambda: waves(4, 1024),
    "dynamic_tanh 4x1024": lambda: squash(4, 1024),
    "aggregate 4x1024": lambda: aggregate(4, 1024),
    "divide 4x1024": lambda: in_place("divide", 4, 1024),
    "modulate 4x1024": lambda: in_place("modulate", 4, 1024),
    "add 4x1024": lambda: in_place("add", 4, 1024),
    "add_scaled 8x1024": lambda: in_place("add_scaled", 8, 1024),
    "normalize 4x12": lambda: unit(4, 12),
    "quantize 4x12": lambda: tokens(4, 12),
    "codes 4x12": lambda: codes(4, 12),
    "sanitize 1280": lambda: cleaned(1280),
    "clip 1920": lambda: clipped(1920),
    "history.write 4x1024": lambda: row_copies("write", 4, 1024, 6),
    "history.append 128x512": lambda: row_copies("append", 128, 512, 2),
    "history.copy 4x1024": lambda: row_copies("copy", 4, 1024, 0),
    "history.keep_last 128x512": lambda: row_copies("keep_last", 128, 512, 2),
}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_kernel(benchmark: BenchmarkFixture, case: str, name: str) -> None:
    built = CASES[case]()
    run = side(built, name)
    expected = np.array(built.numpy(), np.float64)
    bound = built.tolerance * np.abs(expected).max()
    np.testing.assert_allclose(np.array(run(), np.float64), expected, rtol=0, atol=bound)
    benchmark.group = case
    benchmark(run)
