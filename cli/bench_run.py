"""The measurements of ``fcs-edge bench``: the machine, and each model in its own process."""

from __future__ import annotations

import multiprocessing
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import click
import soundfile

import fcs_edge
from fcs_edge.bench import bench, bench_layers, boards, host
from fcs_edge.bench.bench import Bench, Facts, Limits
from fcs_edge.bench.bench_layers import Layer
from fcs_edge.bench.whole_bench import WholeBench
from fcs_edge.cli.ui.compile_notice import compile_notice
from fcs_edge.cli.ui.messages import Messages, print_warning
from fcs_edge.codec import Codec
from fcs_edge.convert import convert_files
from fcs_edge.errors import FcsError
from fcs_edge.model.layers import F32
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import SCHEMES, ModelFile, check_activations
from fcs_edge.tokens.settings import token_settings

_MACHINE_SHARE, _MACHINE_SECONDS = 0.15, 1.0
"""The share of the time for measuring the machine, and its upper limit in seconds."""
_LAYER_SECONDS = 2.0


def parse_layers(texts: Sequence[str]) -> list[Layer]:
    """Read the values of --layer; raise click.UsageError for a wrong one."""
    try:
        return [Layer.parse(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(f"--layer {error}.") from None


class _Setup(NamedTuple):
    """How a model is measured, whatever its weights."""

    activations: int | None
    chunks: int
    sound_seconds: float
    """Of the sound that a model without streams encodes and decodes."""
    threads: int
    limits: Limits
    seconds: float


def measure_layers(layers: Sequence[Layer], seconds: float, messages: Messages) -> Facts:
    """Measure kernels without a model."""
    facts, limits, remaining = _machine(seconds, messages)
    each = min(remaining / len(layers), _LAYER_SECONDS)
    messages.note(f"measuring each kernel for {each:.3g} s ...")
    with compile_notice(messages, None):
        facts["layers"] = [bench_layers.measure(layer, limits, each) for layer in layers]
    return facts


def measure_model(
    codec: Codec,
    weights: Sequence[str],
    activations: int | None,
    seconds: float,
    chunks: int,
    sound_seconds: float,
    messages: Messages,
) -> Facts:
    """Measure a model with each of some types of weights, and activations of so many bits."""
    codec.model.require("encoder", "decoder")
    schemes = _schemes(codec.model, weights)
    for scheme in schemes:
        if activations is not None:
            check_activations(codec.model.path, scheme, activations)
    facts, limits, remaining = _machine(seconds, messages)
    facts["model"] = {
        "name": codec.name,
        "weights": codec.model.weights,
        "stored_as": codec.model.scheme,
        "fingerprint": codec.fingerprint.hex(),
    }
    is_causal = codec.model.config.is_causal
    if is_causal:
        facts["model"] |= {
            "chunk_ms": 1e3 * codec.latency,
            "window_chunks": bench.window_chunks(codec.model.config),
        }
    each = remaining / len(schemes)
    setup = _Setup(activations, chunks, sound_seconds, codec.threads, limits, each)
    facts["runs"] = [_run(codec.model, scheme, setup, messages) for scheme in schemes]
    if not is_causal:
        return facts
    where = boards.board(facts["machine"]["board"], facts["machine"]["clock_ghz"])
    if where is not None and chunks == codec.threads == 1:
        facts["projected_for"] = "{} at {:g} GHz".format(*where)
        for run in facts["runs"]:
            bits = run["settings"]["activation_bits"]
            size, scheme = codec.model.weights, run["weights"]
            run["projected"] = boards.projected(where, size, scheme, bits)
    return facts


def _machine(seconds: float, messages: Messages) -> tuple[Facts, Limits, float]:
    """Return facts about the machine, its limits, and the remaining time."""
    spent = min(_MACHINE_SHARE * seconds, _MACHINE_SECONDS)
    messages.note("measuring this machine ...")
    # No spinner here or around later measurements: it would take computing time.
    with compile_notice(messages, None):
        limits = bench.limits(spent)
    facts = {
        "fcs_edge": fcs_edge.__version__,
        "machine": host.facts(),
        "limits": limits.facts(),
    }
    return facts, limits, seconds - spent


def _schemes(model: ModelFile, requested: Sequence[str]) -> list[str]:
    schemes = [s for s in SCHEMES if s in requested or "all" in requested] or [model.scheme]
    if model.scheme in ("int8", "int4") and schemes != [model.scheme]:
        raise FcsError(
            f"{model.path}: holds {model.scheme} weights and runs with those only; "
            "other --weights need a model file of f32 or f16"
        )
    return schemes


def _run(model: ModelFile, scheme: str, setup: _Setup, messages: Messages) -> Facts:
    """Measure a model with one type of weights, in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        path = model.path
        if scheme != model.scheme:
            path = Path(folder) / f"{scheme}.safetensors"
            with compile_notice(messages, f"Converting {model.name} to {scheme} ..."):
                convert_files(model, path, weights=scheme)
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                return pool.submit(_measure, path, setup, messages).result()
        except BrokenProcessPool:
            raise FcsError(
                f"{path}: the measuring process was killed; is there enough memory?"
            ) from None


def _measure(path: Path, setup: _Setup, messages: Messages) -> Facts:
    """Measure a model as its file stores it, in this process."""
    warnings.showwarning = print_warning
    host.library_was_reported()
    model = model_file.read(path)
    if setup.activations is not None:
        model = model.with_activations(setup.activations)
    loading, what = f"Loading {model.name} as {model.scheme} ...", f"{model.name} as {model.scheme}"
    settings = token_settings(model)
    if not model.config.is_causal:
        with compile_notice(messages, loading):
            whole = WholeBench(model, _clip(), setup.sound_seconds)
        messages.note(f"measuring {what} with {setup.sound_seconds:g} s of sound ...")
        return {**whole.measure(setup.seconds), "settings": settings}
    with compile_notice(messages, loading):
        bench = Bench(model, _clip(), setup.chunks, setup.threads)
    messages.note(f"measuring {what} for {setup.seconds:.3g} s ...")
    return {**bench.measure(setup.limits, setup.seconds), "settings": settings}


def _clip() -> F32:
    """Return the clip of speech in the package, (n,) float32 at 16 kHz."""
    clip: F32
    clip, _ = soundfile.read(str(resources.files("fcs_edge") / "data/demo.flac"), dtype="float32")
    return clip
