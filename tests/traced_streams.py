"""Models traced for this machine's kernels, and their streams run by the interpreter of words."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.export import fcsm
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import program

ROOT = Path(__file__).parents[1]
NAN = 0x7FC00001

_LIST = """
import json, sys
sys.path[:] = [sys.argv[1], *(path for path in sys.path if path)]
import compile_kernels
from fcs_edge.kernels.isa.instructions import SETS
print(json.dumps({s.name: compile_kernels.export_kernels(s) for s in SETS}))
"""


@cache
def _listed() -> dict[str, list[tuple[str, str]]]:
    command = [sys.executable, "-c", _LIST, str(ROOT / "scripts")]
    listed = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return dict(json.loads(listed.stdout))


def kernels(using: str) -> list[tuple[str, str]]:
    """Return names and types of the kernels of a set of instructions, as C libraries have them."""
    return _listed()[using]


def kernel_named(name: str) -> Callable[..., Any]:
    """Return a kernel of this process by its name in a library."""
    path, _, arguments = name.partition("(")
    module, _, function = path.rpartition(".")
    found: Any = getattr(import_module(f"fcs_edge.kernels.{module}"), function)
    return found(*ast.literal_eval(f"({arguments}")) if arguments else found


def traced(model: str, bits: int, record_path: Path, using: str, out: Path) -> bytes:
    """Return the model file of C that a process of its own traces."""
    environment = {**os.environ, instructions.TRACE: str(record_path), instructions.VARIABLE: using}
    code = "import sys; sys.path[:] = [path for path in sys.path if path]; "
    code += "from fcs_edge.export.trace import main; main(sys.argv[1:])"
    arguments = model, str(bits), str(record_path), str(out)
    subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True)
    return out.read_bytes()


def aligned(n: int) -> NDArray[np.uint8]:
    """Return so many zeroed bytes on a line of 64."""
    memory = np.zeros(n + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n]


class Words:
    """A model file of C whose programs the interpreter runs, with the kernels of this process."""

    def __init__(self, data: bytes, kernels: list[tuple[str, str]]) -> None:
        self.head, sections = fcsm.unpack(data)
        self.plans = {
            (s.kind, s.number): fcsm.unpacked_plan(bytes(s.data))
            for s in sections
            if s.kind in (fcsm.ENCODER, fcsm.DECODER)
        }
        image = next(s.data for s in sections if s.kind == fcsm.WEIGHTS)
        self.weights = aligned(len(image))
        self.weights[:] = np.frombuffer(image, np.uint8)
        self._names, self._table = kernels, dict[int, Any]()

    def run(self, words: NDArray[np.int64], bases: list[NDArray[np.uint8]]) -> None:
        """Run a program; each kernel is prepared at its first call."""
        for number, _ in program.calls_of(words):
            if number not in self._table:
                name, types = self._names[number]
                self._table[number] = kernel_named(name), types.split()
        table: Any = self._table
        program.interpret(words, bases, table)

    def stream(
        self, plan: Any, x: NDArray[Any], chunk: int, outputs: Callable[[int], Any]
    ) -> NDArray[Any]:
        """Run a stream: whole chunks, then a tail; NaN lie in all work memory before each step."""
        state, outs = aligned(plan.state_bytes), []
        for offset, value in plan.initial:
            state[offset : offset + 4].view(np.int32)[0] = value
        start = 0
        while start < x.size:
            fitting = [n for n in plan.programs if n * chunk <= x.size - start]
            n = max(fitting) * chunk if fitting else x.size - start
            words = plan.programs[n // chunk] if fitting else plan.tail.of(chunk - n)
            state[plan.history_bytes :].view(np.uint32)[:] = NAN
            given, out = aligned(n * x.itemsize), outputs(n)
            given[:] = x[start : start + n].view(np.uint8)
            received = aligned(out.nbytes)
            self.run(words, [self.weights, state, given, received])
            out[:] = received.view(out.dtype)
            outs.append(out)
            start += n
        return np.concatenate(outs)

    def encode(self, samples: NDArray[np.float32], chunks: int) -> NDArray[np.uint16]:
        """Return the tokens of samples, by the plan of so many chunks a call."""
        size = self.head.samples_per_token
        return self.stream(
            *(self.plans[fcsm.ENCODER, chunks], samples, self.head.chunk_samples),
            lambda n: np.zeros(-(-n // size), np.uint16),
        )

    def decode(self, tokens: NDArray[np.uint16], chunks: int) -> NDArray[np.float32]:
        """Return the samples of tokens."""
        size = self.head.samples_out_per_token
        return self.stream(
            *(self.plans[fcsm.DECODER, chunks], tokens, self.head.decoder_chunk_tokens),
            lambda n: np.zeros(n * size, np.float32),
        )
