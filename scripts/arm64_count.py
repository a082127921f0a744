"""Count instructions per multiply-accumulate of the matrix product, for each weight type.

    qemu-aarch64 -plugin icount.so,out=COUNTS ... python3 arm64_count.py COUNTS

``arm64_smoke.sh --count`` runs it. The plugin (`arm64_icount.c`) writes a line to the file COUNTS
at each getppid() but the first. The output is Markdown rows of these columns:

- the CPU and the weight type;
- instructions per multiply-accumulate of one call: 4 rows, 256 inputs, 192 outputs;
- the same without the fixed cost of a call, from the difference to twice the depth;
- the most frequent instructions.
"""

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from llvmlite import binding as llvm

from fcs_edge.kernels._types import F32
from fcs_edge.kernels.gemm import linear, quantized_weights

ROWS, DEPTH, OUTPUTS = 4, 256, 192
PRODUCTS = ROWS * DEPTH * OUTPUTS
MOST = 6
"""Mnemonics printed."""

STORAGE: dict[str, Callable[[F32], quantized_weights.Weight]] = {
    "float32": lambda weight: weight,
    "float16": lambda weight: weight.astype(np.float16),
    "int8": quantized_weights.quantize_int8,
    "int8 x 8 bits": lambda weight: dataclasses.replace(
        quantized_weights.quantize_int8(weight), activation_bits=8
    ),
    "int4": quantized_weights.quantize_int4,
}


class Product:
    """One product, whose kernels are compiled or loaded."""

    def __init__(self, store: Callable[[F32], quantized_weights.Weight], depth: int) -> None:
        rng = np.random.default_rng(7)
        weight = rng.standard_normal((OUTPUTS, depth), np.float32)
        self._depth = depth
        self._x = rng.standard_normal(ROWS * depth, np.float32)
        self._out = np.empty((ROWS, OUTPUTS), np.float32)
        self._product = linear.prepare(store(weight), np.zeros(OUTPUTS, np.float32))
        # The first call compiles the kernel or loads it, the second fills Numba's caches.
        self()
        self()

    def __call__(self) -> None:
        """Run it."""
        self._product(self._x, self._depth, self._out)


def count(product: Product, counts: Path) -> tuple[int, str]:
    """Return the instructions of a product, and the most frequent ones."""
    os.getppid()
    product()
    os.getppid()
    total, *by_mnemonic = counts.read_text().splitlines()[-1].split()
    return int(total), ", ".join(by_mnemonic[:MOST])


def main(counts: Path) -> None:
    """Print a row for each weight type."""
    products = {
        name: (Product(store, DEPTH), Product(store, 2 * DEPTH)) for name, store in STORAGE.items()
    }
    # From here on the plugin counts.
    os.getppid()
    for name, (product, longer) in products.items():
        total, most = count(product, counts)
        with_longer, _ = count(longer, counts)
        per_call, inner = total / PRODUCTS, (with_longer - total) / PRODUCTS
        cpu = llvm.get_host_cpu_name()
        print(f"| {cpu} | {name} | {per_call:.3f} | {inner:.3f} | {most} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
