"""Weights laid out as the panels of `products` read them."""

from __future__ import annotations

import numpy as np

from fcs_edge.kernels._jit import kernel
from fcs_edge.kernels._types import F32, I8, U8

BLOCK = 1024
"""Inputs whose integer products are summed in one go; activations wait for it on the stack."""

DEPTH_MULTIPLE = 8
"""Integer weights are filled up with zeros to a multiple of so many inputs."""


def padded_depth(depth: int) -> int:
    """Return the inputs that integer weights of `depth` inputs are filled up to."""
    return -(-depth // DEPTH_MULTIPLE) * DEPTH_MULTIPLE


@kernel
def pack_float(weight: F32, packed: F32) -> None:
    """``packed[p, k, n] = weight[p * width + n, k]``, zeros beyond the last output.

    weight is (outputs, depth), packed (panels, depth, width); both float32, or both uint16 that
    hold float16.
    """
    outputs, depth = weight.shape
    panels, _, width = packed.shape
    for p in range(panels):
        for k in range(depth):
            for n in range(width):
                row = p * width + n
                if row < outputs:
                    packed[p, k, n] = weight[row, k]
                else:
                    packed[p, k, n] = 0


@kernel
def pack_int8(values: I8, lane_depth: int, packed: I8) -> None:
    """Lay int8 weights (outputs, depth) out as ``[block, panel, step, output, product]``.

    A block is `BLOCK` inputs, a step `lane_depth` of them; packed is (bytes / width, width),
    zeroed, its width the outputs of a panel.
    """
    outputs, depth = values.shape
    width = packed.shape[1]
    padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
    panels = (outputs + width - 1) // width
    flat = packed.reshape(-1)
    for start in range(0, depth, BLOCK):
        size = min(BLOCK, padded - start)
        used = min(BLOCK, depth - start)
        for p in range(panels):
            base = (start * panels + p * size) * width
            for k in range(0, used, lane_depth):
                for n in range(min(width, outputs - p * width)):
                    at = base + k * width + n * lane_depth
                    for j in range(min(lane_depth, used - k)):
                        flat[at + j] = values[p * width + n, start + k + j]


@kernel
def pack_int4(
    values: U8,
    depth: int,
    lanes: int,
    vectors: int,
    lane_depth: int,
    per_load: int,
    packed: U8,
) -> None:
    """Lay 4-bit weights out as `pack_int8` does, `per_load` vectors interleaved in each load.

    values is (outputs, ceil(depth / 2)), as `weights.Int4` holds them; packed (bytes / width,
    width), zeroed, half as long as int8 weights. Where in a load: see `panels.nibbles`.
    """
    outputs = values.shape[0]
    width = packed.shape[1]
    padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
    panels = (outputs + width - 1) // width
    size_of_element = per_load // 2
    elements = lanes * lane_depth
    flat = packed.reshape(-1)
    for start in range(0, depth, BLOCK):
        size = min(BLOCK, padded - start)
        for p in range(panels):
            base = (start * panels + p * size) * width // 2
            for k in range(min(BLOCK, depth - start)):
                step, j = k // lane_depth, k % lane_depth
                for n in range(min(width, outputs - p * width)):
                    byte = values[p * width + n, (start + k) // 2]
                    value = (byte >> (4 * ((start + k) % 2))) & 15
                    which = step * vectors + n // lanes
                    nibble = which % per_load
                    element = which // per_load * elements + (n % lanes) * lane_depth + j
                    at = base + element * size_of_element + nibble // 2
                    flat[at] |= np.uint8(value << (4 * (nibble % 2)))
