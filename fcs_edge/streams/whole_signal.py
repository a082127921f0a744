"""Signals and tokens that come in pieces, for models that need all of them at once.

They have the methods of streams, `push` and `flush`; nothing comes out before `flush`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from fcs_edge.model.layers import F32, U16
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig
from fcs_edge.streams.whole_windows import WindowEncoder, Windows

EXACT_LIMIT = 3600.0
"""Seconds of the longest signal that is encoded as a whole without being asked for.

With float32 weights, longer ones take up to twice real time on a core of a server: see
docs/explanation/whole-signals.md.
"""
_GROWTH = 8
"""A full array of samples grows by one part in so many."""


class SignalEncoder(Protocol):
    """Encodes a signal that comes in pieces."""

    @property
    def used(self) -> Windows | None:
        """The windows that the signal is encoded in so far; None where it is not."""

    def push(self, samples: F32) -> U16:
        """Take samples, (n,) float32, and return the tokens that they complete."""

    def flush(self) -> U16:
        """Return the last tokens."""


class TokenDecoder(Protocol):
    """Decodes tokens that come in pieces."""

    def push(self, tokens: U16) -> F32:
        """Take tokens, (n,) uint16, and return the samples that they complete."""

    def flush(self) -> F32:
        """Return the last samples, and begin anew."""


class Choice(NamedTuple):
    """How a model that needs the whole signal encodes a long one."""

    exact: bool = False
    """Whether the whole signal is encoded at once, however long it is."""
    window: float | None = None
    """Seconds of each window; None encodes the whole signal at once."""
    overlap: float | None = None
    """Seconds that windows share; None is the default."""

    def check(self, encodes_streams: bool) -> None:
        """Refuse choices that exclude each other, or that change nothing.

        Raises
        ------
        ValueError
            Two of them exclude each other, or the model encodes streams.
        """
        if encodes_streams and self != Choice():
            raise ValueError(
                "exact, window and overlap are for models that need the whole signal; this one "
                "encodes streams"
            )
        if self.exact and self.window is not None:
            raise ValueError("exact encodes the signal at once, window does not: give one of them")
        if self.overlap is not None and self.window is None:
            raise ValueError("overlap is what windows share: give window too")

    @property
    def limit(self) -> float | None:
        """Seconds of the longest signal; None without a limit."""
        return None if self.exact or self.window is not None else EXACT_LIMIT

    def check_length(self, n_samples: int) -> None:
        """Refuse a signal that is too long for a model that needs all of it.

        Raises
        ------
        TooLongError
            It is longer than the limit.
        """
        if self.limit is not None and n_samples > round(self.limit * SAMPLE_RATE_IN):
            raise TooLongError


class TooLongError(ValueError):
    """A signal is too long to be encoded at once unless the caller asks for it.

    Parameters
    ----------
    exact, window : str
        How the caller asks for it, and for windows.
    """

    def __init__(self, exact: str = "exact=True", window: str = "window=30") -> None:
        super().__init__(
            f"more than {EXACT_LIMIT / 60:g} minutes of sound take long to encode at once: "
            f"{exact} does so all the same; {window} encodes windows of 30 s, to other tokens"
        )


def check_length(encodes_streams: bool, choice: Choice, seconds: float | None) -> None:
    """Refuse a signal that is too long to be encoded at once, where its length is known.

    Raises
    ------
    TooLongError
        It is longer than `EXACT_LIMIT`, and the model needs the whole signal.
    """
    limit = None if encodes_streams else choice.limit
    if limit is not None and seconds is not None and seconds > limit:
        raise TooLongError


class WholeEncoder:
    """Encodes a signal at once, when all of it is there.

    Parameters
    ----------
    encode : callable
        Encodes a whole signal, (n,) float32.
    limit : float, optional
        Seconds of the longest signal.
    """

    used: Windows | None = None

    def __init__(self, encode: Callable[[F32], U16], limit: float | None = None) -> None:
        self._encode = encode
        self._most = None if limit is None else round(limit * SAMPLE_RATE_IN)
        self._samples, self._n = np.zeros(0, np.float32), 0

    def push(self, samples: F32) -> U16:
        """Take samples, (n,) float32; no tokens are returned.

        Raises
        ------
        TooLongError
            The signal is longer than the limit.
        """
        end = self._n + samples.size
        if self._most is not None and end > self._most:
            raise TooLongError
        if end > self._samples.size:
            # In place where the system can: there is no second copy of a long signal.
            self._samples.resize(end + end // _GROWTH, refcheck=False)
        self._samples[self._n : end] = samples
        self._n = end
        return np.zeros(0, np.uint16)

    def flush(self) -> U16:
        """Return all tokens."""
        samples, self._samples = self._samples, np.zeros(0, np.float32)
        n, self._n = self._n, 0
        return self._encode(samples[:n])


class WholeDecoder:
    """Decodes tokens at once, when all of them are there.

    Parameters
    ----------
    decode : callable
        Decodes all tokens, (n,) uint16.
    """

    def __init__(self, decode: Callable[[U16], F32]) -> None:
        self._decode = decode
        self._parts: list[U16] = []

    def push(self, tokens: U16) -> F32:
        """Take tokens, (n,) uint16; no samples are returned."""
        self._parts.append(np.array(tokens, np.uint16))
        return np.zeros(0, np.float32)

    def flush(self) -> F32:
        """Return all samples, and begin anew."""
        tokens = np.concatenate([np.zeros(0, np.uint16), *self._parts])
        self._parts = []
        return self._decode(tokens) if tokens.size else np.zeros(0, np.float32)


def signal_encoder(
    config: CodecConfig, encode: Callable[[F32], U16], choice: Choice
) -> WholeEncoder | WindowEncoder:
    """Return what encodes a signal of a model that needs all of it.

    Raises
    ------
    ValueError
        The window or the overlap is out of range.
    """
    if choice.window is None:
        return WholeEncoder(encode, choice.limit)
    windows = Windows.of(config, choice.window, choice.overlap)
    return WindowEncoder(config, encode, windows)
