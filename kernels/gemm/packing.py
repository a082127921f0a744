"""Weights and their scales, laid out as the panels of `products` read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fcs_edge.kernels._types import F16, F32, I8, I16, U8, U16, Scalar
from fcs_edge.kernels.runtime._jit import inline, kernel

BLOCK = 1024
"""Inputs whose integer products are summed in one go."""

GROUP = 128
"""Inputs whose activations of 8 bits share a scale, beside 8-bit weights."""

DEPTH_MULTIPLE = 32
"""Integer weights are filled up to a multiple of so many inputs."""

_TILE = 64
"""Inputs moved at a time: what is read and written stays in the nearest cache."""


def padded_depth(depth: int) -> int:
    """Return the inputs that integer weights of `depth` inputs are filled up to."""
    return -(-depth // DEPTH_MULTIPLE) * DEPTH_MULTIPLE


@kernel
def pack_float(weight: F32, packed: F32) -> None:
    """``packed[p, k, n] = weight[p * width + n, k]``, zeros beyond the last output.

    weight is (outputs, depth), packed (panels, depth, width).
    """
    _pack(weight, packed)


@kernel
def pack_half(weight: U16, packed: U16) -> None:
    """Do as `pack_float` with float16 held in uint16."""
    _pack(weight, packed)


@inline
def _pack(weight: Scalar, packed: Scalar) -> None:
    outputs, depth = weight.shape
    panels, _, width = packed.shape
    for p in range(panels):
        for start in range(0, depth, _TILE):
            stop = min(start + _TILE, depth)
            for n in range(width):
                row = p * width + n
                for k in range(start, stop):
                    if row < outputs:
                        packed[p, k, n] = weight[row, k]
                    else:
                        packed[p, k, n] = 0


@kernel
def pack_int8(values: I8, width: int, lane_depth: int, flip: int, packed: I8) -> None:
    """Lay int8 weights (outputs, depth) out as ``[block, panel, step, output, product]``.

    A block is `BLOCK` inputs, a step `lane_depth` of them, a panel width outputs; packed is
    (bytes,), zeroed. The bits in flip are flipped: -128 adds 128.
    """
    outputs, depth = values.shape
    padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
    panels = (outputs + width - 1) // width
    for block in range(0, depth, BLOCK):
        size = min(BLOCK, padded - block)
        for p in range(panels):
            base = (block * panels + p * size) * width
            for start in range(block, min(block + BLOCK, depth), _TILE):
                stop = min(start + _TILE, depth)
                for n in range(min(width, outputs - p * width)):
                    row = values[p * width + n]
                    for j in range(lane_depth):
                        at = base + n * lane_depth + (start - block) * width + j
                        for k in range(start + j, stop, lane_depth):
                            packed[at] = row[k] ^ flip
                            at += width * lane_depth


@kernel
def pack_int4(
    values: U8, depth: int, lanes: int, vectors: int, lane_depth: int, flip: int, packed: U8
) -> None:
    """Lay 4-bit weights out as `pack_int8` does, two vectors in each load.

    values is (outputs, ceil(depth / 2)), as `quantized_weights.Int4` holds them; packed is
    (bytes,), zeroed. `int4_microkernel.int4_panel` says where in a load a weight is. The bits in
    flip are flipped: 8 adds 8.
    """
    outputs, width = values.shape[0], lanes * vectors
    padded = (depth + DEPTH_MULTIPLE - 1) // DEPTH_MULTIPLE * DEPTH_MULTIPLE
    panels = (outputs + width - 1) // width
    load_size = lanes * lane_depth
    for block in range(0, depth, BLOCK):
        size = min(BLOCK, padded - block)
        for p in range(panels):
            base = (block * panels + p * size) * width // 2
            for start in range(block, min(block + BLOCK, depth), _TILE):
                stop = min(start + _TILE, depth)
                for n in range(min(width, outputs - p * width)):
                    row = values[p * width + n]
                    lane_at = base + (n % lanes) * lane_depth
                    # Which vector of which step, counted through the block.
                    which = (start - block) // lane_depth * vectors + n // lanes
                    for k in range(start, stop, lane_depth):
                        at = lane_at + (which >> 1) * load_size
                        for j in range(min(lane_depth, stop - k)):
                            value = (row[(k + j) >> 1] >> (4 * ((k + j) & 1))) & 15
                            packed[at + j] |= np.uint8((value ^ flip) << (4 * (which & 1)))
                        which += vectors


@kernel
def group_sums(values: I8, group: int, sums: I16) -> None:
    """``sums[n, g] = sum of values[n, k], k in group g``; at most 256 inputs fit into int16."""
    for n in range(values.shape[0]):
        for g in range(sums.shape[1]):
            row = values[n, g * group : min((g + 1) * group, values.shape[1])]
            total = np.int32(0)
            for k in range(row.size):
                total += np.int32(row[k])
            sums[n, g] = np.int16(total)


def pack_group_sums(values: I8, panels: int, width: int) -> I16:
    """Return the sums of each `GROUP` values of (outputs, depth) as ``[block, panel, group, n]``.

    One dimension; zeros beyond the last output.
    """
    outputs, depth = values.shape
    padded = np.zeros((panels * width, -(-depth // GROUP)), np.int16)
    group_sums(np.ascontiguousarray(values), GROUP, padded[:outputs])
    packed: I16 = by_block(padded, GROUP, width).reshape(-1)
    return packed


def by_block(numbers: Any, group: int, width: int) -> Any:
    """Return numbers (panels * width, groups) as ``[block, panel, group, n]``: rows of width."""
    groups = numbers.shape[1]
    panel = numbers.reshape(-1, width, groups).transpose(0, 2, 1)
    block = BLOCK // group
    blocks = [panel[:, g : g + block].reshape(-1, width) for g in range(0, groups, block)]
    return np.ascontiguousarray(np.concatenate(blocks))


def pack_row_scale(scale: F32, panels: int, width: int) -> F32:
    """Return an output's scale each, (outputs,), as (panels * width,), zeros at the end."""
    packed = np.zeros(panels * width, np.float32)
    packed[: scale.size] = scale
    return packed


def pack_group_scale(scale: F16, group: int, panels: int, width: int, half: bool) -> Any:
    """Return a group's scale each, (outputs, groups), as ``[block, panel, group, n]``.

    Parameters
    ----------
    scale : numpy.ndarray
        (outputs, groups) float16.
    group : int
        Inputs of a group.
    panels, width : int
        Panels, and the outputs of one.
    half : bool
        Return float16 held in uint16, or else float32.

    Returns
    -------
    numpy.ndarray
        Two dimensions: rows of width.
    """
    outputs, groups = scale.shape
    padded = np.zeros((panels * width, groups), np.float16 if half else np.float32)
    padded[:outputs] = scale
    packed = by_block(padded, group, width)
    return packed.view(np.uint16) if half else packed
