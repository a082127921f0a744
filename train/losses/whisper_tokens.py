"""What a frozen speech recogniser writes of sound: how far made sound is from the words wanted."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.losses.whisper_features import floats, linear, norm, read_weights

_START, _NO_TIMESTAMPS, _END = 50257, 50362, 50256
"""Of the vocabulary that the English models have."""
PROMPT = (_START, _NO_TIMESTAMPS)

_Heard = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (batch, heads, frames, width / heads) each."""


class Words(nn.Module):
    """Whisper's decoder (arXiv 2212.04356); it is not trained, gradients pass through.

    Parameters
    ----------
    weights : Path
        A model.bin of CTranslate2, of floats, of an English model.
    longest : int
        Most tokens that it writes of a crop.
    dtype : torch.dtype
        What matrices are held as: bfloat16 spares autocast from making it of them at each token.
    """

    embeddings: Tensor
    positions: Tensor
    prompt: Tensor

    def __init__(self, weights: Path, longest: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        arrays = read_weights(weights)
        self.longest = longest
        found = floats(arrays, "decoder/")
        heads = int(arrays["decoder/num_heads"])
        layers = sum(name.endswith("/attention/linear_0/weight") for name in found)
        self.norm_heard = norm(floats(arrays, "encoder/"), "layer_norm")
        self.layers = nn.ModuleList(_Layer(found, f"layer_{i}/", heads) for i in range(layers))
        self.norm = norm(found, "layer_norm")
        self.register_buffer("embeddings", found["embeddings/weight"].to(dtype))
        self.register_buffer("positions", found["position_encodings/encodings"])
        self.register_buffer("prompt", torch.tensor(PROMPT))
        for part in self.modules():
            if isinstance(part, nn.Linear):
                part.to(dtype)
        self.requires_grad_(False)

    def heard(self, seen: Tensor) -> _Heard:
        """Return what it attends to of (batch, frames, width) from the encoder's last layer."""
        normed = self.norm_heard(seen)
        return [layer.attend_to(normed) for layer in self.layers]

    def forward(self, tokens: Tensor, heard: _Heard) -> Tensor:
        """Return the logits of what follows each of the tokens, (batch, n, vocabulary) float32."""
        return self._logits(self._after(tokens, heard))

    @torch.no_grad()
    def write(self, heard: _Heard) -> Tensor:
        """Return the likeliest token each time, prompt and all; after the end, the end again."""
        batch = heard[0][0].shape[0]
        tokens = self.prompt.expand(batch, -1)
        for _ in range(self.longest):
            likeliest = self._logits(self._after(tokens, heard)[:, -1:]).argmax(-1)
            ended = tokens[:, -1:] == _END
            tokens = torch.cat([tokens, likeliest.masked_fill(ended, _END)], 1)
            if bool((tokens[:, -1] == _END).all()):
                break
        return tokens

    def _after(self, tokens: Tensor, heard: _Heard) -> Tensor:
        x = self.embeddings[tokens] + self.positions[: tokens.shape[1]]
        for layer, (keys, values) in zip(self.layers, heard, strict=True):
            x = layer(x, keys, values)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = functional.linear(self.norm(x), self.embeddings)
        return logits.float()

    def apart(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Return how unlikely what it writes of what was wanted is, for what was made.

        l = mean over tokens of sum_v p_v log(p_v / q_v), p what it expects of the one, q of the
        other, in both cases after what it wrote of the first.

        Parameters
        ----------
        made, wanted : torch.Tensor
            What the encoder's last layer sees in both, (batch, frames, width).
        """
        with torch.no_grad():
            heard = self.heard(wanted)
            tokens = self.write(heard)
            before = tokens[:, :-1]
            expected = self(before, heard)[:, len(PROMPT) - 1 :].log_softmax(-1)
        found = self(before, self.heard(made))[:, len(PROMPT) - 1 :].log_softmax(-1)
        # The end itself counts, what stands after it does not.
        counts = (before[:, len(PROMPT) - 1 :] != _END).float()
        apart = (expected.exp() * (expected - found)).sum(-1)
        return (apart * counts).sum() / counts.sum()


class _Layer(nn.Module):
    def __init__(self, found: dict[str, Tensor], prefix: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        parts = {"self_attention": 2, "attention": 3, "ffn": 2}
        self.norms = nn.ModuleList(norm(found, f"{prefix}{part}/layer_norm") for part in parts)
        self.linears = nn.ModuleList(
            linear(found, f"{prefix}{part}/linear_{i}")
            for part, n in parts.items()
            for i in range(n)
        )

    def attend_to(self, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of what was heard."""
        keys, values = self._by_head(self.linears[3](heard), 2)
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        together, joined, query, _, out, up, down = self.linears
        before, across, after = self.norms
        own = self._by_head(together(before(x)), 3)
        y = functional.scaled_dot_product_attention(own[0], own[1], own[2], is_causal=True)
        x = x + joined(y.transpose(1, 2).flatten(2))
        (asked,) = self._by_head(query(across(x)), 1)
        y = functional.scaled_dot_product_attention(asked, keys, values)
        x = x + out(y.transpose(1, 2).flatten(2))
        z: Tensor = x + down(functional.gelu(up(after(x))))
        return z

    def _by_head(self, x: Tensor, parts: int) -> Tensor:
        batch, n, _ = x.shape
        return x.view(batch, n, parts, self.heads, -1).permute(2, 0, 3, 1, 4)
