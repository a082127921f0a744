"""Errors of pitch, voicing and level of decoded speech, in frames of 10 ms.

Frames count where the original is within 40 dB of its loudest frame. Voicing errors are frames that
are voiced in one sound only. Gross errors are frames voiced in both, more than 300 cents off
(Rabiner and others 1976, with a limit in cents). Fine errors are the rest, by their median.
Trackers disagree: only figures of one tracker compare.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from train.evaluation.metrics import F32, F64, RATE, Metric, Scores

TRACKER = "pyworld Harvest, 55 to 500 Hz"
"""The tracker: Harvest of WORLD (Morise 2017)."""

HOP = RATE // 100
"""Samples of a frame."""

LOW_HZ, HIGH_HZ = 55.0, 500.0
ACTIVE_DB = -40.0
GROSS_CENTS = 300.0
SHORTEST = RATE // 10
"""Samples of the shortest sound that is tracked."""

PITCH = (
    Metric("voicing", "V/UV errors, %", -1, 1, (0, np.nan)),
    Metric("gross", "gross F0, %", -1, 1, (0, np.nan)),
    Metric("cents", "F0, cents", -1, 0, (0, np.nan)),
    Metric("level", "level, dB", 0, 1, (-10, np.nan)),
    Metric("level_sd", "its sd, dB", -1, 1, (0, np.nan)),
)
"""The metrics of a clip."""


class FrameErrors(NamedTuple):
    """Of one clip, or of several together.

    Attributes
    ----------
    voicing : ndarray of bool, shape (active frames,)
        Whether a frame is voiced in one sound only.
    cents : ndarray of float64, shape (frames voiced in both,)
        How far the pitches differ.
    level : ndarray of float64, shape (active frames,)
        Decoded less original, in dB.
    """

    voicing: NDArray[np.bool_]
    cents: F64
    level: F64


def track(sound: F32) -> F64:
    """Return the pitch of each frame, by `TRACKER`.

    Parameters
    ----------
    sound : ndarray of float32, shape (samples,)
        Speech at `RATE`.

    Returns
    -------
    ndarray of float64, shape (frames,)
        In Hz; 0 where a frame is unvoiced, as all of a sound under 0.1 s are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Raised for pkg_resources.
        import pyworld

    if sound.size < SHORTEST or not sound.any():
        return np.zeros(sound.size // HOP + 1)
    wave = np.ascontiguousarray(sound, np.float64)
    frame_ms = 1000 * HOP / RATE
    pitch, _ = pyworld.harvest(wave, RATE, LOW_HZ, HIGH_HZ, frame_ms)
    return np.asarray(pitch)


def levels(sound: F32, count: int) -> F64:
    """Return the level of the first `count` frames, in dB of full scale, -120 at least."""
    padded = np.zeros(count * HOP)
    padded[: sound.size] = sound[: padded.size]
    return np.asarray(10 * np.log10(np.square(padded.reshape(count, HOP)).mean(axis=1) + 1e-12))


def compare(clean: F32, coded: F32, clean_pitch: F64, coded_pitch: F64) -> FrameErrors:
    """Compare a decoded sound with its original.

    Parameters
    ----------
    clean, coded : ndarray of float32, shape (samples,)
        Aligned, at `RATE`, equally long.
    clean_pitch, coded_pitch : ndarray of float64, shape (frames,)
        Their pitch, by `track`. Pitch beyond the end of the sounds does not count.
    """
    count = min(clean_pitch.size, coded_pitch.size, -(-clean.size // HOP))
    if not clean.any() or not count:
        return FrameErrors(np.zeros(0, np.bool_), np.zeros(0), np.zeros(0))
    before, after = clean_pitch[:count], coded_pitch[:count]
    original, decoded = levels(clean, count), levels(coded, count)
    active = original > original.max() + ACTIVE_DB
    both = (before > 0) & (after > 0) & active
    return FrameErrors(
        ((before > 0) != (after > 0))[active],
        np.abs(1200 * np.log2(after[both] / before[both])),
        (decoded - original)[active],
    )


def pool(clips: Sequence[FrameErrors]) -> FrameErrors:
    """Return the frames of at least one clip together."""
    voicing, cents, level = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    return FrameErrors(voicing, cents, level)


def scores(errors: FrameErrors) -> Scores:
    """Return the metrics of frames, in percent, cents and dB; None where no frame counts."""
    gross = errors.cents > GROSS_CENTS
    fine = errors.cents[~gross]
    return {
        "voicing": float(100 * errors.voicing.mean()) if errors.voicing.size else None,
        "gross": float(100 * gross.mean()) if gross.size else None,
        "cents": float(np.median(fine)) if fine.size else None,
        "level": float(errors.level.mean()) if errors.level.size else None,
        "level_sd": float(errors.level.std()) if errors.level.size else None,
    }


def counts(errors: FrameErrors) -> dict[str, int]:
    """Return how many frames are active, voiced in both sounds, and wrong."""
    return {
        "active_frames": errors.voicing.size,
        "voiced_frames": errors.cents.size,
        "voicing_errors": int(errors.voicing.sum()),
        "gross_errors": int((errors.cents > GROSS_CENTS).sum()),
    }
