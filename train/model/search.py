"""The choice of codes by what a small network tells of them (analysis by synthesis)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.config import CodecConfig, SearchConfig
from fcs_edge.kernels import search as kernels


class Search(nn.Module):
    """What is wanted, told by the compressor; and what codes tell of it.

    Where it is not `active`, codes are the signs of latents: it learns before it is asked.

    Parameters
    ----------
    config : SearchConfig
        Its sizes.
    codec : CodecConfig
        The codec's.
    """

    def __init__(self, config: SearchConfig, codec: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.active = True
        self.wanted = nn.Linear(codec.compressor.hidden_dims[-1], config.wide)
        self.told_in = nn.Linear(config.history * codec.bits_per_token, config.inner)
        self.told_out = nn.Linear(config.inner, config.wide)

    def seek(self, hidden: Tensor) -> Tensor:
        """Return what is wanted, (batch, tokens, wide) float32, of (batch, tokens, width)."""
        # Half of the digits would not do: 0.1 is much where codes differ by little.
        with torch.autocast(hidden.device.type, enabled=False):
            wanted: Tensor = self.wanted(hidden.float())
        return wanted

    def forward(self, codes: Tensor) -> Tensor:
        """Tell (batch, tokens, wide) of codes (batch, tokens, bits)."""
        signs = codes.float() * codes.shape[2] ** 0.5
        history = self.config.history
        padded = functional.pad(signs, (0, 0, history - 1, 0))
        n_tokens = signs.shape[1]
        seen = [padded[:, history - 1 - k :][:, :n_tokens] for k in range(history)]
        with torch.autocast(codes.device.type, enabled=False):
            told: Tensor = self.told_out(functional.relu(self.told_in(torch.cat(seen, 2))))
        return told

    @torch.no_grad()
    def choose(self, latents: Tensor, wanted: Tensor) -> Tensor:
        """Return codes, (batch, tokens, bits) of +-1/sqrt(bits), by `kernels.choose`.

        Parameters
        ----------
        latents : torch.Tensor
            (batch, tokens, bits), rows of unit length.
        wanted : torch.Tensor
            (batch, tokens, wide).
        """
        c, bits = self.config, latents.shape[2]

        def plain(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            return x.detach().float().cpu().contiguous().numpy()

        first = plain(self.told_in.weight).reshape(c.inner, c.history, bits)
        first = np.ascontiguousarray(first.transpose(1, 2, 0))
        second = np.ascontiguousarray(plain(self.told_out.weight).T)
        signs = np.empty(latents.shape, np.float32)
        sums, told = np.empty(c.inner, np.float32), np.empty(c.wide, np.float32)
        for crop, aim, out in zip(plain(latents), plain(wanted), signs, strict=True):
            kernels.choose(
                crop,
                aim,
                first,
                plain(self.told_in.bias),
                second,
                plain(self.told_out.bias),
                np.float32(c.prior),
                c.passes,
                np.zeros((c.history, bits), np.float32),
                sums,
                told,
                out,
            )
        return torch.from_numpy(signs).to(latents.device) * bits**-0.5
