"""Measure what `--dtx` saves and changes: bytes of silence, words, and steps of the level.

    python scripts/measure_pauses.py SOUND... [--model MODEL] [--words] [--json FILE]

Each SOUND is coded as it is, and with 3.5 s before and after it: digital silence, pink noise of a
quiet room (-62 dBFS), and pink noise 20 and 10 dB below the speech. A step is the difference of the
levels of two 20 ms windows of the decoded sound, the last before a switch and the first after it.
Levels below -85 dBFS count as -85. Without `--dtx` the step is that at the same place.

``--words`` compares the transcripts with and without `--dtx`. A recogniser changes words even where
the sound is 0.1 % louder. So the transcripts of that are compared as well, as a control.
"""

import os
import sys

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import io
import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soxr
from measure_quantisation import Facts, read_sound, table
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.tokens.comfort import ChunkDecoder
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.pauses import PauseFilter, Replaced, joined

F32: TypeAlias = NDArray[np.float32]

PADDING_SECONDS = 3.5
NOISES = {"silence": None, "quiet room": -62.0, "20 dB": 20.0, "10 dB": 10.0}
"""Noise by name: a level in dBFS, or how many dB the speech is louder."""
SILENCES = {"digital silence": None, "-80 dBFS": -80.0, "-60 dBFS": -60.0, "-40 dBFS": -40.0}
LONG_SECONDS, SHORT_SECONDS = 60, 20


def pink(n: int, seed: int) -> NDArray[np.float64]:
    """Return n samples of noise of level 1 whose power falls by 3 dB an octave."""
    rng = np.random.default_rng(seed)
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_IN)
    spectrum = rng.standard_normal(frequencies.size) + 1j * rng.standard_normal(frequencies.size)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 20)), n)
    return np.asarray(noise / noise.std())


def padded(sound: F32, name: str, seed: int) -> F32:
    """Return a sound between pauses, with noise all along."""
    n = round(PADDING_SECONDS * SAMPLE_RATE_IN)
    longer = np.pad(sound.astype(np.float64), n)
    decibels = NOISES[name]
    if decibels is None:
        return longer.astype(np.float32)
    level = 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))
    noise = decibels if decibels < 0 else level - decibels
    longer += pink(longer.size, seed) * 10 ** (noise / 20)
    return np.clip(longer, -1, 1).astype(np.float32)


def replaced(codec: fcs_edge.Codec, sound: F32, tokens: Any) -> Replaced:
    """Return the tokens of a sound with pauses replaced."""
    pauses, whole = PauseFilter(codec), sound.size // codec.chunk_size * codec.chunk_size
    n = whole // codec.samples_per_token
    parts = [pauses.push(sound[:whole], tokens[:n])]
    parts.append(pauses.push(sound[whole:], tokens[:0]))
    parts.append(pauses.flush(tokens[n:]))
    return joined(parts)


def file_bytes(codec: fcs_edge.Codec, result: Replaced, n_samples: int, dtx: bool) -> int:
    """Return the size of the bitstream."""
    file = io.BytesIO()
    writer = fcs_writer(file, codec, FcsOptions(dtx=dtx))
    writer.close(n_samples, result.tokens, result.pauses if dtx else None)
    return len(file.getvalue())


def levels(codec: fcs_edge.Codec, tokens: Any) -> NDArray[np.float64]:
    """Return the levels of the decoded windows of whole chunks in dB."""
    decoder, n = ChunkDecoder(codec), codec.chunk_tokens
    chunks = tokens[: tokens.size // n * n].reshape(-1, n)
    return np.concatenate([decoder.decode(chunk).levels for chunk in chunks])


def steps(codec: fcs_edge.Codec, result: Replaced, tokens: Any) -> tuple[list[float], list[float]]:
    """Return the steps of the level at each switch, with and without pauses replaced."""
    windows = codec.samples_out_per_token * 50 // codec.sample_rate_out
    switches = (np.flatnonzero(np.diff(result.pauses)) + 1) * windows
    both = []
    for coded in (result.tokens, tokens):
        level = levels(codec, coded)
        inside = switches[switches < level.size]
        both.append(np.abs(level[inside] - level[inside - 1]).tolist())
    return both[0], both[1]


def silences(codec: fcs_edge.Codec) -> list[Facts]:
    """Return bytes a second of a minute of silence, without and with pauses replaced."""
    rows = []
    for name, decibels in SILENCES.items():
        n = LONG_SECONDS * SAMPLE_RATE_IN
        noise = np.zeros(n) if decibels is None else pink(n, 1) * 10 ** (decibels / 20)
        row: Facts = {"silence": name}
        sizes: dict[tuple[int, bool], int] = {}
        for seconds in (SHORT_SECONDS, LONG_SECONDS):
            sound = noise[: seconds * SAMPLE_RATE_IN].astype(np.float32)
            tokens = codec.encode(sound)
            for dtx in (False, True):
                result = replaced(codec, sound, tokens) if dtx else Replaced(tokens, tokens < 0)
                sizes[seconds, dtx] = file_bytes(codec, result, sound.size, dtx)
        for dtx, heading in ((False, "without"), (True, "with")):
            more = sizes[LONG_SECONDS, dtx] - sizes[SHORT_SECONDS, dtx]
            row[f"{heading}, bytes/s"] = more / (LONG_SECONDS - SHORT_SECONDS)
            row[f"{heading}, bytes a minute"] = sizes[LONG_SECONDS, dtx]
        rows.append(row)
    return rows


def measure(codec: fcs_edge.Codec, sounds: list[F32], name: str | None, recogniser: Any) -> Facts:
    """Return a row of the table for sounds between pauses of a kind, or as they are."""
    row: Facts = {"pauses": name or "as it is", "clips": len(sounds), "clips_with": 0}
    shares, sizes = [], np.zeros(2)
    with_steps: list[float] = []
    without: list[float] = []
    counts = dict.fromkeys(("compared", "differ", "control"), 0)
    for seed, sound in enumerate(sounds):
        signal = sound if name is None else padded(sound, name, seed)
        tokens = codec.encode(signal)
        result = replaced(codec, signal, tokens)
        shares.append(result.pauses.mean())
        plain = Replaced(tokens, np.zeros(tokens.size, bool))
        sizes += [file_bytes(codec, r, signal.size, r is result) for r in (plain, result)]
        if not result.pauses.any():
            continue
        row["clips_with"] += 1
        for total, found in zip((with_steps, without), steps(codec, result, tokens), strict=True):
            total += found
        if recogniser is not None:
            texts = [recogniser(codec.decode(tokens))]
            texts += [recogniser(codec.decode(result.tokens))]
            texts += [recogniser(np.float32(1.001) * codec.decode(tokens))]
            counts["compared"] += 1
            counts["differ"] += texts[0] != texts[1]
            counts["control"] += texts[0] != texts[2]
    row |= {"share": float(np.mean(shares)), "bytes": int(sizes[0]), "bytes_dtx": int(sizes[1])}
    for heading, found in (("step", with_steps), ("step_without", without)):
        if found:
            row |= {f"{heading}_95": float(np.percentile(found, 95)), f"{heading}_max": max(found)}
            row[f"{heading}_over_3"] = sum(s > 3 for s in found)
    return row | {"switches": len(with_steps)} | (counts if recogniser is not None else {})


def main() -> None:
    """Measure, print Markdown and write JSON."""
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("sounds", nargs="+", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    codec = fcs_edge.load(args.model)
    if not (codec.encodes_streams and codec.decodes_streams):
        sys.exit(f"{codec.name} does not stream: this measures chunks of models that do")
    recogniser: Any = None
    if args.words:
        from train.evaluation.recogniser import Recogniser

        whisper, rate = Recogniser(), codec.sample_rate_out
        recogniser = lambda sound: whisper.transcribe(soxr.resample(sound, rate, SAMPLE_RATE_IN))  # noqa: E731
    rows = silences(codec)
    table(rows)
    facts: Facts = {"model": codec.name, "silence": rows, "pauses": []}
    sounds = [read_sound(path, None) for path in args.sounds]
    for name in (None, *NOISES):
        facts["pauses"].append(measure(codec, sounds, name, recogniser))
        table(facts["pauses"][-1:])
        if args.json:
            args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
