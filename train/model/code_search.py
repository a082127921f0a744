"""The search for codes whose predicted cepstra come close to those of the input."""

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
    settings,
)
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, SPECTRA_A_TOKEN, CodecConfig, SearchConfig


class Search(nn.Module):
    """Two small networks: the target cepstra of the input, and a prediction of them from codes.

    Where `enabled` is false, codes are the signs of latents, and the networks still learn.

    The model file names the layers ``wanted_in``, ``wanted_out``, ``told_in`` and ``told_out``.
    The file's fingerprint depends on these names.

    Parameters
    ----------
    config : SearchConfig
        Sizes of the search.
    codec : CodecConfig
        Sizes of the codec.
    """

    filters: Tensor
    rows: Tensor

    def __init__(self, config: SearchConfig, codec: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.enabled = True
        self.chunk = codec.chunk_tokens
        self.columns, bands = SPECTRA_A_TOKEN * config.orders, SPECTRA_A_TOKEN * config.bands
        width = codec.compressor.hidden_dims[-1]
        history = config.history * codec.bits_per_token
        for name, width_in, width_out in (
            ("wanted_in", width + bands, config.inner),
            ("wanted_out", config.inner, self.columns),
            ("told_in", history, config.inner),
            ("told_out", config.inner, self.columns),
        ):
            self.add_module(name, nn.Linear(width_in, width_out))
        nn.init.zeros_(self.target_out.weight)
        nn.init.zeros_(self.target_out.bias)
        self.token_seconds = codec.samples_per_token / SAMPLE_RATE_IN
        bin_hz = 1 / WINDOW
        filters = band_filters(config.bands, round(SAMPLE_RATE_IN / 2 / bin_hz) + 1, bin_hz)
        rows = cepstral_rows(config.bands, config.orders)
        self.register_buffer("filters", torch.tensor(filters.T).float(), persistent=False)
        self.register_buffer("rows", torch.tensor(rows.T).float(), persistent=False)

    @property
    def target_in(self) -> nn.Linear:
        """Input layer of the target network."""
        return self._linear("wanted_in")

    @property
    def target_out(self) -> nn.Linear:
        """Output layer of the target network."""
        return self._linear("wanted_out")

    @property
    def prediction_in(self) -> nn.Linear:
        """Input layer of the prediction network."""
        return self._linear("told_in")

    @property
    def prediction_out(self) -> nn.Linear:
        """Output layer of the prediction network."""
        return self._linear("told_out")

    def _linear(self, name: str) -> nn.Linear:
        layer = self.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        return layer

    @torch.no_grad()
    def log_bands(self, samples: Tensor, rate: int) -> Tensor:
        """Return log amplitudes, (batch, tokens, spectra, bands) float32, of (batch, samples)."""
        size, hop = round(WINDOW * rate), round(self.token_seconds / SPECTRA_A_TOKEN * rate)
        padded = functional.pad(samples.float(), (size - hop, 0))
        window = torch.hann_window(size, device=samples.device)
        spectra = torch.fft.rfft(padded.unfold(1, size, hop) * window) * (2 / window.sum())
        power = spectra[..., : self.filters.shape[0]].abs().square() @ self.filters
        log = 0.5 * torch.log(power + FLOOR**2) - MEAN_LOG_AMPLITUDE
        return log.reshape(len(samples), -1, SPECTRA_A_TOKEN, self.config.bands)

    def cepstra(self, log: Tensor) -> Tensor:
        """Return cepstra, (batch, tokens, columns), of `log_bands`."""
        return (log @ self.rows).flatten(2)

    def target(self, hidden: Tensor, samples: Tensor) -> Tensor:
        """Return the cepstra that the search aims at, (batch, tokens, columns) float32.

        Parameters
        ----------
        hidden : torch.Tensor
            (batch, tokens, width), of the compressor.
        samples : torch.Tensor
            (batch, samples) at 16 kHz.
        """
        # bfloat16 has too few digits: codes differ by as little as 0.1.
        with torch.autocast(hidden.device.type, enabled=False):
            log = self.log_bands(samples, SAMPLE_RATE_IN)
            inner = self.target_in(torch.cat([hidden.float(), log.flatten(2)], 2))
            correction: Tensor = self.target_out(functional.relu(inner))
        return self.cepstra(log) + correction

    def forward(self, codes: Tensor) -> Tensor:
        """Predict cepstra (batch, tokens, columns) from codes (batch, tokens, bits)."""
        signs = codes.float() * codes.shape[2] ** 0.5
        history = self.config.history
        padded = functional.pad(signs, (0, 0, history - 1, 0))
        n_tokens = signs.shape[1]
        rows = torch.cat([padded[:, history - 1 - k :][:, :n_tokens] for k in range(history)], 2)
        with torch.autocast(codes.device.type, enabled=False):
            prediction: Tensor = self.prediction_out(functional.relu(self.prediction_in(rows)))
        return prediction

    @torch.no_grad()
    def select(self, latents: Tensor, target: Tensor) -> Tensor:
        """Return codes, (batch, tokens, bits) of +-1/sqrt(bits), by `kernels.ops.code_search`.

        A GPU searches with a beam of one, whatever is configured, and tries all flips each time.

        Parameters
        ----------
        latents : torch.Tensor
            (batch, tokens, bits), rows of unit length.
        target : torch.Tensor
            (batch, tokens, columns).
        """
        bits = latents.shape[2]
        weights = self._weights(bits)
        if latents.is_cuda:
            return self._select_on_gpu(latents, target, weights) * bits**-0.5
        c = self.config
        predictor = code_search.Predictor(*(_array(x) for x in weights))
        search = code_search.CodeSearch(predictor, settings(c, self.chunk))
        signs, work = np.empty(latents.shape, np.float32), search.workspace()
        for crop, aim, out in zip(_array(latents), _array(target), signs, strict=True):
            past = np.zeros((c.history, bits), np.float32)
            search(crop, aim, past, work, out)
        return torch.from_numpy(signs).to(latents.device) * bits**-0.5

    def _weights(self, bits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the prediction network as the kernels read it."""
        c = self.config
        first = self.prediction_in.weight.view(c.inner, c.history, bits).permute(1, 2, 0)
        second = self.prediction_out.weight.t()
        return first, self.prediction_in.bias, second, self.prediction_out.bias

    def _select_on_gpu(
        self, latents: Tensor, target: Tensor, weights: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Return signs by the Triton kernel."""
        # Triton is absent where PyTorch has no GPU.
        from train.model.code_search_kernel import search_codes

        config = self.config
        return search_codes(latents.float(), target, *weights, config.prior, config.max_flips)


def _array(x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return x.detach().float().cpu().contiguous().numpy()
