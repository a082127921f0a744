"""Measure a model file's newest prior: python -m train.evaluation.prior MODEL --set NAME=FOLDER."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr

import fcs_edge
from fcs_edge.bitstream.writer import BitstreamWriter
from fcs_edge.codec import Codec
from fcs_edge.convert import speech_tokens
from fcs_edge.convert.prior_network import SKIP_ONE, WEIGHT_ONE, Parameters, costs
from fcs_edge.convert.prior_training import block_inputs
from fcs_edge.entropy.prior import Prior
from fcs_edge.model.layers import F32, U16
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.tokens.fcs import header_of
from train.corpus.amazon_queen import spread_lines

_RESTARTS = (4, 12, 24, 50, 100, 200, 60_000)
_BLOCK = 100
_SECONDS = (3, 10, 60)


@click.command()
@click.argument("model")
@click.option("--set", "sets", multiple=True, metavar="NAME=FOLDER", help="Sounds; repeatable.")
@click.option("--queen", default=0, help="So many lines of Flight of the Amazon Queen too.")
def main(model: str, sets: tuple[str, ...], queen: int) -> None:
    """Print what tokens of sounds take: ideal, coded, by restarts, and on disk by length."""
    codec = fcs_edge.load(model)
    prior = codec.prior
    if prior is None:
        raise click.ClickException(f"{model} has no prior")
    named = {}
    for text in sets:
        name, _, folder = text.partition("=")
        files = filter(speech_tokens.is_sound, speech_tokens.find([Path(folder)]))
        named[name] = [_tokens(codec, *_read(path)) for path in files]
    if queen:
        named["queen"] = [_tokens(codec, *line) for line in spread_lines(queen)]
    used = _floats(prior)
    print("set: tokens; bits a token, ideal/coded, with a restart each so many tokens")
    for name, recordings in named.items():
        cells = [
            f"{block}: {_ideal(used, recordings, prior.bits, block):.3f}/"
            f"{_coded(prior, recordings, block):.3f}"
            for block in _RESTARTS
        ]
        print(f"{name}: {sum(map(len, recordings))}; {', '.join(cells)}")
    for seconds in _SECONDS:
        rates = {name: _rates(codec, prior, rows, seconds) for name, rows in named.items()}
        all_rates = [rate for found in rates.values() for rate in found]
        cells = [
            f"{name} {np.mean(found):.4f} ({len(found)})" for name, found in rates.items() if found
        ]
        print(
            f"kbps on disk, pieces of {seconds} s: {np.mean(all_rates):.4f} "
            f"(sd {np.std(all_rates):.4f}, worst {max(all_rates):.4f}); {', '.join(cells)}"
        )


def _read(path: Path) -> tuple[F32, int]:
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return sound.mean(axis=1), rate


def _tokens(codec: Codec, sound: F32, rate: int) -> U16:
    return codec.encode(soxr.resample(sound, rate, SAMPLE_RATE_IN, "VHQ"))


def _floats(prior: Prior) -> Parameters:
    ones = [SKIP_ONE if "skip" in name else WEIGHT_ONE for name, _ in prior.arrays()]
    arrays = [array for _, array in prior.arrays()]
    return Parameters(*(np.float32(a / one) for a, one in zip(arrays, ones, strict=True)))


def _ideal(used: Parameters, recordings: list[U16], bits: int, block: int) -> float:
    return float(np.mean(costs(used, *block_inputs(recordings, bits, block))))


def _coded(prior: Prior, recordings: list[U16], block: int) -> float:
    coder = prior.coder()
    n_bytes = sum(len(coder.encode(part)) for part in _parts(recordings, block))
    return 8 * n_bytes / sum(map(len, recordings))


def _parts(recordings: list[U16], length: int) -> Iterator[U16]:
    for tokens in recordings:
        yield from (tokens[at : at + length] for at in range(0, len(tokens), length))


def _rates(codec: Codec, prior: Prior, recordings: list[U16], seconds: int) -> list[float]:
    """Return kilobits a second of files of a set's speech, one piece after the other."""
    length = round(seconds * codec.token_rate)
    whole = np.concatenate(recordings)
    found = []
    for part in _parts([whole], length):
        if len(part) < length:
            break
        file = io.BytesIO()
        coder = prior.coder()
        writer = BitstreamWriter(file, header_of(codec), block_tokens=_BLOCK, coder=coder)
        writer.write(part)
        writer.close(length * codec.samples_per_token)
        found.append(8 * len(file.getvalue()) / (1000 * seconds))
    return found


if __name__ == "__main__":
    main()
