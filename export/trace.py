"""Traces the streams of a model: what a model file of C holds, for the target that is traced for.

A trace makes the calls of a step, and runs none. In a process with ``FCS_EDGE_TRACE``, the kernels
are those of any target: only packing runs, with the kernels of this machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fcs_edge.entropy.prior import Prior
from fcs_edge.errors import FcsError
from fcs_edge.export import fcsm
from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime import program
from fcs_edge.kernels.runtime.placement import Layout, Tracer, Weights
from fcs_edge.kernels.runtime.program import Call, Parameter, Tail
from fcs_edge.model.prepared_stages import PreparedStages
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.streams.memory import Steps
from fcs_edge.streams.steps import DecoderSteps, EncoderSteps, EncoderStepState
from fcs_edge.tokens.settings import settings_code, token_settings
from fcs_edge.version import __version__

CHUNKS = 1, 8
"""Most chunks a call of each stream's plans: of live streams, and of files."""
_FEW = 64
"""Items of a chunk whose tails are all traced, for each plan."""

_Trace = Callable[[int], list[Call]]
"""Makes the calls of a step with so many items of input."""


def write_model(file: BinaryIO, model: ModelFile, target: str, kernels_id: bytes) -> None:
    """Write the model file of C.

    Parameters
    ----------
    file : binary file
        Where it goes.
    model : ModelFile
        A model whose parts are causal.
    target : str
        The name of the target whose kernels are traced.
    kernels_id : bytes
        Eight bytes that name these kernels.

    Raises
    ------
    FcsError
        The weights are too large.
    """
    config, weights = model.config, Weights()
    stages = PreparedStages(model, 1)
    plans = []
    if model.part != "decoder":
        encoder = EncoderSteps(config, stages.encoder, stages.compressor, stages.search)
        plans += [(fcsm.ENCODER, plan_of(encoder, n, weights)) for n in CHUNKS]
    if model.part != "encoder":
        decoder = DecoderSteps(config, stages.decompressor, stages.decoder)
        plans += [(fcsm.DECODER, plan_of(decoder, n, weights)) for n in CHUNKS]
    if weights.size > fcsm.MAX_WEIGHTS:
        raise FcsError("a model file of C has at most 2 GB of weights; convert to int8 or int4")
    sections = [
        fcsm.Section(fcsm.WEIGHTS, 0, weights.pieces()),
        *(fcsm.Section(kind, plan.max_chunks, fcsm.packed_plan(plan)) for kind, plan in plans),
        fcsm.Section(fcsm.FACTS, 0, json.dumps(facts(model, target)).encode()),
        *(fcsm.Section(fcsm.PRIOR, n, prior_bytes(p)) for n, p in enumerate(model.priors)),
    ]
    if model.accepts:
        sections.append(fcsm.Section(fcsm.ACCEPTS, 0, b"".join(model.accepts)))
    head = fcsm.Head(
        *(kernels_id, model.fingerprint, SAMPLE_RATE_IN, config.sample_rate_out),
        *(config.samples_per_token, config.samples_out_per_token, config.chunk_size),
        *(config.chunk_tokens, config.decoded_tokens, config.bits_per_token),
        *(settings_code(token_settings(model)), model.name),
    )
    fcsm.write(file, head, sections)


def facts(model: ModelFile, target: str) -> dict[str, Any]:
    """Return what the file says of itself as JSON."""
    return {
        "model": model.name,
        "fingerprint": model.fingerprint.hex(),
        "target": target,
        "version": __version__,
        "part": model.part,
        "settings": token_settings(model),
        "priors": [f"{prior.check:08x}" for prior in model.priors],
    }


def prior_bytes(prior: Prior) -> bytes:
    """Return the bytes that a prior's check covers; docs/reference/entropy-coding.md."""
    arrays = (array.astype(array.dtype.newbyteorder("<")).tobytes() for _, array in prior.arrays())
    return prior.head() + b"".join(arrays)


def plan_of(steps: Steps, max_chunks: int, weights: Weights | None) -> fcsm.Plan:
    """Return the plan of streams of up to so many chunks a call; it places their weights."""
    state, chunk = steps.state(max_chunks), steps.chunk_rows
    state.reset()
    x, out = steps.arrays(max_chunks)
    tracer = Tracer()

    def calls(n: int) -> list[Call]:
        return tracer.calls(lambda: steps(x[:n], out[: steps.n_rows(n)], state))

    lock(state, x, out)
    sizes = {n: n * chunk for n in (max_chunks, 1)}
    traces = _traces(calls, sizes.values(), chunk)
    layout = Layout(traces, state.history(), [x], [out], steps.tables(), weights)
    programs = {n: layout.words(calls(size)) for n, size in sizes.items()}
    every = max_chunks == 1 or chunk <= _FEW
    tail = _tail(calls, layout, programs[1], chunk, steps.parameters(), every)
    not_finite = -1
    if isinstance(state, EncoderStepState):
        _, not_finite = layout.place(state.n_not_finite)
    return _plan(layout, max_chunks, not_finite, programs, tail)


def lock(*parts: Any) -> None:
    """Make all arrays of a state read-only: a step that writes into one beside its calls fails."""
    for array in _arrays(parts, set()):
        array.flags.writeable = False


def _arrays(value: Any, visited: set[int]) -> Iterator[Any]:
    if id(value) in visited:
        return
    visited.add(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _arrays(part, visited)
    elif type(value).__module__.startswith("fcs_edge.") and hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from _arrays(part, visited)


def _traces(calls: _Trace, sizes: Any, chunk: int) -> list[list[Call]]:
    """Return the calls of whole chunks, and of some tails of a chunk of so many items."""
    lengths = sorted({n for n in (1, chunk // 2, chunk - 1) if 0 < n < chunk})
    return [calls(n) for n in (*sizes, *reversed(lengths))]


def _tail(
    calls: _Trace,
    layout: Layout,
    whole: I64,
    chunk: int,
    parameters: Sequence[Parameter],
    every: bool,
) -> Tail | None:
    """Return the tail of chunks of so many items, whose program is `whole`.

    It is compared with a trace of each length, or of those alone at which a number of rows changes.
    """
    missing: Sequence[int] = range(1, chunk)
    if not every:
        rows = [program.values_of(parameters, n)[1:] for n in range(chunk + 1)]
        missing = [n for n in missing if rows[n] != rows[n - 1] or rows[n] != rows[n + 1]]
    programs = {n: layout.words(calls(chunk - n)) for n in missing}
    return program.fitted({0: whole, **programs}, parameters) if programs else None


def _plan(
    layout: Layout, max_chunks: int, not_finite: int, programs: dict[int, I64], tail: Tail | None
) -> fcsm.Plan:
    words = layout.initial().view(np.int32)
    initial = [(4 * int(i), int(words[i])) for i in np.flatnonzero(words)]
    sizes = max_chunks, layout.state_bytes, layout.history_bytes, not_finite
    return fcsm.Plan(*sizes, initial, programs, tail)


def main(arguments: Sequence[str]) -> None:
    """Trace in this process: of a model by its reference, its activation bits, for a record."""
    from fcs_edge.modelfile import catalogue

    reference, bits, record, out = arguments
    known = json.loads(Path(record).read_bytes())
    model = catalogue.referenced(reference).with_activations(int(bits))
    with open(out, "wb") as file:
        try:
            write_model(file, model, known["target"], bytes.fromhex(known["id"]))
        except FcsError as error:
            sys.exit(str(error))
