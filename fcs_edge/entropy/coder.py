"""What all coders of tokens do: a block of tokens to bytes and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcs_edge.arguments import as_tokens
from fcs_edge.kernels.ops.range_coder import BYTES, SIZE, STATE, TOKENS

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

MAX_BITS = 16
"""Bits of the widest token."""

MAX_TOKENS = 0xFFFF
"""Tokens of a block at most: so no sum of a coder overflows."""

_NO_LIMIT = -1


class TokenCoder:
    """Codes blocks of tokens without loss; each block decodes alone.

    A coder holds work arrays: two threads must not share one.

    Parameters
    ----------
    bits : int
        Bits per token, 1..16.
    check : int
        What a bitstream names the coder by; 0 is the neutral coder.
    kernel : callable
        Codes or decodes a block: `kernels.ops.network_coder.code_with_network`, or another one that
        has the same first four and last two arguments.
    arguments : tuple of ndarray
        The kernel's arguments between these: weights, and work arrays of this coder alone.
    """

    def __init__(
        self,
        bits: int,
        check: int,
        kernel: Callable[..., None],
        arguments: tuple[NDArray[Any], ...],
    ) -> None:
        if not 1 <= bits <= MAX_BITS:
            raise ValueError(f"bits per token must be 1..{MAX_BITS}, not {bits}")
        self.bits = bits
        self.check = check
        self._kernel, self._arguments = kernel, arguments
        self._state = np.zeros(STATE, np.int64)
        self._data = np.zeros(0, np.uint8)
        self._known = np.zeros(0, np.uint8)

    def warm_up(self) -> None:
        """Use the kernel once: the first use may compile, for which live sound has no time."""
        self.decode(self.encode(np.zeros(1, np.uint16)), 1)

    def encode(self, tokens: NDArray[Any], known: NDArray[np.bool_] | None = None) -> bytes:
        """Code a block.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) integers below ``2 ** bits``, at most 65,535 of them.
        known : numpy.ndarray, optional
            (n,) bool: True for tokens that the decoder knows. They are not coded.

        Returns
        -------
        bytes
            The fewest bytes that decode to the tokens; a decoder reads zeros after them. There is
            at least one byte, but none where all tokens are known.

        Raises
        ------
        TypeError
            The tokens are not integers.
        ValueError
            They are not one-dimensional, are too many, or one is out of range; or `known` is not
            bool of their shape.
        """
        block = np.array(as_tokens(tokens, self.bits))
        mask = self._mask(block.size, known)
        self._prepare(block.size)
        self._run(block, mask, False, _NO_LIMIT, self._data)
        return self._data[: int(self._state[SIZE])].tobytes()

    def decode(self, data: bytes, count: int, known: NDArray[np.int32] | None = None) -> U16:
        """Decode a block of any bytes.

        Parameters
        ----------
        data : bytes-like
            What `encode` returned, or anything else: other bytes give other tokens.
        count : int
            Number of tokens, at most 65,535.
        known : numpy.ndarray, optional
            (count,) integers: the tokens that are known, and -1 for those that are coded.

        Returns
        -------
        numpy.ndarray
            (count,) uint16.

        Raises
        ------
        ValueError
            `known` has another shape, a known token is out of range, or `count` is.
        """
        if not 0 <= count <= MAX_TOKENS:
            raise ValueError(f"a block has 0..{MAX_TOKENS} tokens, not {count}")
        block, mask = np.zeros(count, np.uint16), self._mask(count, None)
        if known is not None:
            given = np.asarray(known)
            if given.shape != (count,):
                raise ValueError(f"known must be of shape ({count},), not {given.shape}")
            mask = (given >= 0).view(np.uint8)
            block[:] = as_tokens(np.where(given >= 0, given, 0), self.bits)
        coded = np.frombuffer(data, np.uint8)
        self._state[SIZE] = coded.size
        # The kernel's data is writable, as a coder needs it.
        self._run(block, mask, True, _NO_LIMIT, np.array(coded))
        return block

    def fit(self, tokens: NDArray[Any], n_bytes: int) -> int:
        """Return how many of the first tokens fit into `n_bytes` coded bytes.

        Parameters
        ----------
        tokens : numpy.ndarray
            (n,) integers below ``2 ** bits``, at most 65,535 of them.
        n_bytes : int
            Bytes that ``encode(tokens[:result])`` may take.

        Raises
        ------
        TypeError, ValueError
            As for `encode`.
        """
        block = np.array(as_tokens(tokens, self.bits))
        mask = self._mask(block.size, None)
        self._prepare(block.size)
        self._run(block, mask, False, max(n_bytes, 0), self._data)
        return int(self._state[TOKENS])

    def _mask(self, size: int, known: NDArray[np.bool_] | None) -> U8:
        """Return 1 for each token that is known."""
        if size > MAX_TOKENS:
            raise ValueError(f"a block has at most {MAX_TOKENS} tokens, not {size}")
        if known is None:
            if self._known.size < size:
                self._known = np.zeros(max(size, 256), np.uint8)
            return self._known[:size]
        mask = np.asarray(known)
        if mask.shape != (size,) or mask.dtype != np.bool_:
            raise ValueError(f"known must be bool of shape ({size},)")
        return np.ascontiguousarray(mask).view(np.uint8)

    def _prepare(self, count: int) -> None:
        """Have memory for what `count` tokens may take at most."""
        needed = BYTES * (count * self.bits + 1)
        if self._data.size < needed:
            self._data = np.zeros(needed, np.uint8)

    def _run(self, tokens: U16, known: U8, decoding: bool, limit: int, data: U8) -> None:
        """Call the kernel."""
        self._kernel(tokens, known, decoding, limit, *self._arguments, self._state, data)
