"""What ``fcs-edge bench`` measures: the machine, and each model in a process of its own."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import resources
from pathlib import Path

import click
import soundfile

import fcs_edge
from fcs_edge.bench import bench, bench_layers, host
from fcs_edge.bench.bench import Bench, Facts, Limits
from fcs_edge.bench.bench_layers import Layer
from fcs_edge.cli.common import Messages
from fcs_edge.codec import Codec
from fcs_edge.convert import convert_files
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import F32
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import SCHEMES, ModelFile

_MACHINE_SHARE, _MACHINE_SECONDS = 0.15, 1.0
"""Of the time goes to measuring the machine, and how much at most."""
_LAYER_SECONDS = 2.0


def parse_layers(texts: Sequence[str]) -> list[Layer]:
    """Read the values of --layer; a wrong one is a wrong call."""
    try:
        return [Layer.parse(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(f"--layer {error}.") from None


def measure_layers(layers: Sequence[Layer], seconds: float, messages: Messages) -> Facts:
    """Measure kernels alone."""
    facts, limits, left = _machine(seconds, messages)
    each = min(left / len(layers), _LAYER_SECONDS)
    messages.note(f"measuring each kernel for {each:.3g} s ...")
    with messages.preparing(None):
        facts["layers"] = [bench_layers.measure(layer, limits, each) for layer in layers]
    return facts


def measure_model(
    codec: Codec, weights: Sequence[str], seconds: float, chunks: int, messages: Messages
) -> Facts:
    """Measure a model, stored as each of some types of weights."""
    schemes = _schemes(codec.model, weights)
    facts, limits, left = _machine(seconds, messages)
    facts["model"] = {
        "name": codec.name,
        "weights": codec.model.weights,
        "stored_as": codec.model.scheme,
        "fingerprint": codec.fingerprint.hex(),
        "chunk_ms": 1e3 * codec.latency,
        "window_chunks": bench.window_chunks(codec.model.config),
    }
    each = left / len(schemes)
    facts["runs"] = [_run(codec.model, s, limits, chunks, each, messages) for s in schemes]
    return facts


def _machine(seconds: float, messages: Messages) -> tuple[Facts, Limits, float]:
    """Return what the machine is, its limits, and the time that is left."""
    spent = min(_MACHINE_SHARE * seconds, _MACHINE_SECONDS)
    messages.note("measuring this machine ...")
    # No spinner here, nor around what is measured later: it would take its share of the time.
    with messages.preparing(None):
        limits = bench.limits(spent)
    facts = {
        "fcs_edge": fcs_edge.__version__,
        "machine": host.facts(),
        "limits": limits.facts(),
    }
    return facts, limits, seconds - spent


def _schemes(model: ModelFile, wanted: Sequence[str]) -> list[str]:
    schemes = [s for s in SCHEMES if s in wanted or "all" in wanted] or [model.scheme]
    if model.scheme in ("int8", "int4") and schemes != [model.scheme]:
        raise FcsError(
            f"{model.path}: holds {model.scheme} weights and can run as those alone; "
            "other --weights are made from a model file of f32 or f16"
        )
    return schemes


def _run(
    model: ModelFile, scheme: str, limits: Limits, chunks: int, seconds: float, messages: Messages
) -> Facts:
    """Measure a model as one type of weights, in a process that never held another."""
    with tempfile.TemporaryDirectory() as folder:
        path = model.path
        if scheme != model.scheme:
            path = Path(folder) / f"{scheme}.safetensors"
            with messages.preparing(f"Converting {model.name} to {scheme} ..."):
                convert_files(model, path, weights=scheme)
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                future = pool.submit(_measure, path, limits, chunks, seconds, messages)
                return future.result()
        except BrokenProcessPool:
            raise FcsError(
                f"{path}: the process that ran it was ended; is there enough memory?"
            ) from None


def _measure(path: Path, limits: Limits, chunks: int, seconds: float, messages: Messages) -> Facts:
    model = model_file.read(path)
    with messages.preparing(f"Loading {model.name} as {model.scheme} ..."):
        bench = Bench(model, _clip(), chunks)
    messages.note(f"measuring {model.name} as {model.scheme} for {seconds:.3g} s ...")
    return bench.measure(limits, seconds)


def _clip() -> F32:
    """Return the clip of speech in the package, (n,) float32 at 16 kHz."""
    clip: F32
    clip, _ = soundfile.read(str(resources.files("fcs_edge") / "data/demo.flac"), dtype="float32")
    return clip
