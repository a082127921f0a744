"""Programs: lists of calls of kernels as words, which a library runs with no Python between them.

A call is its kernel's number, the number of words that follow, and the words of its arguments. An
array is its base, its offset in bytes and its sizes; an ``int`` is one word; the bits of a
``float`` are in the low half of one; a ``bool`` is 0 or 1. Words are int64.
docs/program.md says more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from fcs_edge.kernels._types import I64

WEIGHTS, STATE, IN, OUT = range(4)
"""Bases: weights, the stream's state, what a call of the stream reads, what it writes."""
N_BASES = 4


class Kernel(Protocol):
    """A kernel that a program can call."""

    name: str
    types: Sequence[str]
    """Of its arguments: ``f2`` is an array, ``f2w`` one that is written, the others numbers."""
    number: int
    """In the table of the library."""


Call: TypeAlias = tuple[Any, tuple[Any, ...]]
"""A `Kernel` and its arguments, as `aot_library.recorded_calls` lists them."""
Places: TypeAlias = Mapping[int, tuple[int, int]]
"""The base and the offset of each array, by its `id`; that of arrays of no size is missing."""


def words_of(calls: Sequence[Call], places: Places) -> I64:
    """Return the program of some calls."""
    words: list[int] = []
    for kernel, arguments in calls:
        start = len(words) + 2
        words += (kernel.number, 0)
        for value, kind in zip(arguments, kernel.types, strict=True):
            if isinstance(value, np.ndarray):
                words += places[id(value)] if value.size else (WEIGHTS, 0)
                words += value.shape
            elif kind == "float":
                words.append(int(np.float32(value).view(np.uint32)))
            else:
                words.append(int(value))
        words[start - 1] = len(words) - start
    return np.array(words, np.int64)


def calls_of(words: I64) -> Iterator[tuple[int, I64]]:
    """Yield the kernel's number and the words of the arguments of each call."""
    at = 0
    while at < words.size:
        number, n = int(words[at]), int(words[at + 1])
        yield number, words[at + 2 : at + 2 + n]
        at += 2 + n


def interpret(
    words: I64, bases: Sequence[Any], table: Sequence[tuple[Callable[..., Any], Sequence[str]]]
) -> None:
    """Run a program call by call in Python: what a library's `run` is compared with.

    Parameters
    ----------
    words : numpy.ndarray
        The program.
    bases : sequence
        An array of uint8 for each base, or None where offsets are addresses.
    table : sequence
        The function and the argument types of each kernel, by its number.
    """
    for number, given in calls_of(words):
        function, types = table[number]
        rest = iter(given.tolist())
        function(*(_argument(kind, rest, bases) for kind in types))


def _argument(kind: str, rest: Iterator[int], bases: Sequence[Any]) -> Any:
    """Return the next argument of a call, which is of some type."""
    if kind == "float":
        return np.uint32(next(rest) & 0xFFFFFFFF).view(np.float32)
    if kind in ("int", "bool"):
        return next(rest) if kind == "int" else bool(next(rest))
    base, offset = next(rest), next(rest)
    dtype = np.dtype(kind[0])
    shape = tuple(next(rest) for _ in range(int(kind[1])))
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = bases[base]
    if memory is None:
        whole: Any = (ctypes.c_char * n_bytes).from_address(offset) if n_bytes else b""
        return np.frombuffer(whole, dtype).reshape(shape)
    if offset < 0 or offset + n_bytes > memory.nbytes:
        raise ValueError(f"an array of {n_bytes} bytes at {offset} leaves base {base}")
    return memory[offset : offset + n_bytes].view(dtype).reshape(shape)


class Parameter(NamedTuple):
    """A number of a tail: ``p[source] * factor // divisor``; p[0] is what a chunk lacks."""

    source: int
    factor: int
    divisor: int


class Patch(NamedTuple):
    """``words[word] -= factor * p[parameter]``."""

    word: int
    parameter: int
    factor: int


class Tail:
    """The program of a last, partial chunk: that of a whole one, less what is missing.

    Parameters
    ----------
    words : numpy.ndarray
        The program of one chunk.
    parameters : sequence of Parameter
        Those after the missing items; each is computed from an earlier one.
    patches : sequence of Patch
        In the order of their words.
    """

    def __init__(
        self, words: I64, parameters: Sequence[Parameter], patches: Sequence[Patch]
    ) -> None:
        self.words, self.parameters, self.patches = words, list(parameters), list(patches)

    def of(self, missing: int) -> I64:
        """Return the program for a chunk that lacks so many samples or tokens."""
        words: I64 = self.words.copy()
        values = values_of(self.parameters, missing)
        for word, parameter, factor in self.patches:
            words[word] -= factor * values[parameter]
        return words


def values_of(parameters: Sequence[Parameter], missing: Any) -> list[Any]:
    """Return the numbers of a tail that lacks so many items, or an array of such numbers."""
    values = [missing]
    for source, factor, divisor in parameters:
        values.append(values[source] * factor // divisor)
    return values


def fitted(programs: Mapping[int, I64], parameters: Sequence[Parameter]) -> Tail:
    """Return the tail whose program is that of each number of missing items in `programs`.

    The program of a whole chunk, which lacks 0, is among them.

    Raises
    ------
    ValueError
        The programs differ in more than such a tail can express.
    """
    missing = np.array(sorted(programs), np.int64)
    if len({programs[n].size for n in missing.tolist()}) != 1:
        raise ValueError("tails of different lengths make different calls")
    whole = programs[0]
    lacking = whole - np.stack([programs[n] for n in missing.tolist()])
    values = [np.asarray(v, np.int64) for v in values_of(parameters, missing)]
    words = np.flatnonzero(lacking.any(0)).tolist()
    return Tail(whole, parameters, [_fit(word, lacking[:, word], values) for word in words])


def _fit(word: int, lacking: I64, values: Sequence[I64]) -> Patch:
    """Return how what a word lacks follows from one of the numbers."""
    for parameter, value in enumerate(values):
        factor = int(lacking[-1]) // max(1, int(value[-1]))
        if factor > 0 and np.array_equal(lacking, factor * value):
            return Patch(word, parameter, factor)
    raise ValueError(f"word {word} of a tail follows from none of its numbers")
