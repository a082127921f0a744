"""Measure the README's table of models: size and real-time factor of each kind of weights.

    python scripts/model_table.py [NAME ...] [--like] [--kinds int8 ...] [--keep FOLDER] [--memory]

NAME is a published model, such as focalcodec_25hz, or edge-65k; without one, all are measured. The
published ones get their configuration and seeded random weights: what a model costs does not depend
on the values. ``--keep`` leaves the model files in a folder, where the next run finds them. The
three causal ones differ by the bits of a token only, so that ``--like`` measures the one of 12 bits
for all three.

A real-time factor is the time to encode and decode, over the duration of the sound. It is that of
live sound, chunk by chunk, for a causal model, and of ``--sound`` seconds at once for another.
``--memory`` adds the peak memory. Compile the kernels first: ``fcs-edge warmup --all``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from make_checkpoint import make
from safetensors.numpy import save_file

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig
from fcs_edge.modelfile.model_file import SCHEMES
from fcs_edge.modelfile.tensor_layout import tensor_shapes

Facts = dict[str, Any]
BUILT_IN = "edge-65k"
_ALONE = 0.97
"""The share of a core's time that a measurement needs."""


class Row(NamedTuple):
    """A model of the table, measured."""

    name: str
    config: CodecConfig
    runs: dict[str, Facts]
    """What ``fcs-edge bench --json`` says, by kind of weights."""


def causal(bits: int) -> Facts:
    """Return the configuration of a published causal model: the reference's defaults."""
    parts = ("encoder", "compressor", "decompressor", "decoder")
    config: Facts = {f"{part}_config": {"causal": True} for part in parts}
    config["compressor_config"]["output_dim"] = config["decompressor_config"]["input_dim"] = bits
    config["quantizer_config"] = {"codebook_size": 1 << bits}
    return config


def whole(down: list[int], up: list[int]) -> Facts:
    """Return the configuration of a published model that needs the whole sound."""
    focal = {"focal_window": 7, "focal_level": 2, "focal_factor": 2}
    widths = [1024, 512, 256]
    return {
        "compressor_config": {
            **{"output_dim": 13, "hidden_dims": widths, "downscale_factors": down},
            **focal,
        },
        "quantizer_config": {"codebook_size": 1 << 13},
        "decompressor_config": {
            **{"input_dim": 13, "hidden_dims": widths[::-1], "upscale_factors": up},
            **focal,
        },
        "decoder_name": "Vocos",
        "decoder_config": {"n_fft": 1024, "hop_length": 320},
    }


PUBLISHED: dict[str, Facts] = {
    "focalcodec_50hz_2k_causal": causal(11),
    "focalcodec_50hz_4k_causal": causal(12),
    "focalcodec_50hz_65k_causal": causal(16),
    "focalcodec_50hz": whole([1, 1, 1], [1, 1, 1]),
    "focalcodec_25hz": whole([2, 1, 1], [1, 1, 2]),
    "focalcodec_12_5hz": whole([2, 2, 1], [1, 2, 2]),
}
LIKE = "focalcodec_50hz_4k_causal"


def model_file(name: str, kind: str, folder: Path) -> Path:
    """Return the model file of a kind of weights; write it where the folder lacks it."""
    path, floats = (folder / f"{name}-{scheme}.safetensors" for scheme in (kind, "f32"))
    if not floats.exists():
        with tempfile.TemporaryDirectory(dir=folder) as checkpoint:
            write_checkpoint(PUBLISHED[name], Path(checkpoint))
            convert(checkpoint, floats, name, "f32")
    if not path.exists():
        convert(floats, path, name, kind)
    return path


def write_checkpoint(raw: Facts, folder: Path) -> None:
    """Write a checkpoint of random float32 weights."""
    shapes = tensor_shapes(config_json.from_dict(raw))
    params = {name: list(shape) for name, shape in shapes.items()}
    (folder / "config.json").write_text(json.dumps(raw))
    save_file(make({"seed": 0, "params": params}), folder / "model.safetensors")


def bench(model: str | Path, seconds: float, sound: float | None) -> Facts:
    """Return the run of ``fcs-edge bench``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "fcs_edge.cli", "bench", "--model", str(model), "--quiet"]
        command += ["--seconds", f"{seconds:g}", "--json", str(out)]
        command += [] if sound is None else ["--sound", f"{sound:g}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        run: Facts = json.loads(out.read_text())["runs"][0]
    if run["cpu_share"] < _ALONE:
        taken = f"{1 - run['cpu_share']:.0%}"
        print(f"{model}: other programs took {taken} of the time; repeat it", file=sys.stderr)
    # The times of chunks are thousands of numbers.
    for facts in run["modes"].values():
        for key in [key for key, value in facts.items() if isinstance(value, list)]:
            del facts[key]
    return run


def measure(name: str, kinds: list[str], folder: Path, seconds: float, sound: float) -> Row:
    """Measure a model with each kind of weights that it has."""
    if name == BUILT_IN:
        model = fcs_edge.load(name).model
        return Row(name, model.config, {model.scheme: bench(name, seconds, None)})
    config = config_json.from_dict(PUBLISHED[name])
    of_sound = None if config.is_causal else sound
    runs = {kind: bench(model_file(name, kind, folder), seconds, of_sound) for kind in kinds}
    return Row(name, config, runs)


def table(rows: list[Row], memory: bool) -> str:
    """Return the table in Markdown."""
    heads = ("model", "weights", "tokens/s", "bits", "kbps", "live", "kHz out", *SCHEMES)
    lines = [heads, ("---",) * len(heads)]
    for row in rows:
        config = row.config
        weights = sum(math.prod(shape) for shape in tensor_shapes(config).values())
        rate = SAMPLE_RATE_IN / config.samples_per_token
        bits = config.bits_per_token
        live = "yes" if config.is_causal else "no"
        facts = (f"`{row.name}`", f"{weights / 1e6:.1f} M", f"{rate:g}", f"{bits}")
        more = (f"{rate * bits / 1e3:.2f}", live, f"{config.sample_rate_out / 1e3:g}")
        lines.append((*facts, *more, *(_cell(row.runs.get(kind), memory) for kind in SCHEMES)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(run: Facts | None, memory: bool) -> str:
    """Return the size and the real-time factor of a kind of weights; the peak memory, too."""
    if run is None:
        return ""
    factor = run["modes"]["both"]["real_time_factor"]
    peak = f", {run['memory_peak_bytes'] / 1e6:,.0f} MB" if memory else ""
    return f"{run['file_bytes'] / 1e6:,.0f} MB, {factor:.2g}{peak}"


def measure_all(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure the models of the command line."""
    rows: dict[str, Row] = {}
    for name in arguments.names or [*PUBLISHED, BUILT_IN]:
        source = LIKE if arguments.like and name.endswith("_causal") else name
        if source not in rows:
            print(f"measuring {source} ...", file=sys.stderr, flush=True)
            how = (arguments.kinds, folder, arguments.seconds, arguments.sound)
            rows[source] = measure(source, *how)
        if name != source:
            rows[name] = Row(name, config_json.from_dict(PUBLISHED[name]), rows[source].runs)
    return [rows[name] for name in arguments.names or [*PUBLISHED, BUILT_IN]]


def main() -> None:
    """Measure the models of the command line, and print their rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*PUBLISHED, BUILT_IN, []], metavar="NAME")
    parser.add_argument("--like", action="store_true", help="measure one of the causal models")
    parser.add_argument("--kinds", nargs="+", choices=SCHEMES, default=SCHEMES)
    parser.add_argument("--seconds", type=float, default=20, help="for each kind of weights")
    parser.add_argument("--sound", type=float, default=60, help="seconds of sound at once")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the models: 5 GB")
    parser.add_argument("--memory", action="store_true", help="print the peak memory, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = measure_all(arguments, folder)
    print(table(rows, arguments.memory))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({row.name: row.runs for row in rows}, indent=1))


if __name__ == "__main__":
    main()
