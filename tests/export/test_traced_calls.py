"""A trace has each call that a stream makes: the kernels, the shapes and the numbers, in order.

A stage that is bound to other kernels than those of a trace would be missing in it, silently.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c_library import Model
from fcs_edge.export import fcsm, libraries
from fcs_edge.kernels.runtime import aot_library, program

RECORDER = Path(__file__).parent / "recorded_steps.py"
KINDS = {"encoder": fcsm.ENCODER, "decoder": fcsm.DECODER}


def recorded(model: Path | None) -> dict[str, list[tuple[int, list[Any]]]]:
    """Return the calls of streams that run the library of this machine."""
    command = [sys.executable, str(RECORDER), *([] if model is None else [str(model)])]
    environment = {**os.environ, aot_library.VARIABLE: str(aot_library.FOLDER)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, list[tuple[int, list[Any]]]] = json.loads(done.stdout)
    return found


def described(words: Any, kernels: tuple[tuple[str, str], ...]) -> Iterator[list[Any]]:
    """Yield the calls of a program as `recorded_steps.described` gives them."""
    for number, given in program.calls_of(words):
        name, types = kernels[number]
        call: list[Any] = [name]
        rest = iter(given.tolist())
        for kind in types.split():
            if kind in ("int", "bool"):
                call.append(next(rest))
            elif kind == "float":
                call.append(float(np.uint32(next(rest) & 0xFFFFFFFF).view(np.float32)))
            else:
                place = next(rest), next(rest)
                shape = [next(rest) for _ in range(int(kind[1]))]
                assert min(place) >= 0
                call.append(shape if kind != "b1w" else "workspace")
        yield call


def of_plan(plan: fcsm.Plan, n: int, chunk: int) -> Any:
    """Return the program of a step of so many items."""
    if n % chunk == 0:
        return plan.programs[n // chunk]
    assert plan.tail is not None
    return plan.tail.of(chunk - n)


@pytest.mark.parametrize("name", ["tiny", "options", "edge-65k"])
def test_a_trace_has_each_call_of_a_stream(
    name: str, golden: Callable, exported: Callable[[Path | None], Model], machine: str
) -> None:
    path = None if name == "edge-65k" else golden(name).model
    model, kernels = exported(path), libraries.find(machine).kernels
    facts, streams = model.facts, recorded(path)
    chunks = {"encoder": facts.chunk_samples, "decoder": facts.decoder_chunk_tokens}
    assert set(streams) == {f"{part} {most}" for part in KINDS for most in (1, 8)}
    for stream, steps in streams.items():
        part, most = stream.split()
        section = model.section(KINDS[part], int(most))
        assert section is not None
        plan = fcsm.unpacked_plan(section)
        for n, calls in steps:
            words = of_plan(plan, n, chunks[part])
            assert calls == list(described(words, kernels)), (stream, n)
