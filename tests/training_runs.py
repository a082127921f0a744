"""Stages and runs that tests of training share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from train import config as stages
from train.data.corpus import FRAME_16K, FRAME_24K
from train.engine.trainer import Trainer

ROOT = Path(__file__).parents[1]
STAGE = """
model = "model.json"
objective = "{objective}"
optimizer = "muon"
teacher = "whisper"
parts = {parts}
steps = 8
learning_rate = 1e-3
warmup = 2
evaluate_every = 4
quantise_end = {quantise_end}
[losses]
{losses}
[data]
frames = 20
batch = 2
"""
PARTS = {
    "tokens": ["encoder", "compressor", "decompressor"],
    "decoder": ["decompressor", "decoder"],
    "together": ["encoder", "compressor", "decompressor", "decoder"],
    "recognised": ["encoder", "compressor", "decompressor", "decoder"],
    "searched": ["encoder", "compressor", "search", "decompressor", "decoder"],
}
"""What each kind of stage trains."""
SEARCH = {"history": 3, "inner": 8, "bands": 10, "orders": 3, "prior": 4.0, "passes": 2}
DISCRIMINATORS = """
[discriminators]
periods = [2, 3]
windows = [256]
period_channels = [4, 4]
spectrum_channels = 4
crop_samples = 3000
learning_rate = 1e-3
per_step = 2
start_step = 2
"""
RECOGNISER = """
[recogniser]
layers = 2
crops = 1
max_tokens = 3
"""
TOKEN_LOSSES = [
    "distill_encoder",
    "bit_redundancy",
    "predict_mel",
    "predict_shape",
    "predict_formants",
    "predict_short",
    "predict_long",
]
SEARCH_LOSSES = ["search_target", "search_prediction", "latent_commitment"]
SOUND_LOSSES = ["mel", "linear", "pitch", "adversarial", "feature_matching"]
RECOGNISER_LOSSES = ["whisper_features", "whisper_tokens", "envelope", "cepstra", "formants"]


def losses_of(kind: str) -> list[str]:
    """Return all losses that a kind of stage can have, but for those of flips."""
    losses = ["distill_decoded"]
    losses += TOKEN_LOSSES if "encoder" in PARTS[kind] else []
    losses += SEARCH_LOSSES if kind == "searched" else []
    losses += SOUND_LOSSES if kind != "tokens" else []
    return losses + (RECOGNISER_LOSSES if kind == "recognised" else [])


def write_stage(folder: Path, kind: str) -> Path:
    """Write a stage's file by its kind, for a model as small as the golden one."""
    case = json.loads((ROOT / "tests/data/golden/tiny.json").read_text())
    config = case["config"]
    config["decoder_config"]["hop_length"] = 480
    if kind == "searched":
        config["search_config"] = SEARCH
    (folder / "model.json").write_text(json.dumps(config))
    objective = "tokens" if kind == "tokens" else "sound"
    text = STAGE.format(
        objective=objective,
        parts=json.dumps(PARTS[kind]),
        quantise_end=6 if kind == "tokens" else 0,
        losses="\n".join(f"{name} = 1.0" for name in losses_of(kind)),
    )
    if objective == "sound":
        text += DISCRIMINATORS
    if kind == "recognised":
        text += RECOGNISER
    path = folder / f"{kind}.toml"
    path.write_text(text)
    return path


def write_shard(folder: Path, name: str, seconds: int, seed: int) -> None:
    """Write a shard of tones in noise; the teacher's features are noise."""
    folder.mkdir(exist_ok=True, parents=True)
    random = np.random.default_rng(seed)
    n = 50 * seconds
    for kind, size in (("16k", FRAME_16K), ("24k", FRAME_24K)):
        at = np.arange(n * size) / (50 * size)
        sound = 0.4 * np.sin(2 * np.pi * 300 * at) + 0.05 * random.standard_normal(n * size)
        np.save(folder / f"{name}.{kind}.npy", (sound * 32767).astype(np.int16))
    teacher = random.standard_normal((n, 24)).astype(np.float16)
    np.save(folder / f"{name}.whisper.npy", teacher)
    facts = {"source": name, "band_hz": 12000, "real": seed % 2 == 0, "voices": ["a"]}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def run(path: Path, corpus: Path, folder: Path, steps: int, *start: Path) -> Trainer:
    """Train a stage up to a step, and save the run."""
    folder.mkdir(exist_ok=True)
    stage = stages.read(path)
    trainer = Trainer(stage, corpus, folder, start)
    while trainer.step < steps:
        trainer.train_step(trainer.crops.at(trainer.step))
    trainer.save()
    return trainer


def without_whitening(path: Path) -> Path:
    """Write a stage's file again, without whitening; return it."""
    path.write_text(f"whiten = false\n{path.read_text()}")
    return path
