"""The configuration of a training stage, and the check of its TOML file.

``python -m train.config --docs`` prints docs/training-config.md.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click
import tomli

from fcs_edge.errors import FcsError
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import CodecConfig
from train.losses.schema import COMPANIONS, LOSSES, Kind, Needs

T = TypeVar("T")
Pair = tuple[float, float]

PARTS = ("encoder", "compressor", "search", "decompressor", "decoder")
OBJECTIVES = ("tokens", "sound")
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class AugmentationConfig:
    """How often a crop is changed, and by how much. A share is a probability from 0 to 1."""

    level_db: Pair = (-24.0, 0.0)
    """Range of the gain of a crop, dB."""
    quiet_share: float = 0.1
    """Share of crops that are quieter."""
    quiet_db: float = -16.0
    """Gain that is added to quiet crops, dB."""
    microphone_share: float = 0.35
    """Share of crops with the frequency response of a random microphone."""
    microphone_db: float = 5.0
    """Largest deviation of that response, dB."""
    room_share: float = 0.25
    """Share of crops in a room from ``rooms.npz``."""
    noise_share: float = 0.4
    """Share of crops with noise."""
    noise_snr_db: Pair = (8.0, 35.0)
    """Range of the signal-to-noise ratio, dB."""
    speed_share: float = 0.5
    """Share of crops that are played faster or slower, which also moves pitch and formants."""
    speed: Pair = (0.84, 1.2)
    """Range of the speed factor."""
    formant_share: float = 0.0
    """Share of crops whose formants move, at the same pitch."""
    formant_scale: Pair = (0.85, 1.18)
    """Range of the factor on the frequencies of formants."""
    lowpass_share: float = 0.0
    """Share of crops whose band ends early."""
    lowpass_hz: Pair = (3400.0, 7500.0)
    """Range of that end, Hz."""
    lowpass_edge: Pair = (0.1, 0.1)
    """Range of the width of its transition, relative to its frequency."""
    highpass_share: float = 0.0
    """Share of crops whose band begins late."""
    highpass_hz: Pair = (80.0, 350.0)
    """Range of that begin, Hz."""
    codec_degradation_share: float = 0.0
    """Share of crops whose input went through MP3 at a low bit rate."""


@dataclass(frozen=True)
class DataConfig:
    """What a step draws from the corpus."""

    frames: int
    """Frames of 20 ms in a crop, a multiple of the model's chunk."""
    batch: int
    """Crops in a step, over all workers."""
    real_weight: float = 2.0
    """Weight of recordings, relative to synthetic voices."""
    weights: dict[str, float] = field(default_factory=dict)
    """The table ``[data.weights]``: the weight of each source, 1 by default."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """The table ``[data.augmentation]``."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminators. The losses ``adversarial`` and ``feature_matching`` need them."""

    periods: list[int]
    """Periods in samples; one discriminator of samples each."""
    windows: list[int]
    """Window sizes in samples; one discriminator of spectra each."""
    period_channels: list[int]
    """Channels of each layer of the period discriminators."""
    spectrum_channels: int
    """Channels of the first layer of the spectrum discriminators."""
    crop_samples: int
    """Samples of each crop that they get, at 24 kHz."""
    learning_rate: float
    """Their learning rate."""
    per_step: int
    """How many of them take part in a step."""
    start_step: int = 0
    """First step with discriminators. Their weight rises over the 500 steps after it."""


@dataclass(frozen=True)
class RecogniserLossConfig:
    """Whisper tiny.en, frozen. ``whisper_features`` and ``whisper_tokens`` need it."""

    layers: int
    """Layers of its encoder that are compared."""
    crops: int
    """Crops of a step that it gets, over all workers."""
    max_tokens: int = 0
    """Most tokens that its decoder writes for a crop; 0 leaves the decoder out."""


@dataclass(frozen=True)
class TrainingStage:
    """One stage of training: what it trains, how long, and by which losses."""

    model: CodecConfig
    """JSON file with the codec's sizes, in the folder of the TOML file."""
    objective: str
    """``tokens`` (no audio is synthesised) or ``sound``."""
    teacher: str
    """Teacher whose features are distilled: NAME in ``SHARD.NAME.npy``."""
    parts: list[str]
    """Parts that are trained: encoder, compressor, search, decompressor, decoder."""
    steps: int
    """Steps of the stage."""
    learning_rate: float
    """Highest learning rate."""
    losses: dict[str, float]
    """The table ``[losses]``: the weight of each loss."""
    data: DataConfig
    """The table ``[data]``."""
    warmup: int = 300
    """Steps over which the learning rate rises. It rises again at ``codec_start``."""
    codec_start: int = 0
    """First step that trains the codec. Before it, only probes and discriminators learn."""
    decay_start: int = 0
    """First step at which the learning rate falls, to a twentieth at the last one; 0 for never."""
    quantise_start: int = 0
    """Step up to which no latent is quantised."""
    quantise_end: int = 0
    """Step from which all latents are quantised. Between both, the share of crops rises."""
    whiten: bool = True
    """Whether latents are whitened by each batch's moments. That keeps the bits of a new model
    balanced, but makes about a bit in ten depend on the other crops of the batch."""
    search: bool = True
    """Whether a model with a search selects codes by it; otherwise codes are the latents' signs."""
    optimizer: str = "adamw"
    """``adamw``, or ``muon``: Muon for the codec's matrices and AdamW for the rest."""
    weight_decay: float = 0.01
    """Weight decay of matrices."""
    gradient_clip: float = 1.0
    """Largest norm of the gradients."""
    average_decay: float = 0.999
    """Share of the averaged weights that each step retains. Averaged weights are evaluated."""
    evaluate_every: int = 500
    """Steps between two evaluations on held-out crops."""
    seed: int = 0
    """Seed of weights and crops."""
    discriminators: DiscriminatorConfig | None = None
    """The table ``[discriminators]``."""
    recogniser: RecogniserLossConfig | None = None
    """The table ``[recogniser]``."""

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        since = step - self.codec_start if step >= self.codec_start else step
        rate = self.learning_rate * min(1.0, (since + 1) / max(1, self.warmup))
        if self.decay_start and step >= self.decay_start:
            remaining = (self.steps - step) / max(1, self.steps - self.decay_start)
            rate *= max(0.05, remaining)
        return rate

    def quantised_at(self, step: int) -> float:
        """Return the share of crops that are quantised at a step."""
        if step >= self.quantise_end:
            return 1.0
        return max(0.0, (step - self.quantise_start) / (self.quantise_end - self.quantise_start))

    def has(self, needs: Needs) -> bool:
        """Return whether the stage has what a loss needs."""
        tokens, recogniser = self.objective == "tokens", self.recogniser
        return {
            Needs.SOUND: not tokens,
            Needs.TRAINED_TOKENS: tokens or "encoder" in self.parts,
            Needs.SEARCH: self.model.search is not None,
            Needs.DISCRIMINATORS: self.discriminators is not None,
            Needs.RECOGNISER: recogniser is not None,
            Needs.RECOGNISER_TOKENS: recogniser is not None and recogniser.max_tokens > 0,
        }[needs]


RENAMED: dict[str, dict[str, str]] = {
    "": {
        "codec_from": "codec_start",
        "decay_from": "decay_start",
        "quantise_from": "quantise_start",
        "quantise_by": "quantise_end",
        "clip": "gradient_clip",
        "average": "average_decay",
        "listener": "recogniser",
    },
    "losses": {
        "heard": "distill_encoder",
        "kept": "distill_decoded",
        "redundancy": "bit_redundancy",
        "sought": "search_target",
        "found": "search_prediction",
        "agreed": "latent_commitment",
        "echoed": "flip_teacher",
        "followed": "flip_student",
        "told_mel": "predict_mel",
        "told_shape": "predict_shape",
        "told_formants": "predict_formants",
        "told_short": "predict_short",
        "told_long": "predict_long",
        "matching": "feature_matching",
        "listener": "whisper_features",
        "words": "whisper_tokens",
    },
    "data.augmentation": {
        "rate_share": "speed_share",
        "rate": "speed",
        "mouth_share": "formant_share",
        "mouth": "formant_scale",
        "narrow_share": "lowpass_share",
        "narrow_hz": "lowpass_hz",
        "narrow_edge": "lowpass_edge",
        "thin_share": "highpass_share",
        "thin_hz": "highpass_hz",
        "spoilt_share": "codec_degradation_share",
    },
    "discriminators": {
        "sizes": "windows",
        "widths": "period_channels",
        "width": "spectrum_channels",
        "samples": "crop_samples",
        "a_step": "per_step",
        "from_step": "start_step",
    },
    "recogniser": {"words": "max_tokens"},
}
"""Former keys of each table and their present names, for the message that refuses them."""


def read(path: Path) -> TrainingStage:
    """Read and check a stage's TOML file.

    Raises
    ------
    ValueError
        One line: the file, the key, and what is wrong with it.
    """
    try:
        raw = tomli.loads(path.read_text("utf-8"))
        _check_keys(raw, [f.name for f in dataclasses.fields(TrainingStage)], "")
        if not isinstance(raw.get("model"), str):
            raise ValueError("model: must be the name of a JSON file in the same folder")
        raw["model"] = config_json.from_dict(json.loads((path.parent / raw["model"]).read_text()))
        stage = _table(TrainingStage, raw, "")
        _check_values(stage)
        _check_losses(stage)
    except (ValueError, OSError, FcsError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    return stage


def _table(kind: type[T], raw: Any, table: str) -> T:
    """Return a table of the TOML file as its dataclass."""
    if not isinstance(raw, dict):
        raise ValueError(f"{table}: must be a table [{table}], not {raw!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    _check_keys(raw, fields, table)
    for name, one in fields.items():
        optional = not (one.default is one.default_factory is dataclasses.MISSING)
        if name not in raw and not optional:
            raise ValueError(f"{_full(table, name)}: missing")
    hints = get_type_hints(kind)
    return kind(**{key: _value(hints[key], x, _full(table, key)) for key, x in raw.items()})


def _check_keys(raw: Mapping[str, Any], known: Iterable[str], table: str) -> None:
    """Refuse keys that the table does not have, with the nearest one that it has."""
    known = list(known)
    for key in raw:
        if key in known:
            continue
        renamed = RENAMED.get(table, {})
        if key in renamed:
            raise ValueError(f"{_full(table, key)}: renamed, write {renamed[key]}")
        nearest = difflib.get_close_matches(key, [*known, *renamed], 1, 0.0)
        hint = f"; did you mean {renamed.get(nearest[0], nearest[0])}?" if nearest else ""
        raise ValueError(f"{_full(table, key)}: unknown key{hint}")


def _full(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _value(hint: Any, value: Any, key: str) -> Any:
    """Return a value of the TOML file as the type that its field has."""
    if hint is CodecConfig:
        return value
    # An optional table is a union with None.
    kinds = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
    if kinds:
        kind: Any = kinds[0]
        return _table(kind, value, key)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{key}: must be a table [{key}], not {value!r}")
        if key == "losses":
            _check_keys(value, LOSSES, key)
        return {name: _value(inner[1], x, _full(key, name)) for name, x in value.items()}
    if origin in (list, tuple):
        if not isinstance(value, list) or (origin is tuple and len(value) != len(inner)):
            what = "two numbers" if origin is tuple else "a list"
            raise ValueError(f"{key}: must be {what}, not {value!r}")
        return origin(_value(inner[0], x, key) for x in value)
    number = hint is float and isinstance(value, int) and not isinstance(value, bool)
    if number or type(value) is hint:
        return hint(value)
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
    raise ValueError(f"{key}: must be {names[hint]}, not {value!r}")


def _check_values(stage: TrainingStage) -> None:
    """Refuse values outside of what the keys allow."""
    for key, values, allowed in (
        ("objective", [stage.objective], OBJECTIVES),
        ("optimizer", [stage.optimizer], OPTIMIZERS),
        ("parts", stage.parts, PARTS),
    ):
        for value in values:
            if value not in allowed:
                nearest = difflib.get_close_matches(value, allowed, 1, 0.0)
                raise ValueError(f"{key}: {value!r} is unknown; did you mean {nearest[0]!r}?")
    if "search" in stage.parts and stage.model.search is None:
        raise ValueError("parts: 'search' needs a model with search_config")
    chunk = stage.model.chunk_tokens
    if stage.data.frames <= 0 or stage.data.frames % chunk:
        raise ValueError(f"data.frames: must be a multiple of {chunk}, not {stage.data.frames}")
    for name, value in vars(stage.data.augmentation).items():
        if name.endswith("_share") and not 0 <= value <= 1:
            raise ValueError(f"data.augmentation.{name}: must be from 0 to 1, not {value!r}")
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"data.augmentation.{name}: must be a range, lowest first")


def _check_losses(stage: TrainingStage) -> None:
    """Refuse losses without what they need, and networks without the losses that use them."""
    for name in stage.losses:
        for needs in LOSSES[name].needs:
            if not stage.has(needs):
                raise ValueError(f"losses.{name}: needs {needs.value}")
    for needs, names in COMPANIONS.items():
        for name in names:
            if stage.has(needs) and name not in stage.losses:
                raise ValueError(f"losses.{name}: missing; {needs.value} is there for it")


def describe(stage: TrainingStage) -> dict[str, Any]:
    """Return the stage as plain data, for the log."""
    facts = dataclasses.asdict(stage)
    del facts["model"]
    return facts


TABLES: dict[str, type[Any]] = {
    "": TrainingStage,
    "data": DataConfig,
    "data.augmentation": AugmentationConfig,
    "discriminators": DiscriminatorConfig,
    "recogniser": RecogniserLossConfig,
}
"""Dataclass of each table of a stage's file."""

_INTRODUCTION = """\
# Configuration of a training stage

A training stage is one TOML file: `python -m train.fit STAGE.toml --corpus CORPUS --run RUN`.
The recipes in `train/recipes/` are complete examples.
The file is checked before training starts: an unknown key is an error with the nearest valid name.
`train/config.py` checks it, with the losses of `train/losses/schema.py`.
The column "computed in" names the file of each loss. `train/losses/objectives.py` calls those of
tokens and spectra, `train/engine/perceptual_losses.py` the perceptual ones.
`train/engine/trainer.py` weights them.

This page is generated by `python -m train.config --docs`; edit `train/config.py` and
`train/losses/schema.py` instead.
"""

_LOSSES_INTRODUCTION = """\
## [losses]

Each key is a loss, each value its weight.
The total of a step is the weighted sum of the losses of tokens and of spectra.
The weight of a perceptual loss is a share instead.
It is the norm of the loss's gradient at the decoded audio, relative to that of the spectral losses.
"""

_KIND_TITLES = {
    Kind.TOKENS: "Losses of tokens",
    Kind.SPECTRUM: "Losses of spectra",
    Kind.PERCEPTUAL: "Perceptual losses",
}


def documentation() -> str:
    """Return docs/training-config.md."""
    parts = [_INTRODUCTION]
    for table, kind in TABLES.items():
        title = f"## [{table}]" if table else "## Top level"
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        rows += [f"| `{name}` | {' | '.join(cells)} |" for name, *cells in _field_rows(kind)]
        summary = (inspect.getdoc(kind) or "").splitlines()[0]
        parts.append("\n".join([title, "", summary, "", *rows, ""]))
    parts.append(_LOSSES_INTRODUCTION)
    for loss_kind, title in _KIND_TITLES.items():
        rows = ["| loss | what it compares | needs | computed in |", "|---|---|---|---|"]
        for spec in LOSSES.values():
            if spec.kind is loss_kind:
                needs = "; ".join(need.value for need in spec.needs) or "nothing"
                module = f"`train/losses/{spec.module}.py`"
                rows.append(f"| `{spec.name}` | {spec.meaning} | {needs} | {module} |")
        parts.append("\n".join([f"### {title}", "", *rows, ""]))
    return "\n".join(parts)


def _field_rows(kind: type[Any]) -> Iterable[tuple[str, str, str, str]]:
    """Yield name, type, default and meaning of each field of a dataclass."""
    hints, docs = get_type_hints(kind), field_docs(kind)
    for one in dataclasses.fields(kind):
        yield one.name, _type_name(hints[one.name]), _default(one), docs[one.name]


def field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the string after each field of a dataclass, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for one, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            assert isinstance(after, ast.Expr), one.target.id
            assert isinstance(after.value, ast.Constant), one.target.id
            text = str(after.value.value).replace("``", "`")
            docs[one.target.id] = " ".join(text.split())
    return docs


def _type_name(hint: Any) -> str:
    """Return the name of a TOML type."""
    if hint is CodecConfig:
        return "file name"
    if dataclasses.is_dataclass(hint) or any(map(dataclasses.is_dataclass, get_args(hint))):
        return "table"
    if get_origin(hint) is dict:
        return "table of numbers"
    if get_origin(hint) is tuple:
        return "two numbers"
    names = {int: "integer", float: "number", bool: "boolean", str: "string"}
    if get_origin(hint) is list:
        return f"list of {names[get_args(hint)[0]]}s"
    return names[hint]


def _default(one: dataclasses.Field[Any]) -> str:
    """Return how a field's default is written in TOML."""
    if one.default is one.default_factory is dataclasses.MISSING:
        return "required"
    if one.default is dataclasses.MISSING or one.default is None:
        return "none" if one.default is None else "empty"
    value = list(one.default) if isinstance(one.default, tuple) else one.default
    return f"`{json.dumps(value)}`"


@click.command()
@click.argument("stages", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--docs", is_flag=True, help="Print docs/training-config.md.")
def main(stages: tuple[Path, ...], docs: bool) -> None:
    """Check the TOML files STAGES, or print the reference of their keys."""
    if docs:
        click.echo(documentation(), nl=False)
    for path in stages:
        try:
            read(path)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        click.echo(f"{path}: valid")


if __name__ == "__main__":
    main()
