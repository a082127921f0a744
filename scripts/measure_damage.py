"""What bit errors cost: `.fcs` files of several kinds, and Codec2, at the same errors.

    python scripts/measure_damage.py SOUND... [--model MODEL] [--seeds N] [--words] [--json FILE]

Bits of the coded files flip at random, or in bursts: 32 bytes of noise, on average once in 1,000
bytes. Each kind of file gets the same errors for each seed. The table has, in percent: the sound
that is lost (silence), tokens that are played wrongly, and files of which nothing is left. STOI
compares with the uncoded sound, at 16 kHz. ``--words`` adds the share of words that Whisper
recognises wrongly. Codec2 has no check: it plays whatever arrives, and loses no time.

It needs pystoi, soundfile, soxr and Debian's codec2; ``--words`` needs what
train/evaluation needs.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import soundfile
import soxr
from measure_quantisation import table
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.bitstream import BitstreamReader, BitstreamWriter, Damage, Tokens
from fcs_edge.bitstream.protection import ProtectedWriter
from fcs_edge.bitstream.reader import read_batches
from fcs_edge.codec import Codec
from fcs_edge.errors import FcsError
from fcs_edge.tokens.event_decoder import EventDecoder
from fcs_edge.tokens.fcs import PriorCoders, header_of
from train.evaluation import metrics

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]

RATES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2)
BURST = 0.0
"""Stands for bursts among the rates."""
_BURST_BYTES, _BURST_EVERY = 32, 1000
_CODEC2_MODE, _CODEC2_RATE = "1200", 8000


class Decoded(NamedTuple):
    """What a damaged file gives."""

    sound: F32
    rate: int
    lost: float
    """Share of the sound that is silence."""
    wrong: float | None
    """Share of tokens that are played and differ; None where there are no tokens."""


class Kind(NamedTuple):
    """A kind of file: how it is written, and how a damaged one is decoded."""

    name: str
    write: Callable[[F32], bytes]
    decode: Callable[[bytes, F32], Decoded]


def flipped(data: bytes, rate: float, rng: np.random.Generator) -> bytes:
    """Return bytes with bits flipped at random at a rate, or with bursts of noise."""
    array = np.frombuffer(data, np.uint8).copy()
    if rate == BURST:
        for start in np.flatnonzero(rng.random(array.size) < 1 / _BURST_EVERY):
            part = array[start : start + _BURST_BYTES]
            part[:] = rng.integers(0, 256, part.size)
    else:
        array = array ^ np.packbits(rng.random(8 * array.size) < rate)
    return bytes(array)


def fcs_kind(
    name: str,
    codec: Codec,
    *,
    seconds: float = 2.0,
    raw: bool = False,
    salvage: bool = False,
    share: float = 0.0,
) -> Kind:
    """Return a kind of `.fcs` file."""
    tokens_of: dict[int, U16] = {}

    def write(sound: F32) -> bytes:
        tokens = tokens_of[sound.size] = codec.encode(sound)
        file = io.BytesIO()
        out: Any = ProtectedWriter(file, share) if share else file
        coder = None if raw or codec.prior is None else codec.prior.coder()
        n_block = round(seconds * codec.token_rate)
        header = header_of(codec)
        writer = BitstreamWriter(out, header, block_tokens=n_block, coder=coder, raw=raw)
        writer.write(tokens)
        writer.close(sound.size)
        if share:
            out.close()
        return bytes(file.getvalue())

    def decode(data: bytes, sound: F32) -> Decoded:
        return _decoded(data, codec, tokens_of[sound.size], sound.size, salvage)

    return Kind(name, write, decode)


def _decoded(data: bytes, codec: Codec, tokens: U16, n_samples: int, salvage: bool) -> Decoded:
    """Decode a damaged file, and compare its tokens by their place in time."""
    reader = BitstreamReader(salvage=salvage, join=header_of(codec), coders=PriorCoders(codec))
    length = codec.output_length(n_samples)
    rate = codec.sample_rate_out
    try:
        batches = list(read_batches(io.BytesIO(data), reader))
        decoder = EventDecoder(codec, lambda text: None)
        blocks = [block for events in batches for block in decoder.decode(events)]
        blocks += decoder.close()
    except FcsError:
        return Decoded(np.zeros(length, np.float32), rate, 1.0, 0.0)
    played = np.full(tokens.size, -1, np.int64)
    at = 0
    for event in (event for events in batches for event in events):
        if isinstance(event, Damage):
            at += event.n_tokens
        elif isinstance(event, Tokens):
            part = event.tokens[: max(0, tokens.size - at)]
            played[at : at + part.size] = part
            at += event.tokens.size
    sound = np.concatenate([*blocks, np.zeros(length, np.float32)])[:length]
    wrong = (played >= 0) & (played != tokens)
    return Decoded(sound, rate, float((played < 0).mean()), float(wrong.mean()))


def codec2_kind() -> Kind:
    """Return Codec2 at 1200 bit/s."""

    def write(sound: F32) -> bytes:
        narrow = soxr.resample(sound, metrics.RATE, _CODEC2_RATE, quality="VHQ")
        return _piped("c2enc", np.rint(np.clip(narrow, -1, 1) * 32767).astype("<i2").tobytes())

    def decode(data: bytes, sound: F32) -> Decoded:
        samples = np.frombuffer(_piped("c2dec", data), "<i2")
        return Decoded((samples / 32768).astype(np.float32), _CODEC2_RATE, 0.0, None)

    return Kind("Codec2 1200", write, decode)


def _piped(program: str, data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(data)
        subprocess.run([program, _CODEC2_MODE, source, out], check=True, capture_output=True)
        return out.read_bytes()


def stoi_of(sound: F32, decoded: Decoded, lag: int) -> float:
    """Return STOI of a decoded sound, moved by a known lag."""
    from pystoi import stoi

    clean, coded = metrics.align(sound, metrics.resample(decoded.sound, decoded.rate), lag)
    return float(stoi(clean, coded, metrics.RATE))


def rows_of(kind: Kind, sounds: list[F32], seeds: int, recognise: Any) -> list[dict[str, Any]]:
    """Return the table's rows of a kind of file."""
    files = [kind.write(sound) for sound in sounds]
    whole = [kind.decode(file, sound) for file, sound in zip(files, sounds, strict=True)]
    lag = metrics.delay(sounds, [metrics.resample(d.sound, d.rate) for d in whole])
    bitrate = 8 * sum(map(len, files)) / sum(sound.size / metrics.RATE for sound in sounds)
    rows = []
    for rate in (*RATES, BURST):
        results, scores, hypotheses = [], [], []
        for seed in range(seeds):
            rng = np.random.default_rng([seed, round(1e9 * rate)])
            for file, sound in zip(files, sounds, strict=True):
                result = kind.decode(flipped(file, rate, rng), sound)
                results.append(result)
                scores.append(stoi_of(sound, result, lag))
                if recognise is not None and seed == 0:
                    hypotheses.append(metrics.resample(result.sound, result.rate))
        wrong = [r.wrong for r in results if r.wrong is not None]
        rows.append(
            {
                "errors": "bursts" if rate == BURST else f"{rate:g}",
                "kind": kind.name,
                "bit/s": round(bitrate),
                "lost_%": 100 * float(np.mean([r.lost for r in results])),
                "wrong_%": 100 * float(np.mean(wrong)) if wrong else None,
                "nothing_left_%": 100 * float(np.mean([r.lost == 1 for r in results])),
                "stoi": float(np.mean(scores)),
            }
            | ({"wer_%": recognise(hypotheses)} if recognise is not None else {})
        )
    return rows


def word_errors(sounds: list[F32]) -> Callable[[list[F32]], float]:
    """Return what gives the share of words that differ from those of the uncoded sounds, in %."""
    from train.evaluation.recogniser import Recogniser
    from train.evaluation.wer import pooled_wer

    recogniser = Recogniser()
    words = [recogniser.transcribe(sound) for sound in sounds]

    def rate(decoded: list[F32]) -> float:
        return 100 * (pooled_wer(words, [recogniser.transcribe(d) for d in decoded]).rate or 0.0)

    return rate


def read(path: Path) -> F32:
    """Return a sound file as one channel at 16 kHz."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return metrics.resample(sound.mean(axis=1), rate)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sounds", nargs="+", type=Path, metavar="SOUND")
    parser.add_argument("--model")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    codec = fcs_edge.load(args.model)
    sounds = [read(path) for path in args.sounds]
    recognise = word_errors(sounds) if args.words else None
    kinds = [
        fcs_kind("default", codec),
        fcs_kind("--block 1", codec, seconds=1),
        fcs_kind("--raw-tokens", codec, raw=True),
        fcs_kind("--raw-tokens, --salvage", codec, raw=True, salvage=True),
        fcs_kind("--fec 25%", codec, share=0.25),
        codec2_kind(),
    ]
    rows = [row for kind in kinds for row in rows_of(kind, sounds, args.seeds, recognise)]
    rows.sort(key=lambda row: [*(f"{rate:g}" for rate in RATES), "bursts"].index(row["errors"]))
    table(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
