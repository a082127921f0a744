"""The tokens of a packet: as they are, or entropy-coded; see docs/reference/link-protocol.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import pack_tokens, packed_size, unpack_tokens
from fcs_edge.link.reasons import PacketError

if TYPE_CHECKING:
    from fcs_edge.entropy import TokenCoder

U16 = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class CodedTokens:
    """Tokens that are entropy-coded; `decoded` takes its time only where they are played.

    Attributes
    ----------
    coder : TokenCoder
        What coded them, without a token before them.
    data : bytes
        The coded bytes, fewer than those of the tokens as they are.
    size : int
        How many tokens there are.
    """

    coder: TokenCoder
    data: bytes
    size: int

    def decoded(self) -> U16:
        """Return the tokens, (size,)."""
        return self.coder.decode(self.data, self.size)


def coded_if_shorter(tokens: U16, bits: int, coder: TokenCoder | None) -> U16 | CodedTokens:
    """Return tokens entropy-coded, or as they are where that takes no more bytes.

    Parameters
    ----------
    tokens : (n,) ndarray of uint16
        The tokens.
    bits : int
        Bits per token.
    coder : TokenCoder, optional
        What codes them; without one they stay as they are.
    """
    if coder is None:
        return tokens
    data = coder.encode(tokens)
    return CodedTokens(coder, data, tokens.size) if is_shorter(data, tokens.size, bits) else tokens


def is_shorter(data: bytes, count: int, bits: int) -> bool:
    """Return whether coded bytes are a valid body of that many tokens."""
    return 0 < len(data) < packed_size(count, bits)


def body_bytes(tokens: U16 | CodedTokens, bits: int) -> bytes:
    """Return the tokens of a packet as bytes.

    Raises
    ------
    ValueError
        A token does not fit, or coded tokens take as many bytes as others.
    """
    if not isinstance(tokens, CodedTokens):
        return pack_tokens(tokens, bits)
    if not is_shorter(tokens.data, tokens.size, bits):
        raise ValueError(f"{len(tokens.data)} coded bytes for {tokens.size} tokens are too many")
    return tokens.data


def body_tokens(body: bytes, count: int, bits: int, coder: TokenCoder | None) -> U16 | CodedTokens:
    """Return the tokens of a packet's body.

    Parameters
    ----------
    body : bytes
        The body.
    count, bits : int
        How many tokens the packet has, and bits per token.
    coder : TokenCoder, optional
        What coded them; None for tokens as they are.

    Raises
    ------
    PacketError
        The size is wrong, or bits at the end are not zero.
    """
    if coder is not None:
        if not is_shorter(body, count, bits):
            raise PacketError("size")
        return CodedTokens(coder, body, count)
    if len(body) != packed_size(count, bits):
        raise PacketError("size")
    if body[-1] & ((1 << (-count * bits % 8)) - 1):
        raise PacketError("range")
    return unpack_tokens(body, bits, count)
