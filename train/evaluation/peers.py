"""Speech codecs to compare with: Codec2 and Opus, by programs of other packages."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
U16: TypeAlias = NDArray[np.uint16]

MODULES_FROM = Path(__file__).resolve().parent
"""The folder from which Node.js looks for its modules, upwards."""

RATE = 16000
"""Samples a second of the input of all codecs."""

_CODEC2_RATE = 8000
_CODEC2_FRAMES = {"700C": (4, 28), "1200": (6, 48)}  # Bytes in the file, and bits, of 40 ms.
_OPUS_RATE = 24000
_OPUS_CLOCK = 48000  # Of the samples to skip, which the first header counts.
_OPUS_HEADERS = 2
_OPUS_WIDE = ("--set-ctl-int", "4008=1103")  # OPUS_SET_BANDWIDTH, OPUS_BANDWIDTH_WIDEBAND.
_NOLACE = Path(__file__).resolve().with_name("nolace.mjs")
_OPUS_ML = "@wasm-audio-decoders/opus-ml"
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
    """A codec run by programs of other packages.

    Attributes
    ----------
    programs : dict of str to str
        What it calls, and the Debian package of each.
    code : callable
        (samples,) float32 at `RATE` to `CodedClip`.
    modules : dict of str to str
        Modules of npm that it needs, and the version of each.
    """

    programs: dict[str, str]
    code: Callable[[F32], CodedClip]
    modules: dict[str, str] = field(default_factory=dict)

    @property
    def absent_packages(self) -> set[str]:
        """Debian packages of the programs that are not installed."""
        return {package for name, package in self.programs.items() if not shutil.which(name)}

    @property
    def absent_modules(self) -> set[str]:
        """Modules that Node.js cannot find, with their versions."""
        folders = [f / "node_modules" for f in (MODULES_FROM, *MODULES_FROM.parents)]
        return {
            f"{name}@{version}"
            for name, version in self.modules.items()
            if not any((folder / name).is_dir() for folder in folders)
        }

    @property
    def missing(self) -> bool:
        """Whether something is not installed."""
        return bool(self.absent_packages or self.absent_modules)


def install_commands(peers: Iterable[Peer]) -> str:
    """Return the commands that install what peers lack, the last in the repository's root."""
    lacking = tuple(peers)
    packages = sorted({name for peer in lacking for name in peer.absent_packages})
    modules = sorted({name for peer in lacking for name in peer.absent_modules})
    commands = [f"apt-get install {' '.join(packages)}"] if packages else []
    if modules:
        commands.append(f"npm install --no-save --no-package-lock {' '.join(modules)}")
    return " && ".join(commands)


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
        sent, decoded = _opus_file(folder, signal, kbps), str(Path(folder, "out.wav"))
        _call("opusdec", "--quiet", "--float", "--rate", str(_OPUS_RATE), str(sent), decoded)
        sound, rate = soundfile.read(decoded, dtype="float32")
        packets = ogg_packets(sent.read_bytes())
    return CodedClip(sound, rate, 8 * sum(map(len, packets[_OPUS_HEADERS:])))


def opus_enhanced(signal: F32, kbps: int, enhancement: str = "nolace") -> CodedClip:
    """Code speech with Opus, at least 16 kHz wide, and decode it with an enhancement.

    Parameters
    ----------
    signal : ndarray of float32, shape (samples,)
        Speech at `RATE`.
    kbps : int
        The requested bit rate, kb/s.
    enhancement : str
        "nolace", or "none" for plain decoding by the same decoder.

    Notes
    -----
    NoLACE enhances wide-band speech only, which Opus does not choose below 9 kb/s; so that is
    forced.
    """
    with tempfile.TemporaryDirectory() as folder:
        sent = _opus_file(folder, signal, kbps, *_OPUS_WIDE)
        head, _, *packets = ogg_packets(sent.read_bytes())
    framed = b"".join(struct.pack("<H", len(packet)) + packet for packet in packets)
    decoded = _call("node", str(_NOLACE), str(_OPUS_RATE), enhancement, given=framed)
    (skipped,) = struct.unpack_from("<H", head, 10)
    first = skipped * _OPUS_RATE // _OPUS_CLOCK
    sound = np.frombuffer(decoded, "<f4")[first:][: signal.size * _OPUS_RATE // RATE]
    return CodedClip(sound.astype(np.float32), _OPUS_RATE, 8 * sum(map(len, packets)))


def _opus_file(folder: str, signal: F32, kbps: int, *options: str) -> Path:
    """Return the file of speech coded with Opus."""
    source, sent = Path(folder, "in.wav"), Path(folder, "sent.opus")
    soundfile.write(source, signal, RATE, "FLOAT")
    rate = "--bitrate", str(kbps)
    _call("opusenc", "--quiet", "--speech", *rate, *options, str(source), str(sent))
    return sent


def ogg_packets(stream: bytes) -> list[bytes]:
    """Return the packets of an Ogg stream (RFC 3533)."""
    packets, packet, at = [], b"", 0
    while at < len(stream):
        if stream[at : at + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {at}")
        lacing = stream[at + 27 : at + 27 + stream[at + 26]]
        at += 27 + len(lacing)
        for value in lacing:
            packet += stream[at : at + value]
            at += value
            if value < 255:
                packets.append(packet)
                packet = b""
    return packets


_OPUS = {"opusenc": "opus-tools", "opusdec": "opus-tools"}
_CODEC2 = {"c2enc": "codec2", "c2dec": "codec2"}
_ENHANCED = {"opusenc": "opus-tools", "node": "nodejs"}
PEERS = {
    "Opus 9 + NoLACE": Peer(_ENHANCED, lambda x: opus_enhanced(x, 9), {_OPUS_ML: "0.0.3"}),
    "Opus 6": Peer(_OPUS, lambda x: opus(x, 6)),
    "Codec2 1200": Peer(_CODEC2, lambda x: codec2(x, "1200")),
    "Codec2 700C": Peer(_CODEC2, lambda x: codec2(x, "700C")),
}


def _call(*command: str, given: bytes = b"") -> bytes:
    """Run a program on an input; return its output."""
    done = subprocess.run(
        command, input=given, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{command[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout
