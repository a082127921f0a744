"""Encoding with models that need the whole signal: all of it at once, or in overlapping windows.

A window is some seconds of the signal, encoded as if there were nothing else. Windows begin at
tokens, and overlap. Of each, the tokens in its middle count, which see sound on both sides:

    signal   |--------------------------------------------|
    windows  |---------------|    |---------------|
                        |---------------|    |------------|   (the last one ends with the signal)
    tokens   aaaaaaaaaaaaabbbbbbbbbbbcccccccccccddddddddddd
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fcs_edge.model.layers import F32, U16
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig, EncoderConfig

MIN_WINDOW = 1.0
"""Seconds of the shortest window."""
MOST_SECONDS = 86400.0
"""Seconds of the longest window."""
DEFAULT_OVERLAP = 4.0
"""Seconds that windows share, half a window at most: twice what the first convolutions reach."""

EncodeWhole = Callable[[F32], U16]
"""Encodes a whole signal, (n,) float32."""


@dataclass(frozen=True)
class Windows:
    """Overlapping windows, in tokens.

    Attributes
    ----------
    tokens, overlap : int
        Tokens of a window, and tokens that it shares with the next one.
    samples_per_token : int
        Input samples per token.
    """

    tokens: int
    overlap: int
    samples_per_token: int

    @classmethod
    def of(cls, config: CodecConfig, window: float, overlap: float | None = None) -> Windows:
        """Return the windows of so many seconds, rounded to tokens.

        Raises
        ------
        ValueError
            The window is shorter than a second or two tokens, or the overlap is more than half.
        """
        rate = SAMPLE_RATE_IN / config.samples_per_token
        least = max(MIN_WINDOW, 2 / rate)
        # Not a number fails both comparisons.
        if not least <= window <= MOST_SECONDS:
            raise ValueError(
                f"a window has {least:g} to {MOST_SECONDS:g} seconds, not {float(window):g}"
            )
        tokens = round(window * rate)
        if overlap is None:
            overlap = min(DEFAULT_OVERLAP, window / 2)
        if not 0 <= overlap <= window / 2:
            raise ValueError(
                f"an overlap has 0 seconds to half a window ({window / 2:g}), not "
                f"{float(overlap):g}"
            )
        return cls(tokens, min(round(overlap * rate), tokens // 2), config.samples_per_token)

    def settings(self) -> dict[str, Any]:
        """Return what settings state, in seconds."""
        rate = SAMPLE_RATE_IN / self.samples_per_token
        return {"window": self.tokens / rate, "overlap": self.overlap / rate}


class WindowEncoder:
    """Encodes a signal in windows, in memory for two of them.

    A signal that one window holds is encoded as a whole.

    Parameters
    ----------
    config : CodecConfig
        The model's configuration.
    encode : callable
        Encodes a whole signal.
    windows : Windows
        Their sizes.

    Attributes
    ----------
    used : Windows or None
        The windows, once there are two; None where the signal is encoded as a whole.
    """

    used: Windows | None = None

    def __init__(self, config: CodecConfig, encode: EncodeWhole, windows: Windows) -> None:
        self._config, self._encode, self._windows = config, encode, windows
        self._samples = windows.samples_per_token * windows.tokens + overhang(config.encoder)
        self._step = windows.tokens - windows.overlap
        self._before = windows.overlap // 2
        """Tokens at the start of a window that do not count."""
        self._after = windows.overlap - self._before
        self._begin()

    def _begin(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._first = self._next = self._done = 0
        """Tokens at which the held samples and the next window begin, and tokens returned."""

    def push(self, samples: F32) -> U16:
        """Take samples, (n,) float32; return the tokens of windows that are not the last."""
        if not self._held.size:
            self._held, self.used = samples, None
        else:
            self._held = np.concatenate([self._held, samples])
        parts = [np.zeros(0, np.uint16)]
        n_held = self._first + self._config.n_tokens(self._held.size)
        while n_held > self._next + self._windows.tokens:
            self.used = self._windows
            tokens = self._window(self._next, self._samples)
            end = self._next + self._windows.tokens - self._after
            parts.append(tokens[self._done - self._next : end - self._next])
            self._done = end
            # The last window begins behind this one, and perhaps before the next one.
            self._drop(self._next)
            self._next += self._step
        if self._held is samples or self._held.base is not None:
            # The caller may write into its array again, and a view holds all of it in memory.
            self._held = self._held.copy()
        return np.concatenate(parts)

    def flush(self) -> U16:
        """Return the tokens of the last window, which ends with the signal, and begin anew."""
        n_tokens = self._first + self._config.n_tokens(self._held.size)
        start = max(0, n_tokens - self._windows.tokens)
        tokens = self._window(start, None)[self._done - start :]
        self._begin()
        return tokens

    def _window(self, start: int, size: int | None) -> U16:
        """Encode `size` samples from a token on, or all that are left."""
        begin = (start - self._first) * self._windows.samples_per_token
        return self._encode(self._held[begin : None if size is None else begin + size])

    def _drop(self, first: int) -> None:
        """Release the samples before a token."""
        self._held = self._held[(first - self._first) * self._windows.samples_per_token :]
        self._first = first


def overhang(config: EncoderConfig) -> int:
    """Return the samples beyond a frame that its convolutions read: 80 with the usual kernels."""
    if config.causal:
        return 0
    samples = 1
    for kernel, stride in zip(reversed(config.kernel_sizes), reversed(config.strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return max(0, samples - config.frame_size)
