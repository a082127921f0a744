"""Sizes of `.fcs` files: clips of 3, 10 and 60 s, and silence, beside Codec2 and Opus.

    python scripts/measure_sizes.py SOUND... [--queen LINES] [--model MODEL] [--json FILE]

The sounds are joined and cut into pieces of each length. A file holds everything: header, blocks of
1, 2 and 4 s, checks and end. Rates are means over the pieces, in kbit/s; the last column is that of
the longest file. Files of 11 and 12 bits a token are raw, so their sizes need no such model.

A second table has the bits of a token by the length of blocks, without framing, a third the files
of ten seconds of silence. Codec2's programs pad frames of 700C to whole bytes.

``--queen`` adds lines of Debian's flight-of-the-amazon-queen. It needs soundfile, soxr and Debian's
codec2 and opus-tools.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import subprocess
import tempfile
from collections.abc import Callable
from itertools import starmap
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import soxr
from measure_quantisation import table
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream import BitstreamWriter
from fcs_edge.codec import Codec
from fcs_edge.entropy import neutral_coder
from fcs_edge.tokens.fcs import fcs_writer, header_of
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.sound_writer import PausingWriter
from train.corpus import amazon_queen

F32: TypeAlias = NDArray[np.float32]
U16: TypeAlias = NDArray[np.uint16]
Facts: TypeAlias = dict[str, Any]

SECONDS = (3, 10, 60)
BLOCKS = (1.0, 2.0, 4.0)
_RATE = 16000
_CODEC2_RATE = 8000


def read(path: Path) -> F32:
    """Return a sound file as one channel at 16 kHz."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resampled(sound.mean(axis=1), rate)


def resampled(sound: F32, rate: int) -> F32:
    """Return a sound at 16 kHz."""
    return np.asarray(soxr.resample(sound, rate, _RATE, quality="VHQ"))


def pieces(sound: F32, seconds: int) -> list[F32]:
    """Cut a sound into whole pieces."""
    size = seconds * _RATE
    return [sound[start : start + size] for start in range(0, sound.size - size + 1, size)]


def file_size(
    codec: Codec, tokens: U16, n_samples: int, block: float, coding: str = "prior", bits: int = 0
) -> int:
    """Return the bytes of a `.fcs` file of tokens, which have `bits` if that is not 0."""
    file = io.BytesIO()
    prior = codec.prior if coding == "prior" else None
    header = header_of(codec, coded=prior is not None)
    if bits:
        header = dataclasses.replace(header, bits=bits)
    writer = BitstreamWriter(
        file,
        header,
        block_tokens=round(block * codec.token_rate),
        coder=None if prior is None else prior.coder(),
        raw=coding == "raw",
    )
    writer.write(tokens)
    writer.close(n_samples)
    return len(file.getvalue())


def codings(codec: Codec) -> list[str]:
    """Return how tokens may be stored."""
    return ["raw", "neutral"] if codec.prior is None else ["raw", "neutral", "prior"]


def size_rows(codec: Codec, sound: F32) -> list[Facts]:
    """Return the table of sizes."""
    rows = []
    for seconds in SECONDS:
        parts = pieces(sound, seconds)
        if not parts:
            continue
        tokens = [codec.encode(part) for part in parts]
        for coding in codings(codec):
            for block in BLOCKS:
                sizes = [
                    file_size(codec, array, part.size, block, coding)
                    for array, part in zip(tokens, parts, strict=True)
                ]
                name = f"{codec.bits_per_token} bits, {coding}, `--block {block:g}`"
                rows.append(_row(name, seconds, sizes))
        for bits in (12, 11):
            size = file_size(
                codec, np.zeros(tokens[0].size, np.uint16), parts[0].size, 2.0, "raw", bits
            )
            rows.append(_row(f"{bits} bits, raw, `--block 2`", seconds, [size]))
        for name, peer in peers().items():
            rows.append(_row(name, seconds, [peer(part) for part in parts]))
    return rows


def _row(name: str, seconds: int, sizes: list[int]) -> Facts:
    mean = float(np.mean(sizes))
    return {
        "file": name,
        "s": str(seconds),
        "pieces": str(len(sizes)),
        "bytes": f"{mean:.0f}",
        "kbit/s": 8e-3 * mean / seconds,
        "worst": 8e-3 * max(sizes) / seconds,
    }


def loss_rows(codec: Codec, sound: F32) -> list[Facts]:
    """Return what each part of the coding costs, in bits a token."""
    tokens = codec.encode(sound)
    coders = {"neutral": neutral_coder(codec.bits_per_token)}
    if codec.prior is not None:
        coders["prior"] = codec.prior.coder()
    rows = []
    for seconds in (0.24, 0.48, 1.0, 2.0, 4.0, 20.0):
        n = round(seconds * codec.token_rate)
        row: Facts = {"block_s": f"{seconds:g}"}
        for name, coder in coders.items():
            coded = sum(len(coder.encode(tokens[i : i + n])) for i in range(0, tokens.size, n))
            row[f"{name}, bits a token"] = 8 * coded / tokens.size
        rows.append(row)
    return rows


def peers() -> dict[str, Callable[[F32], int]]:
    """Return the other codecs: from a sound to the bytes of its file."""
    return {
        "Codec2 700C": lambda x: _codec2(x, "700C"),
        "Codec2 1200": lambda x: _codec2(x, "1200"),
        "Codec2 3200": lambda x: _codec2(x, "3200"),
        "Opus 6, opusenc": _opus,
    }


def _codec2(sound: F32, mode: str) -> int:
    narrow = np.clip(soxr.resample(sound, _RATE, _CODEC2_RATE, quality="VHQ"), -1, 1)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.raw"), Path(folder, "out.bit")
        np.rint(narrow * 32767).astype("<i2").tofile(source)
        subprocess.run(["c2enc", mode, source, out], check=True, capture_output=True)
        return out.stat().st_size


def _opus(sound: F32) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.wav"), Path(folder, "out.opus")
        soundfile.write(source, sound, _RATE, "PCM_16")
        command = ["opusenc", "--quiet", "--bitrate", "6", str(source), str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return out.stat().st_size


def silence_rows(codec: Codec) -> list[Facts]:
    """Return the sizes of ten seconds without speech."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(10 * _RATE)
    rows = []
    for name, level in (("zeros", None), ("noise, -80 dBFS", -80), ("noise, -60 dBFS", -60)):
        sound = np.zeros(noise.size, np.float32)
        if level is not None:
            sound = (10 ** (level / 20) * noise).astype(np.float32)
        tokens = codec.encode(sound)
        row: Facts = {"10 s of": name}
        for coding in codings(codec):
            row[coding] = str(file_size(codec, tokens, sound.size, 2.0, coding))
        row["`--dtx`"] = str(_paused_size(codec, sound, tokens))
        rows.append(row)
    return rows


def _paused_size(codec: Codec, sound: F32, tokens: U16) -> int:
    file = io.BytesIO()
    writer = PausingWriter(fcs_writer(file, codec, FcsOptions(dtx=True)), codec)
    size = codec.chunk_tokens
    for start in range(0, tokens.size, size):
        first = start * codec.samples_per_token
        part = sound[first : first + size * codec.samples_per_token]
        writer.write(part, tokens[start : start + size])
    writer.close(sound.size)
    return len(file.getvalue())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sounds", nargs="+", type=Path, metavar="SOUND")
    parser.add_argument("--queen", type=int, default=0, metavar="LINES")
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    codec = fcs_edge.load(args.model)
    sounds = [read(path) for path in args.sounds]
    if args.queen:
        sounds += list(starmap(resampled, amazon_queen.spread_lines(args.queen)))
    sound = np.concatenate(sounds)
    results = {
        "sizes": size_rows(codec, sound),
        "coding": loss_rows(codec, sound),
        "silence": silence_rows(codec),
    }
    for rows in results.values():
        table(rows)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
