"""Chunked self-attention with gated relative position bias (WavLM, arXiv 2110.13900)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.kernels.gemm.quantized_weights import Int4, Int8, Weight
from fcs_edge.kernels.ops.attention import RingAttention, position_gate
from fcs_edge.model.layers import ADD, F32, Array, Linear, Tensors, new
from fcs_edge.modelfile.config import EncoderConfig


def position_buckets(distances: NDArray[np.int64], config: EncoderConfig) -> NDArray[np.int64]:
    """Return the bucket of each distance key - query.

    Small distances have a bucket each; larger ones share buckets on a logarithmic scale. Keys after
    the query take the upper half (T5, arXiv 1910.10683, section 2.1). The computation is float32,
    as in the reference. The logarithm is rounded from float64: NumPy's float32 depends on the CPU.
    """
    half = config.num_buckets // 2
    exact = half // 2
    distance = np.abs(distances)
    scaled = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    ratio = np.log(scaled.astype(np.float64)).astype(np.float32)
    ratio /= np.float32(np.log(config.max_distance / exact))
    shared = (ratio * np.float32(half - exact) + np.float32(exact)).astype(np.int64)
    bucket = np.where(distance < exact, distance, np.minimum(shared, half - 1))
    return np.where(distances > 0, half, 0) + bucket


def distance_bias(table: F32, config: EncoderConfig, first: int, last: int) -> F32:
    """Return the bias of the distances key - query from first to last, (heads, span) float32."""
    return np.ascontiguousarray(table[position_buckets(np.arange(first, last + 1), config)].T)


def position_bias(table: F32, config: EncoderConfig) -> F32:
    """Return the bias of every distance in a window, (heads, span) float32.

    The last column belongs to the latest key of the chunk, at distance chunk_frames - 1.
    """
    return distance_bias(table, config, 1 - config.window_size, config.chunk_frames - 1)


def chunk_biases(bias: F32, config: EncoderConfig) -> F32:
    """Return what `position_bias` gives for chunks of 1, 2, ... rows: a row of the result each.

    The last column of a chunk's bias is distance rows - 1. So fewer rows have fewer columns: zeros
    fill the row, (chunk_frames, heads * span).
    """
    heads, span = bias.shape
    biases = np.zeros((config.chunk_frames, heads * span), np.float32)
    for i in range(config.chunk_frames):
        columns = span - config.chunk_frames + 1 + i
        biases[i, : heads * columns] = bias[:, :columns].reshape(-1)
    return biases


class PositionGate:
    """The gate of the position bias, per query and head."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        gate = tensors[f"{name}.gru_rel_pos_linear.weight"]
        # The gate needs two sums of four outputs each: sum the weights instead.
        self._weight = gate.reshape(2, 4, -1).sum(1, dtype=np.float64).astype(np.float32)
        bias = tensors[f"{name}.gru_rel_pos_linear.bias"]
        self._bias = bias.reshape(2, 4).sum(1, dtype=np.float64).astype(np.float32)
        self._const = tensors[f"{name}.gru_rel_pos_const"].reshape(-1)

    def __call__(self, z: F32, out: F32) -> None:
        """Write the gates of z, (rows, dim), into out, (rows, heads)."""
        position_gate(z, self._weight, self._bias, self._const, out)


def halves_suffice(qkv: Weight) -> bool:
    """Return whether keys and values of this weight have no more precision than float16 has."""
    return isinstance(qkv, Int8 | Int4)


class AttentionState:
    """Keys and values of the window, in rings, and the workspace of a chunk."""

    def __init__(self, config: EncoderConfig, attend: RingAttention, max_rows: int) -> None:
        self.keys, self.values = attend.rings()
        self.cursor = np.zeros(2, np.int64)
        self.qkv = new(max_rows, 3 * config.dim)
        self.gate = new(max_rows, config.num_heads)
        self.joined = new(max_rows, config.dim)
        self.scores = attend.scores()

    def reset(self) -> None:
        """Start a new stream."""
        self.cursor[:] = 0

    def history(self) -> list[Array]:
        """Return what resumes the stream; see `layers.State`."""
        return [self.cursor, self.keys, self.values]


class Attention:
    """Attention of each query to its own chunk and its past, `window_size` keys at most."""

    def __init__(self, config: EncoderConfig, tensors: Tensors, name: str, biases: F32) -> None:
        self._config = config
        self._biases = biases
        half = halves_suffice(tensors.matrix(f"{name}.qkv_proj.weight"))
        self._attend = RingAttention(config.num_heads, config.head_dim, config.window_size, half)
        self._qkv = Linear.named(tensors, f"{name}.qkv_proj")
        self._out = Linear.named(tensors, f"{name}.out_proj")
        self._gate = PositionGate(tensors, name)

    def state(self, max_rows: int) -> AttentionState:
        """Return the state of a new stream whose calls take up to `max_rows` rows."""
        return AttentionState(self._config, self._attend, max_rows)

    def __call__(self, z: F32, out: F32, state: AttentionState) -> None:
        """Add the attention of z to out, both (rows, dim); the last chunk may be partial.

        A partial chunk, which ends the stream, sees its own rows and those before it: `window_size`
        in all.
        """
        rows, chunk = z.shape[0], self._config.chunk_frames
        qkv, gate, joined = state.qkv[:rows], state.gate[:rows], state.joined[:rows]
        self._qkv(z, qkv)
        self._gate(z, gate)
        for start in range(0, rows, chunk):
            part = slice(start, start + chunk)
            self._attend(
                qkv[part],
                gate[part],
                self._chunk_bias(min(chunk, rows - start)),
                state.keys,
                state.values,
                state.cursor,
                state.scores,
                joined[part],
            )
        self._out(joined, out, ADD)

    def _chunk_bias(self, rows: int) -> F32:
        """Return the bias for a chunk of so many rows, a view of `chunk_biases`."""
        heads, all_rows = self._config.num_heads, len(self._biases)
        columns = self._biases.shape[1] // heads - all_rows + rows
        return self._biases[rows - 1, : heads * columns].reshape(heads, columns)
