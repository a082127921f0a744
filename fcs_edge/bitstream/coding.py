"""Entropy coders of tokens, as the bitstream uses them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

U16 = NDArray[np.uint16]


class TokenCoder(Protocol):
    """Codes the tokens of a block without loss; it starts anew with each block."""

    @property
    def bits(self) -> int:
        """Bits per token."""

    @property
    def check(self) -> int:
        """The check of its prior; 0 for the neutral coder."""

    def encode(self, tokens: U16, known: NDArray[np.bool_] | None = None) -> bytes:
        """Code tokens, (n,); those that are known only move the contexts on."""

    def decode(self, data: bytes, count: int, known: NDArray[np.int32] | None = None) -> U16:
        """Return `count` tokens; `known` has -1 where a token is coded. Zeros follow the data."""

    def fit(self, tokens: U16, n_bytes: int) -> int:
        """Return how many of the first tokens fit `n_bytes` bytes."""


def neutral_coder(bits: int) -> TokenCoder:
    """Return the coder that needs no prior."""
    try:
        from fcs_edge import entropy
    except ImportError:
        return _RunCoder(bits)
    coder: TokenCoder = entropy.neutral_coder(bits)
    return coder


class _RunCoder:
    """A stand-in: one bit says that a token repeats the one before, else the token follows."""

    check = 0

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def encode(self, tokens: U16, known: NDArray[np.bool_] | None = None) -> bytes:
        text, last = "", 0
        for i, token in enumerate(tokens.tolist()):
            if known is None or not known[i]:
                text += "0" if token == last else "1" + format(token, f"0{self.bits}b")
            last = token
        text = text.rstrip("0")
        text += "0" * (-len(text) % 8)
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))

    def decode(self, data: bytes, count: int, known: NDArray[np.int32] | None = None) -> U16:
        size = count * (self.bits + 1)
        text = "".join(format(byte, "08b") for byte in data[: size // 8 + 1]).ljust(size, "0")
        tokens, at, last = np.zeros(count, np.uint16), 0, 0
        for i in range(count):
            if known is not None and known[i] >= 0:
                last = int(known[i])
            elif text[at] == "0":
                at += 1
            else:
                last = int(text[at + 1 : at + 1 + self.bits], 2)
                at += 1 + self.bits
            tokens[i] = last
        return tokens

    def fit(self, tokens: U16, n_bytes: int) -> int:
        return max(n for n in range(tokens.size + 1) if len(self.encode(tokens[:n])) <= n_bytes)
