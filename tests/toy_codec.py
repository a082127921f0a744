"""A codec small enough to check by hand, as a model file of C, and what its streams must give.

Its kernels are tests/export/toy_kernels.c. A chunk is 3 tokens of 4 samples; a token decodes to 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.export import fcsm
from fcs_edge.kernels._types import I64
from fcs_edge.kernels.runtime.program import IN, OUT, STATE, WEIGHTS, Parameter, Patch, Tail

KERNELS = b"toykerns"
FINGERPRINT = bytes(range(8))
HOP, CHUNK_TOKENS, HOP_OUT, BITS = 4, 3, 2, 11
CHUNK = HOP * CHUNK_TOKENS
SCALES = np.array([0.5, 0.75, 0.25], np.float32)
"""Of the tokens of a chunk."""
PAST = 0, 0x3F800000
"""The state's first word, in a new stream: the number 1."""
CLEAN, ENCODE, DECODE = range(3)
_COUNT_AT, _CLEAN_AT = 8, 64


def call(kernel: int, *arguments: Any) -> list[int]:
    """Return the words of a call: arrays as (base, offset, size), numbers as they are."""
    words: list[int] = []
    for value in arguments:
        words += value if isinstance(value, tuple) else (value,)
    return [kernel, len(words), *words]


def _encoder_words(n_samples: int, n_tokens: int) -> I64:
    clean = STATE, _CLEAN_AT, n_tokens * HOP
    first = call(CLEAN, (IN, 0, n_samples), clean, (STATE, _COUNT_AT, 1))
    scales = WEIGHTS, 0, CHUNK_TOKENS
    second = call(ENCODE, clean, scales, (STATE, 0, 1), (OUT, 0, n_tokens), HOP)
    return np.array(first + second, np.int64)


def _decoder_words(n_tokens: int) -> I64:
    arrays = (IN, 0, n_tokens), (STATE, 0, 1), (OUT, 0, n_tokens * HOP_OUT)
    return np.array(call(DECODE, *arrays, HOP_OUT, 1), np.int64)


def encoder_plan(chunks: int) -> fcsm.Plan:
    """Return the encoder's plan for so many chunks a call."""
    programs = {n: _encoder_words(n * CHUNK, n * CHUNK_TOKENS) for n in {1, min(chunks, 3), chunks}}
    # Words: 4 of x, 7 of clean, 4 of x of the second call, 13 of its output.
    patches = [Patch(4, 0, 1), Patch(7, 1, HOP), Patch(15, 1, HOP), Patch(24, 1, 1)]
    tail = Tail(programs[1], [Parameter(0, 1, HOP)], patches)
    size = _CLEAN_AT + 4 * chunks * CHUNK
    return fcsm.Plan(chunks, size, _CLEAN_AT, _COUNT_AT, [PAST], programs, tail)


def decoder_plan(chunks: int) -> fcsm.Plan:
    """Return the decoder's plan for so many chunks a call."""
    programs = {n: _decoder_words(n * CHUNK_TOKENS) for n in {1, chunks}}
    patches = [Patch(4, 0, 1), Patch(10, 0, HOP_OUT)]
    return fcsm.Plan(chunks, 64, 64, -1, [PAST], programs, Tail(programs[1], [], patches))


def sections(encoder: bool = True, decoder: bool = True) -> list[fcsm.Section]:
    """Return the sections of the model's file, or of a half."""
    found = [fcsm.Section(fcsm.WEIGHTS, 0, SCALES.tobytes())]
    for kind, is_there, plan in (
        (fcsm.ENCODER, encoder, encoder_plan),
        (fcsm.DECODER, decoder, decoder_plan),
    ):
        if is_there:
            found += [fcsm.Section(kind, n, fcsm.packed_plan(plan(n))) for n in (1, 8)]
    return [*found, fcsm.Section(fcsm.FACTS, 0, b"{}")]


def head(name: str = "toy", fingerprint: bytes = FINGERPRINT) -> fcsm.Head:
    """Return the head of the model's file."""
    numbers = HOP, HOP_OUT, CHUNK, CHUNK_TOKENS, CHUNK_TOKENS, BITS, 5
    return fcsm.Head(KERNELS, fingerprint, 16000, 8000, *numbers, name)


def model() -> bytes:
    """Return the model's file."""
    return fcsm.pack(head(), sections())


def encoded(signal: NDArray[np.float32]) -> tuple[NDArray[np.uint16], int]:
    """Return the tokens of a signal, and how many samples of it are not finite."""
    finite = np.isfinite(signal)
    tokens = -(-signal.size // HOP)
    clean = np.zeros(tokens * HOP, np.float32)
    clean[: signal.size] = np.where(finite, signal, 0)
    past, out = np.float32(1), []
    for i, hop in enumerate(clean.reshape(tokens, HOP)):
        total = np.float32(0)
        for value in hop:
            total += value
        past = (past + SCALES[i % CHUNK_TOKENS] * total) / np.float32(2)
        out.append(int(past * np.float32(1000)) & 2047)
    return np.array(out, np.uint16), int((~finite).sum())


def decoded(tokens: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the samples of tokens."""
    past, out = np.float32(1), []
    for value in np.repeat(tokens.astype(np.float32), HOP_OUT):
        past = (past + value) / np.float32(4)
        out.append(past)
    return np.array(out, np.float32)


class Stream:
    """A stream of the toy codec, in Python: an encoder or a decoder."""

    def __init__(self, is_encoder: bool) -> None:
        self._chunk, self._dtype = (CHUNK, np.float32) if is_encoder else (CHUNK_TOKENS, np.uint16)
        self._run: Any = (lambda x: encoded(x)[0]) if is_encoder else decoded
        self._is_encoder = is_encoder
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._items: NDArray[Any] = np.zeros(0, self._dtype)
        self._n_out = 0

    def _rest(self, n: int) -> NDArray[Any]:
        out: NDArray[Any] = self._run(self._items[:n])[self._n_out :]
        self._n_out += out.size
        return out

    def push(self, items: NDArray[Any]) -> NDArray[Any]:
        """Return what the items complete."""
        self._items = np.concatenate([self._items, items])
        return self._rest(self._items.size // self._chunk * self._chunk)

    def flush(self) -> NDArray[Any]:
        """Return the rest, and start a new stream."""
        out = self._rest(self._items.size)
        self.reset()
        return out

    def copy(self) -> Stream:
        """Return a stream that continues from here."""
        other = Stream(self._is_encoder)
        other._items, other._n_out = self._items, self._n_out
        return other
