"""The training loop of a stage, which goes on where it was stopped."""

from __future__ import annotations

import json
import math
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train import workers
from train.config import Stage
from train.data.augment import Augmentation, Surroundings
from train.data.batches import Batch, Crops
from train.data.corpus import Corpus
from train.engine import initialise
from train.engine.cuda_graphs import Recorded
from train.engine.optimizers import Optimizers
from train.engine.perceptual_losses import Hearers
from train.losses.objectives import OF_SOUND, SoundObjective, TokenObjective
from train.model import FocalCodecStream
from train.precision import autocast

_LOG_EVERY, _SAVE_EVERY = 50, 250
_CALIBRATION_BATCHES = 6
_HELD_OUT_BATCHES = 4
_UNTOUCHED = Augmentation(
    level_db=(-6, -6), quiet_share=0, microphone_share=0, room_share=0, noise_share=0, rate_share=0
)


class Whole(nn.Module):
    """The codec and what its stage needs beside it: what is averaged and saved together."""

    def __init__(self, stage: Stage, teacher_width: int) -> None:
        super().__init__()
        train_encoder = "encoder" in stage.parts
        self.codec = FocalCodecStream(stage.model, whiten=train_encoder and stage.whiten)
        if self.codec.search is not None:
            self.codec.search.active = stage.search
        follow = "followed" in stage.losses
        self.objective: TokenObjective | SoundObjective
        if stage.objective == "tokens":
            self.objective = TokenObjective(stage.model, teacher_width, follow)
        else:
            self.objective = SoundObjective(stage.model, teacher_width, train_encoder, follow)


class Trainer:
    """One worker's share of a stage.

    Parameters
    ----------
    stage : Stage
        What to do.
    corpus : Path
        A built corpus, with its ``held_out`` shards.
    folder : Path
        Of the run: its state, its log, its best weights.
    start : tuple of Path
        Weights to start from, where the run has no state yet, each laid over those before.
    growing : bool
        Whether shards are added to the corpus meanwhile; it may have none yet.
    """

    def __init__(
        self,
        stage: Stage,
        corpus: Path,
        folder: Path,
        start: tuple[Path, ...],
        growing: bool = False,
    ) -> None:
        self.stage, self.folder, self.index = stage, folder, workers.index()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        data = stage.data
        own = Corpus(corpus, stage.teacher, data.real_weight, data.weights)
        aside = Corpus(corpus / "held_out", stage.teacher, 1.0, {})
        held_out, even = aside.wait() if growing else aside.now()
        shards, share = own.wait() if growing else own.now()
        around = Surroundings(corpus)
        seed = (stage.seed, self.index)
        size = (data.frames, max(1, data.batch // workers.count()))
        self.crops = Crops(shards, share, around, data.augmentation, *size, seed)
        self.crops.growing = own if growing else None
        held = Crops(held_out, even, around, _UNTOUCHED, data.frames, 12, (12345,))
        held.mean, held.deviation = self.crops.mean, self.crops.deviation
        self.held_out = [held.at(i).to(self.device) for i in range(_HELD_OUT_BATCHES)]
        torch.manual_seed(stage.seed)
        self.whole = Whole(stage, len(self.crops.mean)).to(self.device)
        initialise.start_well(self.whole.codec)
        known = initialise.read_all(start, self.device)
        taken = initialise.take_over(known, self.whole)
        for name, part in self.whole.codec.named_children():
            part.requires_grad_(name in stage.parts)
        self.parameters = [p for p in self.whole.parameters() if p.requires_grad]
        self.of_codec = [p for p in self.whole.codec.parameters() if p.requires_grad]
        self.optimizers = Optimizers(self.whole, stage)
        self.hearers = Hearers(stage, self.device, corpus)
        taken += self.hearers.take_over(known.get("hearers", {}))
        if start and self.index == 0:
            print(f"{', '.join(map(str, start))}: {taken} tensors taken over", flush=True)
        learning = [*self.parameters, *self.hearers.parameters()]
        self.recorded = Recorded(self._gradients, learning)
        self.average = deepcopy(self.whole).eval().requires_grad_(False)
        self.step, self.best, self.seconds = 0, math.inf, 0.0
        self._sums: dict[str, Tensor] = {}
        self._counted = 0
        self._logged = -math.inf
        self._spread: tuple[float, float] | None = None
        self._load()

    def run(self, until: float, spread: bool = False) -> None:
        """Train up to the stage's last step, or to a time of `time.monotonic`.

        With `spread` the stage takes that time, however many steps it has: the rate falls with the
        clock.
        """
        began = _now()
        self._spread = (began, until) if spread else None
        loaders = len(os.sched_getaffinity(0)) - 1 if self.device.type == "cuda" else 0
        batches = self.crops.stream(self.step, loaders=loaders)
        parent = os.getppid()
        since = time.monotonic()
        while (spread or self.step < self.stage.steps) and _now() < until:
            if workers.count() > 1 and os.getppid() != parent:
                raise SystemExit("the process that started this worker is gone")
            self.train_step(next(batches))
            now = time.monotonic()
            self.seconds, since = self.seconds + now - since, now
            last = self.step == self.stage.steps
            if self.step % _LOG_EVERY == 0 or last:
                self._log()
            if self.index == 0 and (self.step % self.stage.evaluate_every == 0 or last):
                self._evaluate()
            if self.step % _SAVE_EVERY == 0 or last:
                self.save()
        if spread and self.index == 0:
            self._evaluate()
        self.save()

    def _rate(self) -> float:
        """Return the learning rate of this step."""
        stage = self.stage
        if self._spread is None:
            return stage.rate_at(self.step)
        began, until = self._spread
        share = min(1.0, (_now() - began) / max(1e-9, until - began))
        # It grows by steps: the first ones may take long.
        grown = stage.rate_at(min(self.step, stage.decay_from or self.step))
        return min(grown, stage.rate_at(int(share * stage.steps)))

    def train_step(self, batch: Batch) -> None:
        """Take the next step with its batch."""
        torch.manual_seed(1_000_003 * self.step + self.index)
        self.whole.train()
        batch = batch.to(self.device)
        stage, whole = self.stage, self.whole
        for p in self.of_codec:
            p.requires_grad_(self.step >= stage.codec_from)
        self.hearers.begin(self.step)
        passes = self.recorded if self._is_recordable() else self._gradients
        losses = passes(batch, self.step)
        self.optimizers.step(self._rate())
        self.hearers.step()
        workers.average(b for n, b in whole.named_buffers() if ".whitening." in n)
        self._add(losses)
        keep = min(stage.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            own, new = list(self.average.parameters()), list(whole.parameters())
            torch._foreach_lerp_(own, new, 1 - keep)
        self.step += 1

    def _is_recordable(self) -> bool:
        """Return whether steps like this one do the same on the GPU, whatever it gives."""
        stage, step = self.stage, self.step
        steady = step >= stage.codec_from and stage.quantised_at(step) >= 1 and not stage.whiten
        judged = stage.discriminators is None or step >= stage.discriminators.from_step
        writes = stage.listener is not None and stage.listener.words > 0
        return self.device.type == "cuda" and steady and judged and not writes

    def _gradients(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Leave a batch's gradients at what learns; return its losses, and what else is logged."""
        losses, made = self._losses(self.whole, batch)
        self.whole.zero_grad(set_to_none=True)
        losses |= self._pass_back(losses, batch, made, number)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        workers.average(gradients)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.stage.clip)
        # No step to what is no number. It is not read here: a device would be waited for.
        lost = ~torch.isfinite(norm)
        for gradient in gradients:
            gradient.masked_fill_(lost, 0.0)
        return {name: loss.detach() for name, loss in losses.items()} | {"norm": norm}

    def _losses(self, whole: Whole, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        with autocast(self.device):
            if isinstance(whole.objective, TokenObjective):
                share = self.stage.quantised_at(self.step) if whole.training else 1.0
                return whole.objective(whole.codec, batch, share), None
            sound = whole.objective(whole.codec, batch)
        losses: dict[str, Tensor] = sound[0]
        return losses, sound[1]

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of what the stage asks for; of nothing it is 0."""
        weights = self.stage.losses
        parts = [weights[name] * loss for name, loss in losses.items() if weights.get(name)]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=self.device)

    def _pass_back(
        self, losses: dict[str, Tensor], batch: Batch, made: Tensor | None, number: int
    ) -> dict[str, Tensor]:
        """Pass back what losses ask, and who hears the sound beside them; return what those say."""
        if self.step < self.stage.codec_from:
            total = self._weighted(losses)
            if total.requires_grad:
                total.backward()
            return self.hearers.learn(batch, made, number) if made is not None else {}
        if made is None or not self.hearers.are_there():
            self._weighted(losses).backward()
            return {}
        of_sound = {name: losses[name] for name in OF_SOUND}
        of_tokens = self._weighted({n: x for n, x in losses.items() if n not in OF_SOUND})
        gradient, said = self.hearers.ask(self._weighted(of_sound), batch, made, number)
        others = [of_tokens] if of_tokens.requires_grad else []
        torch.autograd.backward([*others, made], [*(None for _ in others), gradient])
        return said

    def _add(self, losses: dict[str, Tensor]) -> None:
        # They are not read before they are logged: a device would be waited for.
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + loss
        self._counted += 1

    def _log(self) -> None:
        n, self._counted = self._counted, 0
        seconds = self.stage.data.batch * self.stage.data.frames * 0.02 * n
        facts: dict[str, Any] = {"step": self.step, "hours": round(self.seconds / 3600, 4)}
        facts |= {name: round(float(value) / n, 4) for name, value in self._sums.items()}
        facts["rate"] = self._rate()
        now = time.monotonic()
        facts["audio_per_s"] = round(seconds / (now - self._logged), 1)
        self._logged = now
        self._sums = {}
        self._write(facts)

    def _write(self, facts: dict[str, Any]) -> None:
        if self.index == 0:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(facts) + "\n")
            print(json.dumps(facts), flush=True)

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Measure the averaged weights on held-out crops; keep them where they are the best."""
        self._calibrate()
        sums: dict[str, float] = {}
        for batch in self.held_out:
            losses, made = self._losses(self.average, batch)
            if made is not None:
                losses |= self.hearers.measure(batch, made)
            losses["total"] = self._weighted(losses)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) / len(self.held_out)
        best = sums["total"] < self.best
        self.best = min(self.best, sums["total"])
        self._write({"step": self.step, "held_out": {k: round(v, 4) for k, v in sums.items()}})
        if best:
            write_whole(self.folder / "best.pt", self._weights())
        write_whole(self.folder / "average.pt", self._weights())

    def _weights(self) -> dict[str, Any]:
        return {
            "codec": self.average.codec.folded(),
            "objective": self.average.objective.state_dict(),
            "step": self.step,
        }

    def _calibrate(self) -> None:
        """Whiten by what the averaged weights give, not by what those on their way gave."""
        whitening = self.average.codec.compressor.whitening
        if whitening is None:
            return
        whitening.n_batches.zero_()
        whitening.train()
        with autocast(self.device):
            for i in range(_CALIBRATION_BATCHES):
                self.average.codec.encode(self.crops.at(10**9 + i).heard.to(self.device))
        whitening.eval()

    def save(self) -> None:
        """Write all that going on needs; all workers call it at once."""
        optimizers = self.optimizers.state()
        if self.index:
            return
        state = {
            "whole": self.whole.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": optimizers,
            "step": self.step,
            "best": self.best,
            "best_of": self._measured_by(),
            "seconds": self.seconds,
            "hearers": self.hearers.state(),
        }
        write_whole(self.folder / "last.pt", state)

    def _measured_by(self) -> dict[str, Any]:
        """Return what held-out totals hang on: those of another stage's losses do not compare."""
        return {"losses": self.stage.losses, "frames": self.stage.data.frames}

    def _load(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.whole.load_state_dict(state["whole"])
        self.average.load_state_dict(state["average"])
        if "optimizers" in state:
            self.optimizers.load(state["optimizers"])
        self.step, self.seconds = state["step"], state["seconds"]
        if state.get("best_of") == self._measured_by():
            self.best = state["best"]
        self.hearers.load(state["hearers"])


def _now() -> float:
    """Return `time.monotonic`, the same in all workers."""
    now = torch.tensor([time.monotonic()], dtype=torch.float64)
    workers.average([now])
    return float(now)


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)
