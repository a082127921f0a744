"""Compare methods of concealing lost chunks, and with `--words` how well words are recognised.

    python scripts/measure_concealment.py SOUND... [--model MODEL] [--seeds N] [--words] [--json F]

Chunks are lost at random, or in bursts of three on average (Gilbert-Elliott model). Each method
gets the same losses. PESQ (wide band), STOI and the distance of mel bands compare with the same
model's output of all chunks. ``--words`` adds WER, PESQ and STOI against the uncoded sound, for the
losses of the first seed. It takes the words of SOUND from a .txt file beside it, or from Whisper's
transcript of the uncoded sound.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import soundfile
import soxr
from measure_quantisation import (
    METRIC_PACKAGES,
    Arrays,
    Facts,
    looping,
    mel_distance,
    read_sound,
    score,
    table,
)
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.errors import FcsError
from fcs_edge.link.conceal import RAMP_SECONDS, Concealer
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.streams.resumable import write_history
from fcs_edge.streams.steps import DecoderSteps

F32: TypeAlias = NDArray[np.float32]
Lost: TypeAlias = NDArray[np.bool_]
Held: TypeAlias = Literal["chunk", "token", "chunk features", "frame"]

RATES = (0.01, 0.05, 0.1, 0.2)
BURST_CHUNKS = 3
SCORES = ("pesq", "stoi", "mel_db")
_STEP_SECONDS = 0.005


class StageDecoder:
    """A stream decoder whose features can be read and replaced; it decodes as the codec's does."""

    def __init__(self, codec: fcs_edge.Codec) -> None:
        self._codec, stages = codec, codec._stages
        self._steps = DecoderSteps(codec._config, stages.decompressor, stages.decoder)
        self.state = self._steps.state(1)
        self.state.reset()

    def step(self, tokens: NDArray[np.uint16], samples: F32) -> None:
        """Write the samples of a chunk."""
        self._steps(tokens, samples, self.state)

    def step_with_features(self, tokens: NDArray[np.uint16], features: F32, samples: F32) -> None:
        """Write the samples of other features; the decompressor still takes the tokens."""
        self._steps.first(tokens, samples, self.state)
        self._steps.decoder(features, samples, self.state.decoder)

    def copy(self) -> "StageDecoder":
        """Return an independent decoder that continues from this point."""
        other = StageDecoder(self._codec)
        write_history(other.state.history(), self.state.history())
        return other


class Receiver:
    """A receiver with one of the compared methods of concealment; see also `Concealer`.

    Parameters
    ----------
    codec : fcs_edge.Codec
        The model.
    held : str
        What is decoded again: the last chunk's tokens, its last token, the features of the last
        chunk, or those of its last frame. With features the decompressor still takes the last
        tokens.
    restore : bool
        Whether decoding continues from the state before the loss.
    level : callable
        Chunks since the loss began, (n,) float64, to levels in [0, 1].
    """

    def __init__(
        self,
        codec: fcs_edge.Codec,
        held: Held,
        restore: bool = False,
        level: Callable[[Any], Any] = np.ones_like,
    ) -> None:
        self._codec, self._held, self._restore, self._level_of = codec, held, restore, level
        self._decoder = self._before = StageDecoder(codec)
        self._size = codec.chunk_tokens * codec.samples_out_per_token
        self._tokens, self._features = np.zeros(0, np.uint16), np.zeros(0, np.float32)
        self._lost, self._level, self._last = 0, 1.0, 0.0

    def play(self, tokens: NDArray[np.uint16]) -> F32:
        """Decode a received chunk."""
        decoder, rate = self._before, self._codec.sample_rate_out
        samples = np.empty(self._size, np.float32)
        decoder.step(tokens, samples)
        if self._lost:
            n = round(RAMP_SECONDS * rate)
            samples[:n] *= self._level + (1 - self._level) * np.arange(n) / n
        if self._lost and self._restore:
            n = round(_STEP_SECONDS * rate)
            samples[:n] += (self._last - samples[0]) * (1 + np.cos(np.pi * np.arange(n) / n)) / 2
        self._decoder, self._lost, self._level = decoder, 0, 1.0
        self._tokens, self._features = tokens, decoder.state.features.copy()
        return samples

    def conceal(self) -> F32:
        """Return the samples that replace a lost chunk."""
        samples = np.zeros(self._size, np.float32)
        if not self._tokens.size:
            return samples
        if self._restore and not self._lost:
            self._decoder = self._before.copy()
        tokens = self._tokens
        if self._held == "token":
            tokens = np.full_like(tokens, tokens[-1])
        if self._held in ("chunk", "token"):
            self._decoder.step(tokens, samples)
        else:
            features = self._features
            if self._held == "frame":
                features = np.tile(features[-1], (features.shape[0], 1))
            self._decoder.step_with_features(tokens, features, samples)
        level = self._level_of(self._lost + np.arange(1, self._size + 1) / self._size)
        samples *= level
        self._lost, self._level, self._last = self._lost + 1, level[-1], samples[-1]
        return samples


def falling(full: float, fade: float) -> Callable[[Any], Any]:
    """Return a level that is 1 for `full` chunks and falls linearly to 0 over `fade` chunks."""
    return lambda chunks: np.clip(1 - (chunks - full) / fade, 0, 1)


METHODS: dict[str, Callable[[fcs_edge.Codec], Receiver | Concealer]] = {
    "silence": lambda codec: Receiver(
        codec, "chunk", level=falling(0, RAMP_SECONDS / codec.latency)
    ),
    "chunk": lambda codec: Receiver(codec, "chunk"),
    "chunk features": lambda codec: Receiver(codec, "chunk features"),
    "frame": lambda codec: Receiver(codec, "frame"),
    "token": lambda codec: Receiver(codec, "token"),
    "token, restored": lambda codec: Receiver(codec, "token", restore=True),
    "token, fast fade": lambda codec: Receiver(codec, "token", level=falling(1, 2)),
    "token, slow fade": Concealer,
}
"""Methods of concealment by name; fcs-edge uses the last one."""


def losses(kind: str, rate: float, chunks: int, rng: np.random.Generator) -> Lost:
    """Return which chunks are lost, (chunks,) bool."""
    draws = rng.random(chunks)
    if kind == "random":
        return draws < rate
    lost = np.zeros(chunks, np.bool_)
    end = 1 / BURST_CHUNKS
    lost[0] = draws[0] < rate
    for i in range(1, chunks):
        lost[i] = draws[i] < (1 - end if lost[i - 1] else rate * end / (1 - rate))
    return lost


def receive(receiver: Receiver | Concealer, tokens: NDArray[Any], lost: Lost) -> F32:
    """Return the output of a stream, (samples,) float32."""
    chunks = tokens.reshape(lost.size, -1)
    parts = [
        receiver.conceal() if is_lost else receiver.play(chunks[i])
        for i, is_lost in enumerate(lost)
    ]
    return np.concatenate(parts)


def compare(output: F32, reference: F32, rate: int) -> list[float]:
    """Return PESQ, STOI and the mel distance in dB of an output to that of all chunks."""
    from pesq import pesq
    from pystoi import stoi

    x, y = (soxr.resample(signal, rate, SAMPLE_RATE_IN) for signal in (output, reference))
    scores = [pesq(SAMPLE_RATE_IN, y, x, "wb"), stoi(y, x, SAMPLE_RATE_IN)]
    return [*map(float, scores), mel_distance([output], [reference], rate)]


def measure(codec: fcs_edge.Codec, tokens: Arrays, seeds: int) -> tuple[Facts, dict[str, Arrays]]:
    """Return scores by condition and method, (seeds * clips, 3), and the first seed's outputs."""
    references = [codec.decode(t) for t in tokens]
    scores: Facts = {}
    first: dict[str, Arrays] = {"none lost": references}
    for kind in ("random", "bursts"):
        for rate in RATES:
            by_method = scores[f"{kind}, {rate:.0%}"] = {name: [] for name in METHODS}
            for seed in range(seeds):
                for clip, clip_tokens in enumerate(tokens):
                    rng = np.random.default_rng([seed, clip])
                    lost = losses(kind, rate, clip_tokens.size // codec.chunk_tokens, rng)
                    for name, method in METHODS.items():
                        output = receive(method(codec), clip_tokens, lost)
                        by_method[name].append(
                            compare(output, references[clip], codec.sample_rate_out)
                        )
                        if not seed:
                            first.setdefault(f"{kind}, {rate:.0%}: {name}", []).append(output)
    return scores, first


def spread(values: Any) -> str:
    """Return the mean and its standard error."""
    x = np.asarray(values)
    return f"{x.mean():.3f} ± {x.std() / max(1, x.size - 1) ** 0.5:.3f}"


def show(scores: Facts) -> None:
    """Print a table a score, and one of differences from the last method over all conditions."""
    for i, metric in enumerate(SCORES):
        print(f"{metric} against the output of all chunks: mean and standard error\n")
        table(
            [
                {"lost": condition}
                | {name: spread(np.array(x)[:, i]) for name, x in by_method.items()}
                for condition, by_method in scores.items()
            ]
        )
    every = {
        name: np.concatenate([by_method[name] for by_method in scores.values()]) for name in METHODS
    }
    own = every[list(METHODS)[-1]]
    print(f"Difference from {list(METHODS)[-1]!r}, paired, over all of these\n")
    table(
        [
            {"method": name} | {s: spread((x - own)[:, i]) for i, s in enumerate(SCORES)}
            for name, x in every.items()
        ]
    )


def show_words(scores: Facts) -> None:
    """Print pooled WER, and mean PESQ and STOI, against the uncoded sound and its words."""
    rows = [
        {"sound": name, "wer": facts["wer"], "looping_clips": looping(facts)}
        | {key: np.mean(facts[key]) for key in ("pesq", "stoi")}
        for name, facts in scores.items()
        if name != "words"
    ]
    print("Against the uncoded sound and its words\n")
    table(rows)


def main() -> None:
    """Measure, print Markdown and write JSON."""
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("sounds", nargs="+", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    needed = METRIC_PACKAGES if args.words else ("pesq", "pystoi")
    missing = [p for p in needed if not importlib.util.find_spec(p.replace("-", "_"))]
    if missing:
        sys.exit(f"not installed; pip install {' '.join(missing)}")
    try:
        codec = fcs_edge.load(args.model)
        if not (codec.encodes_streams and codec.decodes_streams):
            sys.exit(f"{codec.name} does not stream: this measures chunks of models that do")
        signals: Arrays = [read_sound(path, None) for path in args.sounds]
    except (FcsError, OSError, soundfile.LibsndfileError) as error:
        sys.exit(str(error))
    n = codec.chunk_tokens
    tokens: Arrays = [x[: x.size // n * n] for x in map(codec.encode, signals)]
    scores, sounds = measure(codec, tokens, args.seeds)
    seconds = sum(x.size for x in signals) / SAMPLE_RATE_IN
    print(f"{codec.name}: {seconds:.1f} s of sound, {args.seeds} seeds\n")
    show(scores)
    facts: Facts = {"model": codec.name, "seconds": seconds, "seeds": args.seeds, "scores": scores}
    if args.words:
        files = [path.with_suffix(".txt") for path in args.sounds]
        texts = [file.read_text() if file.is_file() else None for file in files]
        facts["metrics"] = score(signals, texts, sounds, codec.sample_rate_out)
        show_words(facts["metrics"])
    if args.json:
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
