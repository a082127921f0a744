"""The training loop of a stage. A stopped run continues from its saved state."""

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
from train.config import AugmentationConfig, TrainingStage
from train.data.augment import Acoustics
from train.data.batches import Batch, Crops
from train.data.corpus import Corpus
from train.engine import initialise
from train.engine.cuda_graphs import CudaGraphs
from train.engine.optimizers import Optimizers
from train.engine.perceptual_losses import PerceptualLosses
from train.losses.objectives import SoundObjective, TokenObjective
from train.losses.schema import Kind, of_kind
from train.model import FocalCodecStream
from train.precision import autocast

_LOG_EVERY, _SAVE_EVERY = 50, 250
_CALIBRATION_BATCHES = 6
_HELD_OUT_BATCHES = 4
_SPECTRAL = of_kind(Kind.SPECTRUM)
_NO_AUGMENTATION = AugmentationConfig(
    level_db=(-6, -6), quiet_share=0, microphone_share=0, room_share=0, noise_share=0, speed_share=0
)


class TrainingModel(nn.Module):
    """The codec and its stage's objective, which are averaged and saved together."""

    def __init__(self, stage: TrainingStage, teacher_width: int) -> None:
        super().__init__()
        train_encoder = "encoder" in stage.parts
        self.codec = FocalCodecStream(stage.model, whiten=train_encoder and stage.whiten)
        if self.codec.search is not None:
            self.codec.search.enabled = stage.search
        flips = bool({"flip_teacher", "flip_student"} & stage.losses.keys())
        self.objective: TokenObjective | SoundObjective
        if stage.objective == "tokens":
            self.objective = TokenObjective(stage.model, teacher_width, flips)
        else:
            self.objective = SoundObjective(stage.model, teacher_width, train_encoder, flips)


class Trainer:
    """One worker of a stage.

    Parameters
    ----------
    stage : TrainingStage
        The stage's configuration.
    corpus : Path
        A built corpus, with its ``held_out`` shards.
    folder : Path
        Folder of the run: its state, its log, its best weights.
    start : tuple of Path
        Files to start from, where the run has no state yet. Later files replace earlier ones.
    growing : bool
        Whether shards are added to the corpus during training. It may have none yet.
    """

    def __init__(
        self,
        stage: TrainingStage,
        corpus: Path,
        folder: Path,
        start: tuple[Path, ...],
        growing: bool = False,
    ) -> None:
        self.stage, self.folder, self.index = stage, folder, workers.index()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        self._open_corpus(corpus, growing)
        torch.manual_seed(stage.seed)
        self.model = TrainingModel(stage, len(self.crops.mean)).to(self.device)
        initialise.scale_new_weights(self.model.codec)
        parts = initialise.read_all(start, self.device)
        count = initialise.take_over(parts, self.model)
        for name, part in self.model.codec.named_children():
            part.requires_grad_(name in stage.parts)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.of_codec = [p for p in self.model.codec.parameters() if p.requires_grad]
        self.optimizers = Optimizers(self.model, stage)
        self.perceptual = PerceptualLosses(stage, self.device, corpus)
        count += self.perceptual.take_over(parts.get("perceptual", {}))
        if start and self.index == 0:
            print(f"{', '.join(map(str, start))}: {count} tensors taken over", flush=True)
        learning = [*self.parameters, *self.perceptual.parameters()]
        self.graphs = CudaGraphs(self._gradients, learning)
        self.average = deepcopy(self.model).eval().requires_grad_(False)
        self.step, self.best, self.seconds = 0, math.inf, 0.0
        self._sums: dict[str, Tensor] = {}
        self._counted = 0
        self._logged = -math.inf
        self._spread: tuple[float, float] | None = None
        self._load()

    def _open_corpus(self, corpus: Path, growing: bool) -> None:
        """Open the corpus, and draw the held-out crops."""
        data = self.stage.data
        own = Corpus(corpus, self.stage.teacher, data.real_weight, data.weights)
        held_out = Corpus(corpus / "held_out", self.stage.teacher, 1.0, {})
        held_shards, even = held_out.wait() if growing else held_out.now()
        shards, share = own.wait() if growing else own.now()
        acoustics = Acoustics(corpus)
        seed = (self.stage.seed, self.index)
        size = (data.frames, max(1, data.batch // workers.count()))
        self.crops = Crops(shards, share, acoustics, data.augmentation, *size, seed)
        self.crops.growing = own if growing else None
        held = Crops(held_shards, even, acoustics, _NO_AUGMENTATION, data.frames, 12, (12345,))
        held.mean, held.deviation = self.crops.mean, self.crops.deviation
        self.held_out = [held.at(i).to(self.device) for i in range(_HELD_OUT_BATCHES)]

    def run(self, until: float, spread: bool = False) -> None:
        """Train up to the stage's last step, or to a time of `time.monotonic`.

        With `spread` the stage takes that time, whatever its `steps`: the learning rate follows the
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
                raise SystemExit("the parent process of this worker has ended")
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
        # The warm-up counts steps: the first ones may take long.
        warm = stage.rate_at(min(self.step, stage.decay_start or self.step))
        return min(warm, stage.rate_at(int(share * stage.steps)))

    def train_step(self, batch: Batch) -> None:
        """Take the next step with its batch."""
        torch.manual_seed(1_000_003 * self.step + self.index)
        self.model.train()
        batch = batch.to(self.device)
        stage, model = self.stage, self.model
        for p in self.of_codec:
            p.requires_grad_(self.step >= stage.codec_start)
        self.perceptual.start_step(self.step)
        gradients = self.graphs if self._can_be_captured() else self._gradients
        losses = gradients(batch, self.step)
        self.optimizers.step(self._rate())
        self.perceptual.step()
        workers.average(b for n, b in model.named_buffers() if ".whitening." in n)
        self._add(losses)
        decay = min(stage.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            own, new = list(self.average.parameters()), list(model.parameters())
            torch._foreach_lerp_(own, new, 1 - decay)
        self.step += 1

    def _can_be_captured(self) -> bool:
        """Return whether a CUDA graph can compute this step: no branch depends on results."""
        stage, step = self.stage, self.step
        steady = step >= stage.codec_start and stage.quantised_at(step) >= 1 and not stage.whiten
        started = stage.discriminators is None or step >= stage.discriminators.start_step
        decodes = stage.recogniser is not None and stage.recogniser.max_tokens > 0
        return self.device.type == "cuda" and steady and started and not decodes

    def _gradients(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Leave a batch's gradients at the parameters; return losses and the gradient's norm."""
        losses, sound = self._losses(self.model, batch)
        self.model.zero_grad(set_to_none=True)
        losses |= self._backward(losses, batch, sound, number)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        workers.average(gradients)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.stage.gradient_clip)
        # A step without a finite norm is dropped. Reading the norm here would wait for the device.
        invalid = ~torch.isfinite(norm)
        for gradient in gradients:
            gradient.masked_fill_(invalid, 0.0)
        return {name: loss.detach() for name, loss in losses.items()} | {"norm": norm}

    def _losses(
        self, model: TrainingModel, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the objective's losses, and decoded audio where it has any."""
        with autocast(self.device):
            if isinstance(model.objective, TokenObjective):
                share = self.stage.quantised_at(self.step) if model.training else 1.0
                return model.objective(model.codec, batch, share), None
            result = model.objective(model.codec, batch)
        losses: dict[str, Tensor] = result[0]
        return losses, result[1]

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of losses; 0 where the stage weights none of them."""
        weights = self.stage.losses
        parts = [weights[name] * loss for name, loss in losses.items() if weights.get(name)]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=self.device)

    def _backward(
        self, losses: dict[str, Tensor], batch: Batch, sound: Tensor | None, number: int
    ) -> dict[str, Tensor]:
        """Compute gradients of all losses; return the values of the perceptual ones."""
        if self.step < self.stage.codec_start:
            total = self._weighted(losses)
            if total.requires_grad:
                total.backward()
            if sound is None:
                return {}
            return self.perceptual.train_discriminators(batch, sound, number)
        if sound is None or not self.perceptual.active():
            self._weighted(losses).backward()
            return {}
        spectral = self._weighted({name: losses[name] for name in _SPECTRAL})
        of_tokens = self._weighted({n: x for n, x in losses.items() if n not in _SPECTRAL})
        gradient, values = self.perceptual.gradient(spectral, batch, sound, number)
        others = [of_tokens] if of_tokens.requires_grad else []
        torch.autograd.backward([*others, sound], [*(None for _ in others), gradient])
        return values

    def _add(self, losses: dict[str, Tensor]) -> None:
        # Reading them before they are logged would wait for the device.
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
        """Evaluate the averaged weights on held-out crops, and save them."""
        self._calibrate()
        sums: dict[str, float] = {}
        for batch in self.held_out:
            losses, sound = self._losses(self.average, batch)
            if sound is not None:
                losses |= self.perceptual.losses(batch, sound)
            losses["total"] = self._weighted(losses)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) / len(self.held_out)
        best = sums["total"] < self.best
        self.best = min(self.best, sums["total"])
        self._write({"step": self.step, "held_out": {k: round(v, 4) for k, v in sums.items()}})
        if best:
            write_atomically(self.folder / "best.pt", self._weights())
        write_atomically(self.folder / "average.pt", self._weights())

    def _weights(self) -> dict[str, Any]:
        return {
            "codec": self.average.codec.folded(),
            "objective": self.average.objective.state_dict(),
            "step": self.step,
        }

    def _calibrate(self) -> None:
        """Set the moments of whitening to those of the averaged weights."""
        whitening = self.average.codec.compressor.whitening
        if whitening is None:
            return
        whitening.n_batches.zero_()
        whitening.train()
        with autocast(self.device):
            for i in range(_CALIBRATION_BATCHES):
                self.average.codec.encode(self.crops.at(10**9 + i).input.to(self.device))
        whitening.eval()

    def save(self) -> None:
        """Write the state of the run. All workers must call it at the same time."""
        optimizers = self.optimizers.state()
        if self.index:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": optimizers,
            "step": self.step,
            "best": self.best,
            "best_of": self._comparable_with(),
            "seconds": self.seconds,
            "perceptual": self.perceptual.state(),
        }
        write_atomically(self.folder / "last.pt", state)

    def _comparable_with(self) -> dict[str, Any]:
        """Return what held-out totals depend on. Totals of other losses cannot be compared."""
        return {"losses": self.stage.losses, "frames": self.stage.data.frames}

    def _load(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        if "optimizers" in state:
            self.optimizers.load(state["optimizers"])
        self.step, self.seconds = state["step"], state["seconds"]
        if state.get("best_of") == self._comparable_with():
            self.best = state["best"]
        self.perceptual.load(state["perceptual"])


def _now() -> float:
    """Return `time.monotonic`, the same in all workers."""
    now = torch.tensor([time.monotonic()], dtype=torch.float64)
    workers.average([now])
    return float(now)


def write_atomically(path: Path, state: dict[str, Any]) -> None:
    """Write a file under a temporary name, then rename it."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)
