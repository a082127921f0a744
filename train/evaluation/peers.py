"""Speech codecs to compare with: Codec2 and Opus, by their own programs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
U16: TypeAlias = NDArray[np.uint16]

RATE = 16000
"""Samples a second of the input of all codecs."""

_CODEC2_RATE = 8000
_CODEC2_FRAMES = {"700C": (4, 28), "1200": (6, 48)}  # Bytes in the file, and bits, of 40 ms.
_OPUS_RATE = 24000
_OPUS_HEADERS = 2
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class CodedClip:
    """The output of a codec for a clip.

    Attributes
    ----------
    sound : ndarray of float32, shape (samples,)
        The decoded sound.
    rate : int
        Its samples a second.
    bits : int, optional
        Bits sent, without a container; None where nothing was coded.
    tokens : ndarray of uint16, shape (tokens,), optional
        What was sent, where the codec has tokens.
    """

    sound: F32
    rate: int
    bits: int | None = None
    tokens: U16 | None = None


@dataclass(frozen=True)
class Peer:
    """A codec run by programs of its own.

    Attributes
    ----------
    programs : tuple of str
        What it calls.
    package : str
        The Debian package that has them.
    code : callable
        (samples,) float32 at `RATE` to `CodedClip`.
    """

    programs: tuple[str, ...]
    package: str
    code: Callable[[F32], CodedClip]

    @property
    def missing(self) -> bool:
        """Whether a program is not installed."""
        return not all(map(shutil.which, self.programs))


def codec2(signal: F32, mode: str) -> CodedClip:
    """Code speech with Codec2, at 8 kHz.

    Parameters
    ----------
    signal : ndarray of float32, shape (samples,)
        Speech at `RATE`, at least 40 ms.
    mode : str
        "700C" or "1200".
    """
    with tempfile.TemporaryDirectory() as folder:
        source, sent, decoded = (
            str(Path(folder, name)) for name in ("in.raw", "sent.bit", "out.raw")
        )
        narrow = soxr.resample(signal, RATE, _CODEC2_RATE, quality="VHQ")
        np.rint(np.clip(narrow, -1, 1) * 32767).astype("<i2").tofile(source)
        _call("c2enc", mode, source, sent)
        _call("c2dec", mode, sent, decoded)
        frame_bytes, frame_bits = _CODEC2_FRAMES[mode]
        bits = Path(sent).stat().st_size // frame_bytes * frame_bits
        sound = (np.fromfile(decoded, "<i2") / 32768).astype(np.float32)
    return CodedClip(sound, _CODEC2_RATE, bits)


def opus(signal: F32, kbps: int) -> CodedClip:
    """Code speech with Opus.

    Parameters
    ----------
    signal : ndarray of float32, shape (samples,)
        Speech at `RATE`.
    kbps : int
        The requested bit rate, kb/s.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, sent, decoded = (
            str(Path(folder, name)) for name in ("in.wav", "sent.opus", "out.wav")
        )
        soundfile.write(source, signal, RATE, "FLOAT")
        _call("opusenc", "--quiet", "--speech", "--bitrate", str(kbps), source, sent)
        _call("opusdec", "--quiet", "--float", "--rate", str(_OPUS_RATE), sent, decoded)
        sound, rate = soundfile.read(decoded, dtype="float32")
        packets = ogg_packets(Path(sent).read_bytes())
    return CodedClip(sound, rate, 8 * sum(packets[_OPUS_HEADERS:]))


def ogg_packets(stream: bytes) -> list[int]:
    """Return the bytes of each packet of an Ogg stream (RFC 3533)."""
    sizes, size, at = [], 0, 0
    while at < len(stream):
        if stream[at : at + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {at}")
        lacing = stream[at + 27 : at + 27 + stream[at + 26]]
        for value in lacing:
            size += value
            if value < 255:
                sizes.append(size)
                size = 0
        at += 27 + len(lacing) + sum(lacing)
    return sizes


PEERS = {
    "Opus 6": Peer(("opusenc", "opusdec"), "opus-tools", lambda x: opus(x, 6)),
    "Codec2 1200": Peer(("c2enc", "c2dec"), "codec2", lambda x: codec2(x, "1200")),
    "Codec2 700C": Peer(("c2enc", "c2dec"), "codec2", lambda x: codec2(x, "700C")),
}


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{command[0]}: {lines[-1] if lines else done.returncode}")
