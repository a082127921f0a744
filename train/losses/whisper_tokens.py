"""Distance of the token probabilities of Whisper's decoder for two sounds."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.losses.whisper_features import floats, linear, norm, read_weights

_START, _NO_TIMESTAMPS, _END = 50257, 50362, 50256
"""Token numbers of the English vocabulary."""
PROMPT = (_START, _NO_TIMESTAMPS)

_Memory = list[tuple[Tensor, Tensor]]
"""Keys and values of the audio for each layer, (batch, heads, frames, width / heads)."""


class WhisperDecoder(nn.Module):
    """Whisper's decoder (arXiv 2212.04356), frozen. Gradients pass through.

    Parameters
    ----------
    weights : Path
        A model.bin of CTranslate2 in floats, of an English model.
    max_tokens : int
        Most tokens of a crop.
    dtype : torch.dtype
        Type of the matrices. With bfloat16 autocast does not convert them at each token.
    """

    embeddings: Tensor
    positions: Tensor
    prompt: Tensor

    def __init__(self, weights: Path, max_tokens: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        arrays = read_weights(weights)
        self.max_tokens = max_tokens
        values = floats(arrays, "decoder/")
        heads = int(arrays["decoder/num_heads"])
        layers = sum(name.endswith("/attention/linear_0/weight") for name in values)
        self.encoder_norm = norm(floats(arrays, "encoder/"), "layer_norm")
        self.layers = nn.ModuleList(_Layer(values, f"layer_{i}/", heads) for i in range(layers))
        self.norm = norm(values, "layer_norm")
        self.register_buffer("embeddings", values["embeddings/weight"].to(dtype))
        self.register_buffer("positions", values["position_encodings/encodings"])
        self.register_buffer("prompt", torch.tensor(PROMPT))
        for part in self.modules():
            if isinstance(part, nn.Linear):
                part.to(dtype)
        self.requires_grad_(False)

    def memory(self, features: Tensor) -> _Memory:
        """Return keys and values of (batch, frames, width) from the encoder's last layer."""
        normed = self.encoder_norm(features)
        return [layer.memory(normed) for layer in self.layers]

    def forward(self, tokens: Tensor, memory: _Memory) -> Tensor:
        """Return logits of the token after each token, (batch, n, vocabulary) float32."""
        return self._logits(self._hidden(tokens, memory))

    @torch.no_grad()
    def decode(self, memory: _Memory) -> Tensor:
        """Return greedy tokens, (batch, n), prompt first. After the end token follow end tokens."""
        batch = memory[0][0].shape[0]
        tokens = self.prompt.expand(batch, -1)
        for _ in range(self.max_tokens):
            likeliest = self._logits(self._hidden(tokens, memory)[:, -1:]).argmax(-1)
            ended = tokens[:, -1:] == _END
            tokens = torch.cat([tokens, likeliest.masked_fill(ended, _END)], 1)
            if bool((tokens[:, -1] == _END).all()):
                break
        return tokens

    def _hidden(self, tokens: Tensor, memory: _Memory) -> Tensor:
        x = self.embeddings[tokens] + self.positions[: tokens.shape[1]]
        for layer, (keys, values) in zip(self.layers, memory, strict=True):
            x = layer(x, keys, values)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = functional.linear(self.norm(x), self.embeddings)
        return logits.float()

    def distance(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the divergence of token probabilities.

        d = mean over tokens of sum_v p_v log(p_v / q_v)

        p are the probabilities for the target, q those for the output. Both follow the tokens that
        are decoded from the target.

        Parameters
        ----------
        output, target : torch.Tensor
            Features of the encoder's last layer, (batch, frames, width).
        """
        with torch.no_grad():
            memory = self.memory(target)
            tokens = self.decode(memory)
            history = tokens[:, :-1]
            p = self(history, memory)[:, len(PROMPT) - 1 :].log_softmax(-1)
        q = self(history, self.memory(output))[:, len(PROMPT) - 1 :].log_softmax(-1)
        # The end token counts; tokens after it do not.
        counts = (history[:, len(PROMPT) - 1 :] != _END).float()
        divergence = (p.exp() * (p - q)).sum(-1)
        return (divergence * counts).sum() / counts.sum()


class _Layer(nn.Module):
    def __init__(self, values: dict[str, Tensor], prefix: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        parts = {"self_attention": 2, "attention": 3, "ffn": 2}
        self.norms = nn.ModuleList(norm(values, f"{prefix}{part}/layer_norm") for part in parts)
        self.linears = nn.ModuleList(
            linear(values, f"{prefix}{part}/linear_{i}")
            for part, n in parts.items()
            for i in range(n)
        )

    def memory(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of the encoder's features."""
        keys, values = self._by_head(self.linears[3](features), 2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        qkv, self_out, query_in, _, out, up, down = self.linears
        self_norm, cross_norm, feed_forward_norm = self.norms
        query, key, value = self._by_head(qkv(self_norm(x)), 3)
        y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self_out(y.transpose(1, 2).flatten(2))
        (query,) = self._by_head(query_in(cross_norm(x)), 1)
        y = functional.scaled_dot_product_attention(query, keys, values)
        x = x + out(y.transpose(1, 2).flatten(2))
        z: Tensor = x + down(functional.gelu(up(feed_forward_norm(x))))
        return z

    def _by_head(self, x: Tensor, parts: int) -> Tensor:
        batch, n, _ = x.shape
        return x.view(batch, n, parts, self.heads, -1).permute(2, 0, 3, 1, 4)
