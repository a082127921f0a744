"""Self-attention of every row to the whole signal, with gated relative position bias."""

from __future__ import annotations

from typing import Any

from fcs_edge.kernels.gemm import quantized_weights as stored
from fcs_edge.kernels.ops.whole_attention import WholeAttention as Attend
from fcs_edge.model.attention import PositionGate, halves_suffice
from fcs_edge.model.layers import ADD, F32, Linear, Tensors, new
from fcs_edge.modelfile.config import EncoderConfig


class WholeMemory:
    """Keys and values of all rows of a signal, and the workspace of a block of rows."""

    def __init__(self, attention: WholeAttention, rows: int, block: int) -> None:
        dim, heads = attention.config.dim, attention.config.num_heads
        self.keys, self.values = attention.attend.memory(rows)
        self.kv = new(block, 2 * dim)
        self.q, self.joined = new(block, dim), new(block, dim)
        self.gate = new(block, heads)
        self.workspace: Any = attention.attend.workspace(block)


class WholeAttention:
    """Attention of each row to all rows: first `store` takes them all, then rows attend.

    Keys and values are those of one layer at a time, so that layers can share the memory.
    """

    def __init__(self, config: EncoderConfig, tensors: Tensors, name: str) -> None:
        self.config = config
        weight, bias = tensors.matrix(f"{name}.qkv_proj.weight"), tensors[f"{name}.qkv_proj.bias"]
        self.attend = Attend(config.num_heads, config.head_dim, halves_suffice(weight))
        dim = config.dim
        self._q = Linear(stored.rows(weight, 0, dim), bias[:dim])
        self._kv = Linear(stored.rows(weight, dim, 3 * dim), bias[dim:])
        self._out = Linear.named(tensors, f"{name}.out_proj")
        self._gate = PositionGate(tensors, name)

    def store(self, z: F32, first: int, memory: WholeMemory) -> None:
        """Store keys and values of z, rows of the signal from `first` on."""
        kv = memory.kv[: z.shape[0]]
        self._kv(z, kv)
        self.attend.store(kv, first, memory.keys, memory.values)

    def __call__(self, z: F32, out: F32, first: int, bias: F32, memory: WholeMemory) -> None:
        """Add the attention of z to out, both rows of the signal from `first` on.

        bias, (heads, 2 * reach + 1), is that of the distances from -reach to reach.
        """
        rows = z.shape[0]
        q, gate, joined = memory.q[:rows], memory.gate[:rows], memory.joined[:rows]
        self._q(z, q)
        self._gate(z, gate)
        self.attend(q, gate, bias, memory.keys, memory.values, first, memory.workspace, joined)
        self._out(joined, out, ADD)
