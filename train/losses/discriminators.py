"""Small discriminators: of samples a period apart (arXiv 2010.05646), and of spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

Result = tuple[Tensor, list[Tensor]]
"""Scores, and the activations of each layer."""

_SLOPE = 0.1


class PeriodDiscriminator(nn.Module):
    """Convolutions over samples that are one period apart."""

    def __init__(self, period: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        sizes = zip((1, *widths), widths, (3,) * (len(widths) - 1) + (1,))  # noqa: B905
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(a, b, 5, stride, 2)) for a, b, stride in sizes
        )
        self.last = weight_norm(nn.Conv1d(widths[-1], 1, 3, 1, 1))

    def forward(self, sound: Tensor) -> Result:
        """Return scores and activations of each layer for (batch, samples)."""
        rows = sound.shape[1] // self.period
        x = sound[:, : rows * self.period].view(-1, rows, self.period)
        # One row for each phase: on a CPU 1-D convolutions are nearly twice as fast as 2-D ones.
        x = x.mT.reshape(-1, 1, rows)
        return _through(x, self.layers, self.last)


class SpectrumDiscriminator(nn.Module):
    """Convolutions over a complex spectrum with compressed magnitudes."""

    window: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        window = torch.hann_window(size)
        self.register_buffer("window", window / window.square().sum().sqrt())
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, width, (3, 9), (1, 4), (1, 4))),
                weight_norm(nn.Conv2d(width, 2 * width, (3, 9), (1, 4), (1, 4))),
                weight_norm(nn.Conv2d(2 * width, 2 * width, (3, 5), (2, 2), (1, 2))),
            ]
        )
        self.last = weight_norm(nn.Conv2d(2 * width, 1, (3, 3), 1, 1))

    def forward(self, sound: Tensor) -> Result:
        """Return scores and activations of each layer for (batch, samples)."""
        spectrum = torch.view_as_real(
            torch.stft(
                sound, self.size, self.size // 4, window=self.window, center=False,
                return_complex=True,
            )
        )  # fmt: skip
        power = spectrum.square().sum(-1, keepdim=True)
        x = (spectrum * (power + 1e-6).pow(-0.35)).permute(0, 3, 2, 1)
        return _through(x, self.layers, self.last)


class Discriminators(nn.Module):
    """The discriminators of a stage.

    Parameters
    ----------
    periods : list of int
        One discriminator of samples each.
    windows : list of int
        Samples of a window; one discriminator of spectra each.
    period_channels : list of int
        Channels of the layers of period discriminators.
    spectrum_channels : int
        Channels of the first layer of spectrum discriminators.
    """

    def __init__(
        self,
        periods: list[int],
        windows: list[int],
        period_channels: list[int],
        spectrum_channels: int,
    ) -> None:
        super().__init__()
        of_samples = [PeriodDiscriminator(period, tuple(period_channels)) for period in periods]
        of_spectra = [SpectrumDiscriminator(size, spectrum_channels) for size in windows]
        self.all = nn.ModuleList([*of_samples, *of_spectra])

    def losses(
        self, target: Tensor, output: Tensor, chosen: list[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of some discriminators, for audio (batch, samples).

        Returns
        -------
        of_discriminators : torch.Tensor
            Their hinge loss.
        of_generator : dict
            ``adversarial`` and ``feature_matching``.
        """
        of_discriminators = adversarial = matching = torch.zeros((), device=target.device)
        for index in chosen:
            # Two passes: the generator's gradient does not go through the target's.
            real, target_layers = self.all[index](target)
            fake, output_layers = self.all[index](output)
            real, fake = real.float(), fake.float()
            hinge = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
            of_discriminators = of_discriminators + hinge / len(chosen)
            adversarial = adversarial - fake.mean() / len(chosen)
            for a, b in zip(output_layers, target_layers, strict=True):
                b = b.detach()
                distance = (a - b).abs().mean() / (b.abs().mean() + 1e-3)
                matching = matching + distance.float() / (len(output_layers) * len(chosen))
        return of_discriminators, {"adversarial": adversarial, "feature_matching": matching}


def _through(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Result:
    activations = []
    for layer in layers:
        x = functional.leaky_relu(layer(x), _SLOPE)
        activations.append(x)
    return last(x), activations
