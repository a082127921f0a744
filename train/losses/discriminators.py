"""Small discriminators: of samples a period apart (arXiv 2010.05646), and of spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

Judged = tuple[Tensor, list[Tensor]]

_SLOPE = 0.1


class PeriodDiscriminator(nn.Module):
    """Looks at samples that are one period apart."""

    def __init__(self, period: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        sizes = zip((1, *widths), widths, (3,) * (len(widths) - 1) + (1,))  # noqa: B905
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(a, b, 5, stride, 2)) for a, b, stride in sizes
        )
        self.last = weight_norm(nn.Conv1d(widths[-1], 1, 3, 1, 1))

    def forward(self, sound: Tensor) -> Judged:
        """Judge (batch, samples); return scores and what each layer saw."""
        rows = sound.shape[1] // self.period
        x = sound[:, : rows * self.period].view(-1, rows, self.period)
        # Each phase by itself: on a CPU convolutions of one dimension are nearly twice as fast.
        x = x.mT.reshape(-1, 1, rows)
        return _through(x, self.layers, self.last)


class SpectrumDiscriminator(nn.Module):
    """Looks at a complex spectrum whose magnitudes are compressed."""

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

    def forward(self, sound: Tensor) -> Judged:
        """Judge (batch, samples); return scores and what each layer saw."""
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
    """All of them.

    Parameters
    ----------
    periods : list of int
        One discriminator of samples each.
    sizes : list of int
        Samples of a window; one discriminator of spectra each.
    widths : list of int
        Channels of the first ones' layers.
    width : int
        Channels of the others' first layer.
    """

    def __init__(self, periods: list[int], sizes: list[int], widths: list[int], width: int) -> None:
        super().__init__()
        of_samples = [PeriodDiscriminator(period, tuple(widths)) for period in periods]
        of_spectra = [SpectrumDiscriminator(size, width) for size in sizes]
        self.all = nn.ModuleList([*of_samples, *of_spectra])

    def judge(
        self, real: Tensor, made: Tensor, chosen: list[int]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Let some of them hear both, each (batch, samples).

        Returns
        -------
        of_judges : torch.Tensor
            Their hinge loss.
        of_maker : dict
            Of whoever made it: ``adversarial``, and how far apart what they see in both is,
            ``matching``.
        """
        of_judges = adversarial = matching = torch.zeros((), device=real.device)
        for index in chosen:
            # One after the other: nothing then goes back through what is real for whoever made it.
            yes, right = self.all[index](real)
            no, found = self.all[index](made)
            yes, no = yes.float(), no.float()
            hinge = functional.relu(1 - yes).mean() + functional.relu(1 + no).mean()
            of_judges = of_judges + hinge / len(chosen)
            adversarial = adversarial - no.mean() / len(chosen)
            for wanted, there in zip(right, found, strict=True):
                wanted = wanted.detach()
                apart = (there - wanted).abs().mean() / (wanted.abs().mean() + 1e-3)
                matching = matching + apart.float() / (len(found) * len(chosen))
        return of_judges, {"adversarial": adversarial, "matching": matching}


def _through(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judged:
    seen = []
    for layer in layers:
        x = functional.leaky_relu(layer(x), _SLOPE)
        seen.append(x)
    return last(x), seen
