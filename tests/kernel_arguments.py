"""Arguments of each kernel, of odd sizes, with which tests call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import prior_cases

from fcs_edge.entropy.probabilities import probabilities
from fcs_edge.kernels._types import F32, U16
from fcs_edge.kernels.gemm import products
from fcs_edge.kernels.gemm.epilogue import ADD
from fcs_edge.kernels.gemm.packing import BLOCK as DEPTH
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.ops import depthwise
from fcs_edge.kernels.ops.range_coder import STATE
from fcs_edge.kernels.ops.whole_attention_plain import BLOCK


def ones(*shape: int) -> F32:
    return np.ones(shape, np.float32)


def tokens(n: int) -> U16:
    return np.ones(n, np.uint16)


def filled(dtype: Any, *shape: int) -> np.ndarray:
    return np.ones(shape, dtype)


def cursor(slot: int, held: int) -> np.ndarray:
    return np.array([slot, held])


def drawn_network() -> tuple[np.ndarray, ...]:
    """Return a drawn prior's arrays of 3 bits as its coder passes them."""
    return prior_cases.drawn(3, 17, 0).coder()._arguments


HALF = np.float32(0.5)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ops.attention.position_gate": (ones(4, 21), ones(2, 7), ones(2), ones(3), ones(4, 3)),
    "ops.attention_plain.store": (ones(4, 63), 1, 3, False, ones(3, 1, 7, 5), ones(3, 1, 5, 7)),
    "ops.attention_plain.start_scores": (HALF, ones(9), 3, ones(9)),
    "ops.attention_plain.attend": (
        *(ones(4, 63), ones(4, 3), ones(3, 9)),
        *(ones(3, 1, 7, 5), ones(3, 1, 5, 7), cursor(3, 1), ones(4, 5), ones(4, 21)),
    ),
    "ops.binary.normalize": (ones(4, 12), ones(4, 12)),
    "ops.binary.quantize": (ones(4, 12), tokens(4)),
    "ops.binary.codes": (tokens(4), ones(4, 12)),
    "ops.code_search.join": (ones(4, 3), ones(4, 5), ones(4, 8)),
    "ops.code_search.rectify": (ones(4, 17),),
    "ops.depthwise.depthwise": (
        *(ones(4, 17), ones(9, 17), cursor(7, 1), ones(5, 17), ones(17), ones(4, 17)),
    ),
    "ops.dynamic_tanh.dynamic_tanh": (ones(4, 17), HALF, ones(4, 17)),
    "ops.focal.aggregate": (ones(4, 17), ones(4, 3), 1, ones(4, 17), ones(4, 17)),
    "ops.focal.add_rows": (ones(4, 17), filled(np.float64, 17)),
    "ops.focal.aggregate_row": (ones(17), ones(4, 3), 1, ones(4, 17)),
    "ops.focal.divide": (ones(4, 17), HALF),
    "ops.focal.global_context": (filled(np.float64, 17), 4, ones(17)),
    "ops.focal.modulate": (ones(4, 17), ones(4, 17)),
    "ops.fourier.inverse_real": (
        *(ones(9, 14), np.array([3, 2]), ones(12, 2), ones(2, 6, 2, 8), ones(9, 12)),
    ),
    "ops.gelu.gelu": (ones(4, 17), ones(4, 17)),
    "ops.layer_norm.layer_norm": (ones(4, 17), ones(17), ones(17), HALF, ones(4, 17)),
    "ops.layer_norm.layer_norm_gelu": (ones(4, 17), ones(17), ones(17), HALF, ones(4, 17)),
    "gemm.epilogue.add_tile": (ones(4 * 16), 16, 5, ones(4, 5)),
    "gemm.epilogue.apply_gelu": (ones(4, 80), 3, 70),
    "gemm.epilogue.start_sums": (ones(17), ADD, ones(4, 19), 2),
    "gemm.linear_plain.linear_f32": (ones(68), 17, ones(5, 17), ones(5), ones(4, 6), 1),
    "gemm.linear_plain.linear_grouped": (
        *(ones(68), 17, filled(np.int8, 5, 17), ones(5), ones(5)),
        *(filled(np.int16, 17), ones(1), ones(4, 6), 1),
    ),
    "gemm.linear_plain.linear_int8": (
        *(ones(68), 17, filled(np.int8, 5, 17), ones(5), ones(5)),
        *(filled(np.int16, 17), ones(4, 6), 1),
    ),
    "gemm.linear_plain.linear_int4": (
        *(ones(68), 17, filled(np.uint8, 5, 9), ones(5, 1), ones(5), 32),
        *(filled(np.int8, 17), ones(1), filled(np.int32, 1), ones(4, 6), 1),
    ),
    "gemm.packing.group_sums": (filled(np.int8, 5, 17), 8, filled(np.int16, 5, 3)),
    "gemm.packing.pack_float": (ones(5, 17), ones(2, 17, 4)),
    "gemm.packing.pack_half": (tokens(85).reshape(5, 17), tokens(136).reshape(2, 17, 4)),
    "gemm.packing.pack_int8": (filled(np.int8, 5, 17), 4, 2, 0, filled(np.int8, 256)),
    "gemm.packing.pack_int4": (filled(np.uint8, 5, 9), 17, 4, 1, 2, 8, filled(np.uint8, 128)),
    "gemm.peak.read": (ones(17), 2),
    "gemm.quantize_activations.quantize_rows_grouped": (
        *(ones(40), 7, 17, 32, 0, filled(np.int8, 3 * DEPTH)),
        *(ones(6), filled(np.int32, 6), 2, 3),
    ),
    "gemm.quantize_activations.quantize_rows_int4": (
        *(ones(40), 7, 17, 32, 16, filled(np.int8, 3 * DEPTH)),
        *(ones(6), filled(np.int32, 6), 2, 3),
    ),
    "gemm.quantize_activations.quantize_rows_int8": (
        *(ones(40), 7, 17, 32, True, filled(np.int8, 6 * DEPTH), 2 * DEPTH),
        *(ones(3), filled(np.int32, 3), 3),
    ),
    "gemm.quantize_activations.row_scales": (ones(40), 7, 17, ones(3), ones(3), 3),
    "gemm.quantized_weights.best_int4": (
        ones(5, 40),
        ones(5, 2, 3),
        32,
        ones(5, 2),
        filled(np.uint8, 5, 20),
    ),
    "ops.network_coder.code_with_network": (
        *(tokens(4), filled(np.uint8, 4), False, -1, *drawn_network()),
        *(filled(np.int64, STATE), filled(np.uint8, 99)),
    ),
    "ops.neighbours.cosines": (ones(4, 17), ones(9, 17), ones(9), ones(4, 9)),
    "ops.neighbours.gather": (ones(9, 17), filled(np.int64, 4, 5), ones(4, 5, 17)),
    "ops.neighbours.gather_half": (
        *(tokens(153).reshape(9, 17), filled(np.int64, 4, 5), ones(4, 5, 17)),
    ),
    "ops.neighbours.gather_int8": (
        *(filled(np.int8, 9, 17), ones(9), ones(2, 17), filled(np.int64, 4, 5)),
        ones(4, 5, 17),
    ),
    "ops.neighbours.inverse_norms": (ones(9, 17), HALF, ones(9)),
    "ops.neighbours.largest": (ones(4, 9), ones(5), filled(np.int64, 4, 5)),
    "ops.neighbours.mean_of_nearest": (
        *(ones(4, 17), ones(4, 5, 17), ones(9), filled(np.int64, 4, 5), ones(2)),
        *(filled(np.int64, 2), ones(4, 17)),
    ),
    "ops.neutral_coder.code_neutrally": (
        *(tokens(4), filled(np.uint8, 4), False, -1, probabilities()),
        *(filled(np.int32, 3, 5), filled(np.int32, 5)),
        *(filled(np.int64, STATE), filled(np.uint8, 99)),
    ),
    "ops.resample.resample": (ones(17), ones(3, 4), 2, 1, ones(9)),
    "ops.residual.add": (ones(4, 17), ones(4, 17)),
    "ops.residual.add_scaled": (ones(4, 17), ones(4, 17), ones(17)),
    "ops.history.write": (ones(4, 17), ones(9, 17), 7),
    "ops.history.duplicate": (filled(np.int64, 2), filled(np.int64, 2)),
    "ops.history.copy": (ones(3, 17), ones(4, 17)),
    "ops.history.append": (ones(4, 34), 5, filled(np.int64, 1), ones(2, 9, 17)),
    "ops.history.keep_last": (ones(2, 9, 17), 4, 5),
    "ops.noise.append": (ones(4, 17), 5, filled(np.int64, 1), ones(1, 9, 20)),
    "ops.samples.overlap_add": (ones(4, 17), ones(5), ones(48)),
    "ops.samples.sanitize": (ones(17), HALF, ones(17), filled(np.int64, 1)),
    "ops.samples.clip": (ones(17), ones(17)),
    "ops.softmax.exponentials": (ones(17), HALF),
    "ops.softmax.running_exponentials": (ones(17), HALF, ones(2)),
    "ops.snake.snake": (ones(4, 17), ones(17), ones(17), ones(4, 17)),
    "ops.vecmath.gelu_row": (ones(77),),
    "ops.vocos.divide_by_envelope": (ones(29), ones(17), 4, 4, ones(4)),
    "ops.vocos.last_columns": (ones(4, 17), ones(20)),
    "ops.vocos.overlap_add": (ones(4, 17), ones(17), 0, 4, ones(29)),
    "ops.vocos.spectra": (ones(4, 34), ones(4, 34)),
    "ops.whole_attention_plain.start_block": (HALF, ones(9), -3, ones(17)),
    "ops.whole_attention_plain.attend_whole": (
        *(ones(4, 6), ones(4, 2), ones(2, 5), ones(2, 2, 3, BLOCK), ones(2, 1, 200, 3), 7),
        *(ones(4, BLOCK), ones(4, 2), ones(4, 3), ones(4, 6)),
    ),
}


BUILT = {
    f"{using.name} {kind} {width}": (compiled, arguments(width))
    for using in instructions.supported()
    for kind, arguments in {
        "floats": lambda width: (ones(4 * 17), 17, ones(2, 17, width), ones(2 * width)),
        "int8": lambda width: (
            *(ones(4 * 24), 24, filled(np.int8, 64 * width), ones(2 * width), ones(2 * width)),
            *(24, 32, filled(np.int8, 1 << 16)),
        ),
        "int4": lambda width: (
            *(ones(4 * 24), 24, filled(np.uint8, 32 * width), ones(2, width), ones(2 * width)),
            *(24, 32, filled(np.int8, 1 << 16)),
        ),
        "grouped": lambda width: (
            *(ones(4 * 24), 24, filled(np.int8, 64 * width), filled(np.int16, 2 * width)),
            *(ones(2 * width), ones(2 * width), 24, filled(np.int8, 1 << 16)),
        ),
    }.items()
    for width, compiled in getattr(products.kernels(using), kind).items()
}
"""Kernels built for a set of instructions and a panel's width."""


def depthwise_arguments(using: instructions.Instructions, dtype: Any) -> tuple[Any, ...]:
    width = using.lanes * depthwise.VECTORS
    weight, ring = filled(dtype, 2, 7, width), filled(dtype, 2, 15, width)
    x, out = ones(9, width + 1), ones(9, width + 1)
    return x, ring, cursor(0, 1), weight, ones(2 * width), out, 0, 2
