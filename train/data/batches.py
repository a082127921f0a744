"""Batches of crops: what the codec hears, what it should give back, what the teacher found."""

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

from train.data import augment, codec_degradation, corpus
from train.data.augment import F32, Augmentation, Surroundings, as_long
from train.data.corpus import FRAME_16K, FRAME_24K, Shard

_FLOOR_DB = (-86.0, -66.0)
"""The noise that every microphone has, below full scale."""
_TEACHER_LIMIT = 4.0


@dataclass
class Batch:
    """Crops of the same length."""

    heard: Tensor
    """(batch, frames x 320) at 16 kHz, with noise."""
    wanted: Tensor
    """(batch, frames x 480) at 24 kHz, without."""
    teacher: Tensor
    """(batch, frames, width), standardised."""
    band_hz: Tensor
    """(batch,): up to where `wanted` is to be trusted."""
    level: Tensor
    """(batch,): the gain that the crop was given; what is 60 dB below it is silence."""

    def pin_memory(self) -> Batch:
        """Return it in memory from which a GPU takes it while it works."""
        return Batch(*(t.pin_memory() for t in vars(self).values()))

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in vars(self).values()))


class Crops:
    """Draws batches; each is a function of seed, step and worker alone.

    Parameters
    ----------
    shards : list of Shard
        The corpus.
    share : numpy.ndarray
        (n,) how often each is drawn from.
    surroundings : Surroundings
        Rooms and noises.
    settings : Augmentation
        What is done to crops.
    frames, batch : int
        Frames a crop, crops a batch.
    seed : tuple of int
        What else the random numbers depend on.
    """

    def __init__(
        self,
        shards: list[Shard],
        share: NDArray[np.float64],
        surroundings: Surroundings,
        settings: Augmentation,
        frames: int,
        batch: int,
        seed: tuple[int, ...],
    ) -> None:
        self.shards, self.share, self.settings = shards, share, settings
        self.surroundings, self.frames, self.batch, self.seed = surroundings, frames, batch, seed
        self.mean, self.deviation = corpus.moments(shards)
        self.growing: corpus.Corpus | None = None

    def at(self, step: int) -> Batch:
        """Return the batch of a step; of what is there by then, where the corpus grows."""
        renewed = self.growing.renewed() if self.growing is not None else None
        if renewed is not None:
            self.shards, self.share = renewed
        random = np.random.default_rng([*self.seed, step])
        return _stacked([self._crop(random) for _ in range(self.batch)])

    def _crop(self, random: np.random.Generator) -> tuple[F32, F32, F32, float, float]:
        s = self.settings
        shard = self.shards[random.choice(len(self.shards), p=self.share)]
        rate = 1.0
        if random.random() < s.rate_share:
            rate = float(random.uniform(*s.rate))
        taken = int(np.ceil(self.frames * rate))
        rate = taken / self.frames
        at = int(random.integers(0, shard.n_frames - taken))
        low = _slice(shard.at_16k, at, taken, FRAME_16K, self.frames)
        high = _slice(shard.at_24k, at, taken, FRAME_24K, self.frames)
        rows = np.minimum(((np.arange(self.frames) + 0.5) * rate).astype(int), taken - 1)
        teacher = shard.teacher[at : at + taken].astype(np.float32)[rows]
        teacher = np.clip((teacher - self.mean) / self.deviation, -_TEACHER_LIMIT, _TEACHER_LIMIT)
        band = shard.band_hz * rate
        if random.random() < s.mouth_share:
            factor = float(random.uniform(*s.mouth))
            high = augment.other_mouth(high, factor)
            low = as_long(soxr.resample(high, 3, 2, quality="HQ"), low.size)
            band *= min(1.0, factor)
        level = random.uniform(*s.level_db)
        if random.random() < s.quiet_share:
            level += s.quiet_db
        gain = np.float32(10 ** (level / 20))
        low, high, kept = augment.coloured(low * gain, high * gain, s, self.surroundings, random)
        heard = self._noisy(low, random)
        # No number is drawn where none is spoilt: held-out crops stay what they were.
        if s.spoilt_share and random.random() < s.spoilt_share:
            mp3_rate, kbps, hz = codec_degradation.SETTINGS[
                int(random.integers(len(codec_degradation.SETTINGS)))
            ]
            heard = codec_degradation.through_mp3(heard, mp3_rate, kbps)
            high = augment.cut(high, 24000, hz)
        return heard, high, teacher, min(kept, band), gain

    def _noisy(self, low: F32, random: np.random.Generator) -> F32:
        s = self.settings
        floor = np.float32(10 ** (random.uniform(*_FLOOR_DB) / 20))
        noise = floor * random.standard_normal(low.size, dtype=np.float32)
        if random.random() < s.noise_share:
            rms = np.sqrt(np.mean(np.square(low), dtype=np.float64))
            loudness = rms * 10 ** (-random.uniform(*s.noise_snr_db) / 20)
            noise += np.float32(loudness) * self.surroundings.noise_like(low, random)
        return np.clip(low + noise, -1, 1)

    def stream(self, first: int, depth: int = 3, loaders: int = 0) -> Iterator[Batch]:
        """Yield the batches of step `first` and after, drawn ahead by a thread, or processes."""
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
    """What a `DataLoader` asks for batches, by their steps."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, step: int) -> Batch:
        return self.crops.at(step)


def _slice(sound: NDArray[np.int16], at: int, taken: int, size: int, frames: int) -> F32:
    """Return `taken` frames as if they had lasted `frames`, (frames x size,) float32."""
    found = sound[at * size : (at + taken) * size].astype(np.float32) / np.float32(32768)
    if taken == frames:
        return found
    return as_long(soxr.resample(found, taken, frames, quality="MQ"), frames * size)


def _stacked(crops: list[tuple[F32, F32, F32, float, float]]) -> Batch:
    heard, wanted, teacher, band, level = zip(*crops, strict=True)
    arrays = (torch.from_numpy(np.stack(part)) for part in (heard, wanted, teacher))
    numbers = (torch.tensor(part, dtype=torch.float32) for part in (band, level))
    return Batch(*arrays, *numbers)
