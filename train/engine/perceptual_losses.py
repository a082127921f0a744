"""Who hears the sound that is made, beside spectra: discriminators, a recogniser, two measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train import workers
from train.config import Ears, Judges, Stage
from train.data.batches import Batch
from train.engine.optimizers import adam
from train.losses.cepstral import FORMANTS, SHAPE, Cepstra, formant_discord
from train.losses.discriminators import Discriminators
from train.losses.envelope import Envelopes
from train.losses.gradient_balance import Balance
from train.losses.loudness import Loudness
from train.losses.spectral import lowpassed
from train.losses.whisper_features import Listener, apart, load_small
from train.losses.whisper_tokens import Words
from train.precision import autocast, fast
from train.pretrained.whisper import LISTENER, tiny_english

_LOUD = 0.5
_RAMP = 500
_PAUSE = 7680
"""Samples of silence, 0.32 s, without which the recogniser that writes does not see the end:
of crops cut in the middle of speech it writes the last words again and again."""


class Hearers:
    """Those that a stage has; what they ask of the sound is measured by what spectra ask.

    Parameters
    ----------
    stage : Stage
        Its discriminators and its listener, and the share of each of their losses.
    device : torch.device
        Where they are.
    corpus : Path, optional
        Where the recogniser may lie beside shards; else its package is asked.
    """

    def __init__(self, stage: Stage, device: torch.device, corpus: Path | None = None) -> None:
        self.device, self.shares = device, stage.losses
        self.judges = _Judges(stage.discriminators, device) if stage.discriminators else None
        self.listener = _Listening(stage.listener, device, corpus) if stage.listener else None
        self.measures: dict[str, Envelopes | Cepstra | Loudness] = {}
        if "envelope" in self.shares:
            self.measures["envelope"] = Envelopes().to(device)
        if "cepstra" in self.shares:
            self.measures["cepstra"] = Cepstra(*SHAPE).to(device)
        if "formants" in self.shares:
            self.measures["formants"] = Cepstra(*FORMANTS, compare=formant_discord).to(device)
        if "loudness" in self.shares:
            self.measures["loudness"] = Loudness().to(device)
        self.balance = Balance()
        self.is_judged = False
        self.counts = torch.ones((), device=device)
        """How much the discriminators count now: held where a recorded step finds it."""

    def strength(self, step: int) -> float:
        """Return how much the discriminators count at a step."""
        if self.judges is None:
            return 0.0
        return min(1.0, max(0.0, (step - self.judges.settings.from_step + 1) / _RAMP))

    def begin(self, step: int) -> None:
        """Make ready for a step."""
        strength = self.strength(step)
        self.is_judged = strength > 0
        self.counts.fill_(strength)

    def are_there(self) -> bool:
        """Return whether anyone hears this step's sound."""
        always = self.listener is not None or bool(self.measures)
        return always or self.is_judged

    def ask(
        self, of_spectra: Tensor, batch: Batch, made: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Let them hear what was made, and the discriminators learn.

        Parameters
        ----------
        of_spectra : torch.Tensor
            The loss that they are measured by.
        batch : Batch
            What was wanted.
        made : torch.Tensor
            (batch, samples); its graph is not touched.
        step : int
            Which step it is, or what it draws by where one is recorded.

        Returns
        -------
        gradient : torch.Tensor
            (batch, samples), of all that is asked of the sound.
        said : dict of torch.Tensor
            Their losses, and what each one's gradient was multiplied by.
        """
        sound = made.detach().requires_grad_()
        real, fake = _as_heard(batch, batch.wanted), _as_heard(batch, sound)
        said: dict[str, Tensor] = {}
        asked: dict[str, Tensor] = {}
        of_judges: Tensor | None = None
        of_maker: dict[str, Tensor] = {}
        with autocast(self.device):
            if self.listener is not None:
                said |= self.listener.hear(fake, real)
            if self.judges is not None and self.is_judged:
                of_judges, of_maker = self.judges.hear(real, fake, step)
                said |= of_maker
        for name, measure in self.measures.items():
            said[name] = measure.apart(fake, real, _LOUD)
        for name, loss in said.items():
            (asked[name],) = torch.autograd.grad(loss, sound, retain_graph=True)
        if self.judges is not None and of_judges is not None:
            self.judges.learn(of_judges)
            said["judges"] = of_judges
        shares = {
            name: self.shares[name] * (self.counts if name in of_maker else 1.0) for name in asked
        }
        (first,) = torch.autograd.grad(of_spectra, made)
        total, factors = self.balance.add(first, asked, shares, batch.level)
        return total, said | {f"times_{name}": x for name, x in factors.items()}

    def parameters(self) -> list[nn.Parameter]:
        """Return what learns here."""
        return self.judges.parameters if self.judges is not None else []

    def step(self) -> None:
        """Let the discriminators take their step, where they were left gradients."""
        if self.judges is not None:
            self.judges.optimizer.step()

    def measure(self, batch: Batch, made: Tensor) -> dict[str, Tensor]:
        """Return what those say of a batch that have nothing to learn and cost little."""
        real, fake = _as_heard(batch, batch.wanted), _as_heard(batch, made)
        return {name: each.apart(fake, real, _LOUD) for name, each in self.measures.items()}

    def learn(self, batch: Batch, made: Tensor, step: int) -> dict[str, Tensor]:
        """Let the discriminators alone learn from what was made; return their loss."""
        if self.judges is None:
            return {}
        real, fake = _as_heard(batch, batch.wanted), _as_heard(batch, made.detach())
        with autocast(self.device):
            loss, _ = self.judges.hear(real, fake, step)
        self.judges.learn(loss)
        return {"judges": loss}

    def state(self) -> dict[str, Any]:
        """Return all that going on needs."""
        judges = self.judges.state() if self.judges is not None else {}
        means = {name: float(mean) for name, mean in self.balance.means.items()}
        return {"balance": means} | judges

    def take_over(self, state: dict[str, Any]) -> int:
        """Start with who heard in another run; return how many tensors of theirs fit.

        Discriminators of other sizes are left, and those here are new.
        """
        found: dict[str, Tensor] = state.get("judges", {})
        own = self.judges.state()["judges"] if self.judges is not None else {}
        fit = {n: x.shape for n, x in found.items()} == {n: x.shape for n, x in own.items()}
        kept = {name: x for name, x in state.items() if fit or name != "judges"}
        self.load({"balance": {}} | kept)
        return len(found) if fit else 0

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        means = state["balance"].items()
        self.balance.means = {name: torch.tensor(x, device=self.device) for name, x in means}
        if self.judges is not None and "judges" in state:
            self.judges.load(state)


def _as_heard(batch: Batch, sound: Tensor) -> Tensor:
    """Return sound, (batch, samples), as all hear it.

    The same loudness always: a quiet crop is worth no less. And only the band where what is wanted
    is to be trusted.
    """
    return lowpassed(sound * (_LOUD / batch.level[:, None]), batch.band_hz)


class _Judges:
    def __init__(self, settings: Judges, device: torch.device) -> None:
        self.settings = settings
        kinds = settings.periods, settings.sizes, settings.widths, settings.width
        self.discriminators = Discriminators(*kinds).to(device)
        self.parameters = list(self.discriminators.parameters())
        self.optimizer = adam(self.parameters, settings.learning_rate, 0.0, 0.95)

    def hear(self, real: Tensor, fake: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Let some hear a part of each crop: the same ones in all workers."""
        start = int(torch.randint(real.shape[1] - self.settings.samples, ()))
        part = slice(start, start + self.settings.samples)
        random = torch.Generator().manual_seed(step)
        order = torch.randperm(len(self.discriminators.all), generator=random).tolist()
        return self.discriminators.judge(
            real[:, part], fake[:, part], order[: self.settings.a_step]
        )

    def learn(self, loss: Tensor) -> None:
        """Leave gradients for the next step, and change nobody else's."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        workers.average(p.grad for p in self.parameters if p.grad is not None)
        nn.utils.clip_grad_norm_(self.parameters, 5.0)

    def state(self) -> dict[str, Any]:
        return {
            "judges": self.discriminators.state_dict(),
            "judge_optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.discriminators.load_state_dict(state["judges"])
        if "judge_optimizer" in state:
            self.optimizer.load_state_dict(state["judge_optimizer"])


class _Listening:
    def __init__(self, settings: Ears, device: torch.device, corpus: Path | None) -> None:
        self.crops = max(1, settings.crops // workers.count())
        carried = corpus / LISTENER if corpus is not None else None
        if carried is not None and carried.exists() and not settings.words:
            self.listener = Listener(load_small(carried), settings.layers).to(device)
            self.words: Words | None = None
            return
        weights = tiny_english() / "model.bin"
        self.listener = Listener(weights, settings.layers).to(device)
        self.words = None
        if settings.words:
            self.words = Words(weights, settings.words, fast(device)).to(device)

    def hear(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Return how far apart some of the crops are for it."""
        fake, real = fake[: self.crops], real[: self.crops]
        if self.words is not None:
            fake, real = (nn.functional.pad(x, (0, _PAUSE)) for x in (fake, real))
        with torch.no_grad():
            wanted = self.listener(real)
        made = self.listener(fake)
        said = {"listener": apart(made, wanted)}
        if self.words is not None:
            said["words"] = self.words.apart(made[-1], wanted[-1])
        return said
