"""Batches of crops: input and target audio, and the teacher's features."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from train.config import AugmentationConfig
from train.data import augment, codec_degradation, corpus
from train.data.augment import F32, Acoustics, fit_length
from train.data.corpus import FRAME_16K, FRAME_24K, Shard

_FLOOR_DB = (-86.0, -66.0)
"""Range of the noise of microphones, relative to full scale."""
_TEACHER_LIMIT = 4.0


@dataclass
class Batch:
    """Crops of the same length."""

    input: Tensor
    """(batch, frames x 320) at 16 kHz, with noise."""
    target: Tensor
    """(batch, frames x 480) at 24 kHz, without noise."""
    teacher: Tensor
    """(batch, frames, width), standardised."""
    band_hz: Tensor
    """(batch,): highest frequency at which `target` is valid, Hz."""
    level: Tensor
    """(batch,): gain of the crop. 60 dB below it is silence."""

    def pin_memory(self) -> Batch:
        """Return it in pinned memory, which a GPU reads asynchronously."""
        return Batch(*(t.pin_memory() for t in vars(self).values()))

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


class Crops:
    """Draws batches. Each one depends on seed, step and worker only.

    Parameters
    ----------
    shards : list of Shard
        The corpus.
    share : numpy.ndarray
        (n,) probability of each shard.
    acoustics : Acoustics
        Rooms and noise.
    settings : AugmentationConfig
        Augmentation of crops.
    frames, batch : int
        Frames of a crop, crops of a batch.
    seed : tuple of int
        Seed of the random numbers, beside the step.
    """

    def __init__(
        self,
        shards: list[Shard],
        share: NDArray[np.float64],
        acoustics: Acoustics,
        settings: AugmentationConfig,
        frames: int,
        batch: int,
        seed: tuple[int, ...],
    ) -> None:
        self.shards, self.share, self.settings = shards, share, settings
        self.acoustics, self.frames, self.batch, self.seed = acoustics, frames, batch, seed
        self.mean, self.deviation = corpus.moments(shards)
        self.growing: corpus.Corpus | None = None

    def at(self, step: int) -> Batch:
        """Return the batch of a step. A growing corpus is looked up again."""
        renewed = self.growing.renewed() if self.growing is not None else None
        if renewed is not None:
            self.shards, self.share = renewed
        random = np.random.default_rng([*self.seed, step])
        return _stacked([self._crop(random) for _ in range(self.batch)])

    def _crop(self, random: np.random.Generator) -> tuple[F32, F32, F32, float, float]:
        s = self.settings
        shard = self.shards[random.choice(len(self.shards), p=self.share)]
        rate = 1.0
        if random.random() < s.speed_share:
            rate = float(random.uniform(*s.speed))
        n = int(np.ceil(self.frames * rate))
        rate = n / self.frames
        at = int(random.integers(0, shard.n_frames - n))
        low = _slice(shard.at_16k, at, n, FRAME_16K, self.frames)
        high = _slice(shard.at_24k, at, n, FRAME_24K, self.frames)
        rows = np.minimum(((np.arange(self.frames) + 0.5) * rate).astype(int), n - 1)
        teacher = shard.teacher[at : at + n].astype(np.float32)[rows]
        teacher = np.clip((teacher - self.mean) / self.deviation, -_TEACHER_LIMIT, _TEACHER_LIMIT)
        band = shard.band_hz * rate
        if random.random() < s.formant_share:
            factor = float(random.uniform(*s.formant_scale))
            high = augment.shift_formants(high, factor)
            low = fit_length(soxr.resample(high, 3, 2, quality="HQ"), low.size)
            band *= min(1.0, factor)
        level = random.uniform(*s.level_db)
        if random.random() < s.quiet_share:
            level += s.quiet_db
        gain = np.float32(10 ** (level / 20))
        low, high, valid_hz = augment.filter_crop(
            low * gain, high * gain, s, self.acoustics, random
        )
        noisy = self._noisy(low, random)
        # Without degradation no number is drawn, so held-out crops do not depend on it.
        if s.codec_degradation_share and random.random() < s.codec_degradation_share:
            mp3_rate, kbps, hz = codec_degradation.SETTINGS[
                int(random.integers(len(codec_degradation.SETTINGS)))
            ]
            noisy = codec_degradation.through_mp3(noisy, mp3_rate, kbps)
            high = augment.lowpass(high, 24000, hz)
        return noisy, high, teacher, min(valid_hz, band), gain

    def _noisy(self, low: F32, random: np.random.Generator) -> F32:
        s = self.settings
        floor = np.float32(10 ** (random.uniform(*_FLOOR_DB) / 20))
        noise = floor * random.standard_normal(low.size, dtype=np.float32)
        if random.random() < s.noise_share:
            rms = np.sqrt(np.mean(np.square(low), dtype=np.float64))
            loudness = rms * 10 ** (-random.uniform(*s.noise_snr_db) / 20)
            noise += np.float32(loudness) * self.acoustics.noise_like(low, random)
        return np.clip(low + noise, -1, 1)

    def stream(self, first: int, depth: int = 3, loaders: int = 0) -> Iterator[Batch]:
        """Yield the batches from step `first` on, drawn in advance by a thread or by processes."""
        if loaders:
            steps = itertools.count(first)
            drawn = DataLoader(
                _Steps(self),
                None,
                sampler=steps,
                num_workers=loaders,
                pin_memory=torch.cuda.is_available(),
            )
            yield from drawn
        ready: queue.Queue[Batch] = queue.Queue(depth)

        def draw() -> None:
            step = first
            while True:
                ready.put(self.at(step))
                step += 1

        threading.Thread(target=draw, daemon=True).start()
        while True:
            yield ready.get()


class _Steps(Dataset[Batch]):
    """Batches by their steps, for `DataLoader`."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, step: int) -> Batch:
        return self.crops.at(step)


def _slice(sound: NDArray[np.int16], at: int, n: int, size: int, frames: int) -> F32:
    """Return `n` frames resampled to `frames` frames, (frames x size,) float32."""
    part = sound[at * size : (at + n) * size].astype(np.float32) / np.float32(32768)
    if n == frames:
        return part
    return fit_length(soxr.resample(part, n, frames, quality="MQ"), frames * size)


def _stacked(crops: list[tuple[F32, F32, F32, float, float]]) -> Batch:
    inputs, targets, teacher, band, level = zip(*crops, strict=True)
    arrays = (torch.from_numpy(np.stack(part)) for part in (inputs, targets, teacher))
    numbers = (torch.tensor(part, dtype=torch.float32) for part in (band, level))
    return Batch(*arrays, *numbers)
