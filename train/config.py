"""A stage's configuration, read from its TOML file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import CodecConfig
from train.data.augment import Augmentation


@dataclass(frozen=True)
class Data:
    """What is drawn from the corpus (``[data]``)."""

    frames: int
    """Frames of 20 ms a crop: a multiple of a chunk."""
    batch: int
    """Crops a step, over all workers."""
    real_weight: float = 2.0
    """How much more often recordings are drawn than synthetic voices."""
    weights: dict[str, float] = field(default_factory=dict)
    """Of a source, 1 where it is not named."""
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class Judges:
    """The discriminators (``[discriminators]``)."""

    periods: list[int]
    sizes: list[int]
    widths: list[int]
    width: int
    samples: int
    """Of each crop, at 24 kHz, that they see."""
    learning_rate: float
    a_step: int
    """How many of them take part in each step."""
    from_step: int
    """Before it there are none; in the 500 steps after it they count less."""


@dataclass(frozen=True)
class Ears:
    """The recogniser that hears what is made (``[listener]``)."""

    layers: int
    """Of its encoder."""
    crops: int
    """Of a step's, that it hears, over all workers."""
    words: int = 0
    """Most tokens of a crop that its decoder, after all its layers, writes; 0: it is not asked."""


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    model: CodecConfig
    objective: str
    """``tokens`` or ``sound``."""
    teacher: str
    parts: list[str]
    """Parts of the codec that are trained; the others stay as they are."""
    steps: int
    learning_rate: float
    losses: dict[str, float]
    """The weight of each loss."""
    data: Data
    warmup: int = 300
    """Steps in which the learning rate grows; again, once the codec learns."""
    codec_from: int = 0
    """Before that step the codec rests, and what is dropped later learns alone: readers and
    discriminators, where they are new and the codec is not."""
    decay_from: int = 0
    """The learning rate is constant until then, and falls to a twentieth at the last step."""
    quantise_from: int = 0
    quantise_by: int = 0
    """Between these steps the share of crops whose latents are quantised grows from 0 to 1."""
    whiten: bool = True
    """Whether latents are whitened by each batch's moments. That keeps bits balanced where they are
    new, but tokens of the same sound differ then from batch to batch, by about a bit in ten."""
    search: bool = True
    """Whether codes are searched for, by a model that can; if not, they are the latents' signs."""
    optimizer: str = "adamw"
    """``adamw``, or ``muon``: that for the codec's matrices, AdamW for the rest."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradients."""
    average: float = 0.999
    """Of the weights that are evaluated and kept: how much of the average stays each step."""
    evaluate_every: int = 500
    seed: int = 0
    discriminators: Judges | None = None
    listener: Ears | None = None

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        since = step - self.codec_from if step >= self.codec_from else step
        rate = self.learning_rate * min(1.0, (since + 1) / max(1, self.warmup))
        if self.decay_from and step >= self.decay_from:
            left = (self.steps - step) / max(1, self.steps - self.decay_from)
            rate *= max(0.05, left)
        return rate

    def quantised_at(self, step: int) -> float:
        """Return the share of crops that are quantised at a step."""
        if step >= self.quantise_by:
            return 1.0
        return max(0.0, (step - self.quantise_from) / (self.quantise_by - self.quantise_from))


def read(path: Path) -> Stage:
    """Read a stage's file; its model's configuration lies beside it.

    Raises
    ------
    ValueError
        An unknown key, a missing one, or a model's configuration that is not sound.
    """
    raw = tomli.loads(path.read_text())
    try:
        model = config_json.from_dict(json.loads((path.parent / raw.pop("model")).read_text()))
        data = raw.pop("data")
        data["augmentation"] = Augmentation(**_tuples(data.get("augmentation", {})))
        judges, ears = raw.pop("discriminators", None), raw.pop("listener", None)
        return Stage(
            model=model,
            data=Data(**data),
            discriminators=Judges(**judges) if judges is not None else None,
            listener=Ears(**ears) if ears is not None else None,
            **raw,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}


def describe(stage: Stage) -> dict[str, Any]:
    """Return the stage as plain data, for the log."""
    facts = dataclasses.asdict(stage)
    del facts["model"]
    return facts
