"""Coders of packets for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class TailCoder:
    """Takes two bytes a token, without zeros at the end, and reads zeros past the end."""

    def __init__(self, check: int, mask: int = 0xFFFF) -> None:
        self.check, self.n_decoded = check, 0
        self._mask = mask

    def encode(self, tokens: NDArray[np.uint16]) -> bytes:
        return tokens.astype(">u2").tobytes().rstrip(b"\0") or b"\0"

    def decode(self, data: bytes, count: int) -> NDArray[np.uint16]:
        self.n_decoded += 1
        whole = data[: 2 * count].ljust(2 * count, b"\0")
        return np.frombuffer(whole, ">u2").astype(np.uint16) & self._mask
