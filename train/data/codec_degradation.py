"""Degradation by another codec: MP3 at low bit rates."""

from __future__ import annotations

import io

import av
import numpy as np
import soxr

from train.data.augment import F32, fit_length

SETTINGS = (
    (11025, 16, 5200.0),
    (11025, 24, 5200.0),
    (11025, 32, 5200.0),
    (16000, 16, 5400.0),
    (16000, 24, 5800.0),
    (16000, 32, 7000.0),
    (22050, 16, 5400.0),
    (22050, 24, 5800.0),
)
"""Samples a second, kbit/s, and the highest frequency that LAME retains, Hz."""


def through_mp3(sound: F32, rate: int, kbps: int) -> F32:
    """Encode a sound as MP3 and decode it, without LAME's delay.

    Parameters
    ----------
    sound : numpy.ndarray
        (n,) float32 at 16 kHz.
    rate : int
        Samples a second of the MP3.
    kbps : int
        Its bit rate.

    Returns
    -------
    numpy.ndarray
        (n,) float32 at 16 kHz.
    """
    samples = np.clip(soxr.resample(sound, 16000, rate), -1, 1)
    frame = av.AudioFrame.from_ndarray(
        np.rint(32767 * samples).astype(np.int16)[None], format="s16p", layout="mono"
    )
    frame.sample_rate = rate
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as written:
        stream = written.add_stream("libmp3lame", rate=rate)
        stream.bit_rate, stream.layout = 1000 * kbps, "mono"
        written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as read:
        decoded = [frame.to_ndarray().ravel() for frame in read.decode(audio=0)]
    back = soxr.resample(np.concatenate(decoded).astype(np.float32), rate, 16000)
    return fit_length(back, sound.size)
