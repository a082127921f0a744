"""The choice of codes by what a small network tells of them (analysis by synthesis)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fcs_edge.kernels.ops import code_search
from fcs_edge.model.code_search import (
    FLOOR,
    MEAN_LOG_AMPLITUDE,
    WINDOW,
    band_filters,
    cepstral_rows,
    workspace,
)
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, SPECTRA_A_TOKEN, CodecConfig, SearchConfig


class Search(nn.Module):
    """What is wanted, heard from samples and by the compressor; and what codes tell of it.

    Where it is not `active`, codes are the signs of latents: it learns before it is asked.

    Parameters
    ----------
    config : SearchConfig
        Its sizes.
    codec : CodecConfig
        The codec's.
    """

    filters: Tensor
    rows: Tensor

    def __init__(self, config: SearchConfig, codec: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.active = True
        self.chunk = codec.chunk_tokens
        self.wide, heard = SPECTRA_A_TOKEN * config.orders, SPECTRA_A_TOKEN * config.bands
        width = codec.compressor.hidden_dims[-1]
        self.wanted_in = nn.Linear(width + heard, config.inner)
        self.wanted_out = nn.Linear(config.inner, self.wide)
        self.told_in = nn.Linear(config.history * codec.bits_per_token, config.inner)
        self.told_out = nn.Linear(config.inner, self.wide)
        nn.init.zeros_(self.wanted_out.weight)
        nn.init.zeros_(self.wanted_out.bias)
        self.token_seconds = codec.samples_per_token / SAMPLE_RATE_IN
        bin_hz = 1 / WINDOW
        filters = band_filters(config.bands, round(SAMPLE_RATE_IN / 2 / bin_hz) + 1, bin_hz)
        rows = cepstral_rows(config.bands, config.orders)
        self.register_buffer("filters", torch.tensor(filters.T).float(), persistent=False)
        self.register_buffer("rows", torch.tensor(rows.T).float(), persistent=False)

    @torch.no_grad()
    def heard(self, samples: Tensor, rate: int) -> Tensor:
        """Return log amplitudes, (batch, tokens, spectra, bands) float32, of (batch, samples)."""
        size, hop = round(WINDOW * rate), round(self.token_seconds / SPECTRA_A_TOKEN * rate)
        padded = functional.pad(samples.float(), (size - hop, 0))
        window = torch.hann_window(size, device=samples.device)
        spectra = torch.fft.rfft(padded.unfold(1, size, hop) * window) * (2 / window.sum())
        power = spectra[..., : self.filters.shape[0]].abs().square() @ self.filters
        log = 0.5 * torch.log(power + FLOOR**2) - MEAN_LOG_AMPLITUDE
        return log.reshape(len(samples), -1, SPECTRA_A_TOKEN, self.config.bands)

    def cepstra(self, log: Tensor) -> Tensor:
        """Return (batch, tokens, wide) of bands, what codes are searched by."""
        return (log @ self.rows).flatten(2)

    def seek(self, hidden: Tensor, samples: Tensor) -> Tensor:
        """Return what is wanted, (batch, tokens, wide) float32.

        Parameters
        ----------
        hidden : torch.Tensor
            (batch, tokens, width), of the compressor.
        samples : torch.Tensor
            (batch, samples) at 16 kHz.
        """
        # Half of the digits would not do: 0.1 is much where codes differ by little.
        with torch.autocast(hidden.device.type, enabled=False):
            log = self.heard(samples, SAMPLE_RATE_IN)
            inner = self.wanted_in(torch.cat([hidden.float(), log.flatten(2)], 2))
            wanted: Tensor = self.cepstra(log) + self.wanted_out(functional.relu(inner))
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
        """Return codes, (batch, tokens, bits) of +-1/sqrt(bits), by `kernels.ops.code_search`.

        A GPU keeps one way open, whatever is configured, and tries all flips each time.

        Parameters
        ----------
        latents : torch.Tensor
            (batch, tokens, bits), rows of unit length.
        wanted : torch.Tensor
            (batch, tokens, wide).
        """
        c, bits = self.config, latents.shape[2]
        weights = (
            self.told_in.weight.view(c.inner, c.history, bits).permute(1, 2, 0),
            self.told_in.bias,
            self.told_out.weight.t(),
            self.told_out.bias,
        )
        if latents.is_cuda:
            # Triton is not where PyTorch has no GPU.
            from train.model.code_search_kernel import choose

            return choose(latents.float(), wanted, *weights, c.prior, c.max_flips) * bits**-0.5

        def plain(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            return x.detach().float().cpu().contiguous().numpy()

        predictor = code_search.Predictor(*(plain(x) for x in weights))
        settings = code_search.Settings(np.float32(c.prior), c.max_flips, c.shortlist, self.chunk)
        signs = np.empty(latents.shape, np.float32)
        work = workspace(c, bits, self.chunk)
        for crop, aim, out in zip(plain(latents), plain(wanted), signs, strict=True):
            past = np.zeros((c.history, bits), np.float32)
            code_search.search_codes(crop, aim, predictor, settings, past, work, out)
        return torch.from_numpy(signs).to(latents.device) * bits**-0.5
