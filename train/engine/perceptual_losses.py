"""Perceptual losses of decoded audio: discriminators, a recogniser, and distances of audio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from train import workers
from train.config import DiscriminatorConfig, RecogniserLossConfig, TrainingStage
from train.data.batches import Batch
from train.engine.optimizers import adam
from train.losses import whisper_features
from train.losses.autocorrelation import Autocorrelation
from train.losses.cepstral import FORMANTS, SHAPE, Cepstra, formant_loss
from train.losses.discriminators import Discriminators
from train.losses.envelope import EnvelopeLoss
from train.losses.gradient_balance import GradientBalance
from train.losses.level import ExcessEnergy, LevelError
from train.losses.loudness import Loudness
from train.losses.row_periodicity import RowPeriodicity
from train.losses.schema import Kind, of_kind
from train.losses.spectral import lowpassed
from train.losses.whisper_features import WhisperEncoder, load_small
from train.losses.whisper_tokens import WhisperDecoder
from train.precision import autocast, fast
from train.pretrained.whisper import RECOGNISER, tiny_english

_LEVEL = 0.5
"""Gain of every crop before the losses."""
_RAMP_STEPS = 500
_PAUSE = 7680
"""Samples of silence after a crop, 0.32 s. Without it the recogniser's decoder does not detect the
end of a crop cut in the middle of speech, and repeats the last words."""


class AudioDistance(Protocol):
    """A distance of two sounds that has nothing to learn."""

    def distance(self, output: Tensor, target: Tensor, level: float) -> Tensor:
        """Return the distance of (batch, samples) at 24 kHz; 60 dB below `level` is silence."""

    def to(self, device: torch.device) -> Any:
        """Move it to a device."""


DISTANCES: dict[str, Callable[[], AudioDistance]] = {
    "envelope": EnvelopeLoss,
    "cepstra": lambda: Cepstra(*SHAPE),
    "formants": lambda: Cepstra(*FORMANTS, compare=formant_loss),
    "autocorrelation": Autocorrelation,
    "loudness": Loudness,
    "row_periodicity": RowPeriodicity,
    "level": LevelError,
    "excess": ExcessEnergy,
}
"""What computes each perceptual loss that needs no network."""


class PerceptualLosses:
    """The perceptual losses of a stage. Each weight is a share of the spectral gradient's norm.

    Parameters
    ----------
    stage : TrainingStage
        Its discriminators, its recogniser, and the weights of their losses.
    device : torch.device
        Device of the networks.
    corpus : Path, optional
        A folder that may hold the recogniser's encoder; otherwise its package is used.
    """

    def __init__(
        self, stage: TrainingStage, device: torch.device, corpus: Path | None = None
    ) -> None:
        self.device = device
        names = of_kind(Kind.PERCEPTUAL)
        self.shares = {name: x for name, x in stage.losses.items() if name in names}
        config = stage.discriminators
        self.discriminators = _DiscriminatorTraining(config, device) if config else None
        self.recogniser = (
            _RecogniserLosses(stage.recogniser, device, corpus) if stage.recogniser else None
        )
        self.distances: dict[str, AudioDistance] = {
            name: build().to(device) for name, build in DISTANCES.items() if name in self.shares
        }
        self.balance = GradientBalance()
        self.discriminated = False
        self.strength = torch.ones((), device=device)
        """Weight of the discriminators in this step: a tensor, so that a CUDA graph reads it."""

    def strength_at(self, step: int) -> float:
        """Return the weight of the discriminators at a step, from 0 to 1."""
        if self.discriminators is None:
            return 0.0
        start = self.discriminators.config.start_step
        return min(1.0, max(0.0, (step - start + 1) / _RAMP_STEPS))

    def start_step(self, step: int) -> None:
        """Set the weight of the discriminators for a step."""
        strength = self.strength_at(step)
        self.discriminated = strength > 0
        self.strength.fill_(strength)

    def active(self) -> bool:
        """Return whether this step has a perceptual loss."""
        return self.recogniser is not None or bool(self.distances) or self.discriminated

    def gradient(
        self, spectral: Tensor, batch: Batch, sound: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradient of all losses of the sound; leave the discriminators' gradients.

        Parameters
        ----------
        spectral : torch.Tensor
            The spectral loss, whose gradient is the reference.
        batch : Batch
            The target.
        sound : torch.Tensor
            (batch, samples), decoded audio. Its graph is retained.
        step : int
            Number of the step, or of the CUDA graph that is captured. It seeds the draws.

        Returns
        -------
        gradient : torch.Tensor
            (batch, samples).
        values : dict of torch.Tensor
            The losses, and the factor of each one's gradient.
        """
        leaf = sound.detach().requires_grad_()
        target, output = _normalised(batch, batch.target), _normalised(batch, leaf)
        values: dict[str, Tensor] = {}
        of_discriminators: Tensor | None = None
        of_generator: dict[str, Tensor] = {}
        with autocast(self.device):
            if self.recogniser is not None:
                values |= self.recogniser.losses(output, target)
            if self.discriminators is not None and self.discriminated:
                of_discriminators, of_generator = self.discriminators.losses(target, output, step)
                values |= of_generator
        values |= self._distances(output, target)
        gradients: dict[str, Tensor] = {}
        for name, loss in values.items():
            (gradients[name],) = torch.autograd.grad(loss, leaf, retain_graph=True)
        if self.discriminators is not None and of_discriminators is not None:
            self.discriminators.backward(of_discriminators)
            values["discriminators"] = of_discriminators
        shares = {
            name: self.shares[name] * (self.strength if name in of_generator else 1.0)
            for name in gradients
        }
        (reference,) = torch.autograd.grad(spectral, sound)
        total, factors = self.balance.add(reference, gradients, shares, batch.level)
        return total, values | {f"times_{name}": x for name, x in factors.items()}

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the discriminators."""
        return self.discriminators.parameters if self.discriminators is not None else []

    def step(self) -> None:
        """Step the discriminators by their gradients, where they have any."""
        if self.discriminators is not None:
            self.discriminators.optimizer.step()

    def losses(self, batch: Batch, sound: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch that need no network, for evaluation."""
        return self._distances(_normalised(batch, sound), _normalised(batch, batch.target))

    def _distances(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {name: x.distance(output, target, _LEVEL) for name, x in self.distances.items()}

    def train_discriminators(self, batch: Batch, sound: Tensor, step: int) -> dict[str, Tensor]:
        """Leave gradients at the discriminators alone; return their loss."""
        if self.discriminators is None:
            return {}
        target, output = _normalised(batch, batch.target), _normalised(batch, sound.detach())
        with autocast(self.device):
            loss, _ = self.discriminators.losses(target, output, step)
        self.discriminators.backward(loss)
        return {"discriminators": loss}

    def state(self) -> dict[str, Any]:
        """Return the state of a run."""
        state = self.discriminators.state() if self.discriminators is not None else {}
        means = {name: float(mean) for name, mean in self.balance.means.items()}
        return {"balance": means} | state

    def take_over(self, state: dict[str, Any]) -> int:
        """Start from the state of another run; return how many tensors of it fit.

        Each discriminator is taken over where its sizes are the same; the others are new.
        """
        other: dict[str, Tensor] = state.get("discriminators", {})
        own = self.discriminators.state()["discriminators"] if self.discriminators else {}
        differ = {_owner(n) for n, x in own.items() if n not in other or x.shape != other[n].shape}
        fit = {n: other[n] for n in own if _owner(n) not in differ}
        usable = {name: x for name, x in state.items() if name != "discriminators"}
        self.load({"balance": {}} | usable | ({"discriminators": own | fit} if own else {}))
        return len(fit)

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        means = state["balance"].items()
        self.balance.means = {name: torch.tensor(x, device=self.device) for name, x in means}
        if self.discriminators is not None and "discriminators" in state:
            self.discriminators.load(state)


def _owner(name: str) -> str:
    """Return the discriminator of a tensor, as in ``all.3.last.bias``."""
    return name.split(".")[1]


def _normalised(batch: Batch, sound: Tensor) -> Tensor:
    """Return (batch, samples) at one level, and only the band in which the target is valid.

    At one level a quiet crop counts as much as a loud one.
    """
    return lowpassed(sound * (_LEVEL / batch.level[:, None]), batch.band_hz)


class _DiscriminatorTraining:
    """Discriminators and their optimizer."""

    def __init__(self, config: DiscriminatorConfig, device: torch.device) -> None:
        self.config = config
        sizes = config.periods, config.windows, config.period_channels, config.spectrum_channels
        self.discriminators = Discriminators(*sizes).to(device)
        self.parameters = list(self.discriminators.parameters())
        self.optimizer = adam(self.parameters, config.learning_rate, 0.0, 0.95)

    def losses(self, target: Tensor, output: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of some discriminators, on a part of each crop.

        All workers draw the same discriminators.
        """
        start = int(torch.randint(target.shape[1] - self.config.crop_samples, ()))
        part = slice(start, start + self.config.crop_samples)
        random = torch.Generator().manual_seed(step)
        order = torch.randperm(len(self.discriminators.all), generator=random).tolist()
        chosen = order[: self.config.per_step]
        return self.discriminators.losses(target[:, part], output[:, part], chosen)

    def backward(self, loss: Tensor) -> None:
        """Leave gradients for the next step at the discriminators only."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        workers.average(p.grad for p in self.parameters if p.grad is not None)
        nn.utils.clip_grad_norm_(self.parameters, 5.0)

    def state(self) -> dict[str, Any]:
        return {
            "discriminators": self.discriminators.state_dict(),
            "discriminator_optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.discriminators.load_state_dict(state["discriminators"])
        if "discriminator_optimizer" in state:
            self.optimizer.load_state_dict(state["discriminator_optimizer"])


class _RecogniserLosses:
    """Whisper's encoder, and its decoder where a stage has it."""

    def __init__(
        self, config: RecogniserLossConfig, device: torch.device, corpus: Path | None
    ) -> None:
        self.crops = max(1, config.crops // workers.count())
        self.decoder: WhisperDecoder | None = None
        packed = corpus / RECOGNISER if corpus is not None else None
        if packed is not None and packed.exists() and not config.max_tokens:
            self.encoder = WhisperEncoder(load_small(packed), config.layers).to(device)
            return
        weights = tiny_english() / "model.bin"
        self.encoder = WhisperEncoder(weights, config.layers).to(device)
        if config.max_tokens:
            self.decoder = WhisperDecoder(weights, config.max_tokens, fast(device)).to(device)

    def losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the losses of the first crops."""
        output, target = output[: self.crops], target[: self.crops]
        if self.decoder is not None:
            output, target = (nn.functional.pad(x, (0, _PAUSE)) for x in (output, target))
        with torch.no_grad():
            of_target = self.encoder(target)
        of_output = self.encoder(output)
        losses = {"whisper_features": whisper_features.distance(of_output, of_target)}
        if self.decoder is not None:
            losses["whisper_tokens"] = self.decoder.distance(of_output[-1], of_target[-1])
        return losses
