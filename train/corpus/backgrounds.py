"""Room responses and noise for augmentation during training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pyroomacoustics
from numpy.typing import NDArray

from train.corpus.shard import NARROW_FRAME, NARROW_RATE, save_array
from train.data.pcm import Floats, Samples

ROOMS = 200
ROOM_SAMPLES = int(0.4 * NARROW_RATE)
NOISE_SECONDS = 600
_PIECE_SECONDS = 15
_LEVEL = 0.1
_SOUND_SPEED = 343.0
_SINC_HALF = 40
_FADE = 320


def write_rooms(path: Path) -> None:
    """Write impulse responses of random rooms, unless the file exists.

    Parameters
    ----------
    path : Path
        An .npz of `rooms`, float32 [200, 6400] at 16 kHz, the direct path 1 at sample 0; `length`,
        int32 [200], their samples before zeros; and `rt60`, float32 [200], the seconds aimed at.

    Notes
    -----
    The image method: J. Allen, D. Berkley, "Image method for efficiently simulating small-room
    acoustics", JASA 65(4), 1979.
    """
    if path.exists():
        return
    rng = np.random.default_rng(5)
    rooms = np.zeros((ROOMS, ROOM_SAMPLES), np.float32)
    lengths = np.zeros(ROOMS, np.int32)
    decays = np.zeros(ROOMS, np.float32)
    count = 0
    while count < ROOMS:
        decay = float(rng.uniform(0.1, 0.6))
        response = _room(decay, rng)
        if response is not None:
            rooms[count, : len(response)] = response
            lengths[count], decays[count] = len(response), decay
            count += 1
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(file, rooms=rooms, length=lengths, rt60=decays)
    os.replace(unfinished, path)
    click.echo(f"{path.name}: {ROOMS} rooms")


def _room(decay: float, rng: np.random.Generator) -> Floats | None:
    """Return a random room's response, or None where the room cannot decay in that time."""
    size = rng.uniform([2.2, 2.2, 2.2], [8.0, 6.0, 3.5])
    try:
        absorption, order = pyroomacoustics.inverse_sabine(decay, size)
    except ValueError:
        return None
    delay = int(rng.integers(10, 110))
    microphone = rng.uniform(0.3, size - 0.3)
    direction = rng.standard_normal(3)
    source = microphone + direction / np.linalg.norm(direction) * delay * _SOUND_SPEED / NARROW_RATE
    if np.any(source < 0.3) or np.any(source > size - 0.3):
        return None
    pyroomacoustics.constants.set("c", _SOUND_SPEED)
    room = pyroomacoustics.ShoeBox(
        size,
        fs=NARROW_RATE,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, 40),
    )
    room.add_source(source)
    room.add_microphone(microphone)
    room.compute_rir()
    impulse = np.asarray(room.rir[0][0], np.float32)[delay + _SINC_HALF :][:ROOM_SAMPLES]
    response: Floats = impulse / impulse[0]
    response[-_FADE:] *= np.linspace(1, 0, _FADE, dtype=np.float32)
    return response


def write_noises(path: Path, folder: Path) -> None:
    """Write ten minutes of noises, int16 at 16 kHz, RMS 0.1, and a .txt with their places.

    Parameters
    ----------
    path : Path
        The .npy; each line of the .txt is a first sample, how many, and the kind.
    folder : Path
        Of finished shards, from whose voices babble is mixed.
    """
    if path.exists():
        return
    rng = np.random.default_rng(6)
    makers: dict[str, Callable[[int, np.random.Generator], NDArray[np.float64]]] = {
        "white": lambda size, rng: _coloured(size, 0.0, rng),
        "pink": lambda size, rng: _coloured(size, 1.0, rng),
        "brown": lambda size, rng: _coloured(size, 2.0, rng),
        "hum 50 Hz": lambda size, rng: _hum(size, 50.0, rng),
        "hum 60 Hz": lambda size, rng: _hum(size, 60.0, rng),
        "fan": _fan,
        "babble": _Babble(folder),
    }
    kinds = [*makers, "babble", "babble", "fan"]
    size = _PIECE_SECONDS * NARROW_RATE
    pieces: list[Samples] = []
    places: list[str] = []
    for index in range(NOISE_SECONDS // _PIECE_SECONDS):
        kind = kinds[index % len(kinds)]
        noise = makers[kind](size, rng)
        noise *= _LEVEL / np.sqrt(np.mean(noise**2))
        pieces.append(np.clip(np.round(noise * 32767), -32768, 32767).astype(np.int16))
        places.append(f"{index * size} {size} {kind}\n")
    path.with_suffix(".txt").write_text("".join(places), "utf-8")
    save_array(path, np.concatenate(pieces))
    click.echo(f"{path.name}: {NOISE_SECONDS / 60:.0f} min of noises")


def _coloured(size: int, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose power falls as 1 / frequency ** slope above 20 Hz."""
    frequency = np.fft.rfftfreq(size, 1 / NARROW_RATE)
    shape = np.maximum(frequency, 20.0) ** (-slope / 2) * (frequency > 0)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * shape, size)


def _hum(size: int, mains: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Mains hum with harmonics, over a little noise."""
    time = np.arange(size) / NARROW_RATE
    mains *= 1 + rng.uniform(-0.002, 0.002)
    hum = 0.05 * _coloured(size, 1.0, rng)
    hum /= np.std(hum) * rng.uniform(8, 30)
    for harmonic in range(1, 25):
        level = rng.uniform(0.2, 1.0) / harmonic ** rng.uniform(0.5, 1.5)
        hum += level * np.sin(2 * np.pi * (mains * harmonic * time + rng.random()))
    return hum


def _fan(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise with a few broad resonances and the tones of turning blades."""
    frequency = np.fft.rfftfreq(size, 1 / NARROW_RATE)
    shape = np.maximum(frequency, 40.0) ** -rng.uniform(0.5, 1.2)
    for _ in range(rng.integers(2, 6)):
        centre, width = rng.uniform(80, 3500), rng.uniform(30, 500)
        shape *= 1 + rng.uniform(1, 6) * np.exp(-(((frequency - centre) / width) ** 2))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * shape, size)
    noise /= np.std(noise)
    time = np.arange(size) / NARROW_RATE
    blades = rng.uniform(60, 250)
    for harmonic in range(1, 6):
        tone = np.sin(2 * np.pi * (blades * harmonic * time + rng.random()))
        noise += rng.uniform(0, 0.25) / harmonic * tone
    return noise * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.5, 6) * time))


class _Babble:
    """Six to eight voices of the corpus at once."""

    def __init__(self, folder: Path) -> None:
        self._spoken: dict[str, list[NDArray[np.int16]]] = {}
        for path in sorted(folder.glob("*.16k.npy")):
            about = path.with_name(path.name.replace(".16k.npy", ".json"))
            if not about.exists():
                continue
            listed = json.loads(about.read_text("utf-8"))
            samples: Samples = np.load(path, mmap_mode="r")
            for first, frames, voice, *_ in listed["utterances"]:
                sound = samples[first * NARROW_FRAME : (first + frames) * NARROW_FRAME]
                self._spoken.setdefault(listed["voices"][voice], []).append(sound)

    def __call__(self, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
        count = min(int(rng.integers(6, 9)), len(self._spoken))
        mixed = np.zeros(size)
        for voice in rng.choice(list(self._spoken), count, replace=False):
            filled = -int(rng.integers(0, NARROW_RATE))
            level = 10 ** (rng.uniform(-6, 0) / 20)
            while filled < size:
                spoken = self._spoken[voice][rng.integers(len(self._spoken[voice]))]
                part = spoken[max(0, -filled) : size - filled].astype(np.float64)
                begin = max(0, filled)
                mixed[begin : begin + len(part)] += level * part
                filled += len(spoken)
        return mixed
