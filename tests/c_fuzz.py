"""Random calls of the C library's streams, right and wrong ones, beside streams of a reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import c_library
from c_library import Memory, Model


class Reference(Protocol):
    """A stream that gives what one of the library must give."""

    def push(self, items: Any, /) -> NDArray[Any]:
        """Return what the items complete."""

    def flush(self) -> NDArray[Any]:
        """Return the rest, and start a new stream."""

    def reset(self) -> None:
        """Start a new stream."""

    def copy(self) -> Any:
        """Return a stream that continues from here."""


class _Pair:
    """A stream of the library and its reference."""

    def __init__(self, stream: Any, reference: Any, draw: Callable[[int], NDArray[Any]]) -> None:
        self.stream, self.reference, self.draw = stream, reference, draw

    def copy(self) -> _Pair:
        return _Pair(self.stream.copy(), self.reference.copy(), self.draw)


def fuzz(
    model: Model,
    encoder: Callable[[], Reference],
    decoder: Callable[[], Reference],
    rng: np.random.Generator,
    n_calls: int,
) -> None:
    """Make random calls, and compare all that comes out.

    Parameters
    ----------
    model : Model
        The model.
    encoder, decoder : callable
        Return new streams of the reference.
    rng : numpy.random.Generator
        Draws the calls.
    n_calls : int
        How many.
    """
    bits = model.facts.bits_per_token

    def samples(n: int) -> NDArray[np.float32]:
        x = rng.uniform(-1, 1, n).astype(np.float32)
        if n and rng.integers(4) == 0:
            x[rng.integers(0, n, 3)] = np.nan, np.inf, -np.inf
        return x

    def tokens(n: int) -> NDArray[np.uint16]:
        return rng.integers(0, 1 << bits, n).astype(np.uint16)

    pairs = [_Pair(model.encoder(n), encoder(), samples) for n in (1, 8)]
    pairs += [_Pair(model.decoder(n), decoder(), tokens) for n in (1, 8)]
    for _ in range(n_calls):
        which = int(rng.integers(len(pairs)))
        pair, action = pairs[which], rng.integers(20)
        if action < 12:
            _push(pair, model, rng)
        elif action < 14:
            assert np.array_equal(pair.stream.flush(), pair.reference.flush())
        elif action < 15:
            pair.stream.reset()
            pair.reference.reset()
        elif action < 17:
            pairs[which] = pair.copy()
            pair.stream.memory.bytes[:] = rng.integers(0, 256)
        else:
            _refused(pair, model, rng)


def _push(pair: _Pair, model: Model, rng: np.random.Generator) -> None:
    facts = model.facts
    is_encoder = pair.stream.kind == "encoder"
    chunk = facts.chunk_samples if is_encoder else facts.decoder_chunk_tokens
    most = (1, chunk, 3 * chunk, 10 * chunk)[rng.choice(4, p=(0.2, 0.5, 0.25, 0.05))]
    items = pair.draw(int(rng.integers(most + 1)))
    expected = pair.reference.push(items)
    assert np.array_equal(pair.stream.push(items), expected)


def _refused(pair: _Pair, model: Model, rng: np.random.Generator) -> None:
    """Make a call that is refused and changes nothing."""
    stream, before = pair.stream, pair.stream.memory.bytes.copy()
    state, facts = stream.memory.address, model.facts
    is_encoder = stream.kind == "encoder"
    chunk = facts.chunk_samples if is_encoder else facts.decoder_chunk_tokens
    items = Memory(2 * chunk * np.dtype(stream.input_type).itemsize)
    items.bytes[:] = 0
    out, n = Memory(64), ctypes.c_size_t(7)
    push: list[Any] = [state, items.address, 2 * chunk, out.address, 10**9, ctypes.byref(n)]
    at, value, expected = [
        (0, None, c_library.BAD_ARGUMENT),
        (0, state + 8, c_library.BAD_ALIGNMENT),
        (0, items.address, c_library.BAD_STATE),
        (1, None, c_library.BAD_ARGUMENT),
        (1, items.address + 1, c_library.BAD_ALIGNMENT),
        (2, 1 << 63, c_library.BAD_ARGUMENT),
        (3, None, c_library.BAD_ARGUMENT),
        (3, out.address + 1, c_library.BAD_ALIGNMENT),
        (4, 1, c_library.SMALL_BUFFER),
        (4, 0, c_library.SMALL_BUFFER),
        (5, None, c_library.BAD_ARGUMENT),
    ][rng.integers(11)]
    push[at] = value
    function = getattr(model.library.c, f"fcs_{stream.kind}_push")
    assert function(model.address, *push) == expected
    if not is_encoder and facts.bits_per_token < 16:
        items.bytes[-2:] = 0xFF
        push = [state, items.address, 2 * chunk, out.address, 10**9, ctypes.byref(n)]
        assert function(model.address, *push) == c_library.BAD_TOKEN
    items.check()
    out.check()
    stream.memory.check()
    assert np.array_equal(stream.memory.bytes, before)
