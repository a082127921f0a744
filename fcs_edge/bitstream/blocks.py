"""Blocks of tokens: which form is shortest, and back to tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.bitpack import pack_tokens, packed_size, unpack_tokens
from fcs_edge.bitstream.crc import with_crc
from fcs_edge.bitstream.pauses import Pauses, pause_list, read_pauses
from fcs_edge.bitstream.records import (
    BLOCK_TAGS,
    CLASS_TOKENS,
    MAX_LENGTH,
    NEUTRAL,
    PAUSES,
    PRIOR,
    RAW,
    STREAMED,
    WIDE,
    WRITTEN,
    WRITTEN_OVERHEAD,
    Block,
    compact_record,
    written_head,
)
from fcs_edge.entropy import TokenCoder

U16 = NDArray[np.uint16]


def block_record(
    tokens: U16,
    position: int,
    bits: int,
    coder: TokenCoder | None,
    marked: NDArray[np.bool_] | None = None,
    *,
    compact: bool = True,
) -> bytes:
    """Return the shortest record of a block.

    Parameters
    ----------
    tokens : (n,) ndarray of uint16
        The tokens; few enough for their form, see `fcs_edge.bitstream.writer`.
    position : int
        Position of the first token in its part.
    bits : int
        Bits per token.
    coder : TokenCoder or None
        The entropy coder; None codes nothing.
    marked : (n,) ndarray of bool, optional
        Tokens that belong to a pause.
    compact : bool
        Whether the block may be of a compact class, if its count and position fit one.
    """
    kind = WRITTEN
    if compact and tokens.size in CLASS_TOKENS and position % tokens.size == 0:
        kind = CLASS_TOKENS.index(tokens.size)
    listed = None if marked is None else pause_list(tokens, marked, bits)
    # The first of the shortest is taken: raw before coded, plain before a list of pauses.
    forms = [(RAW, pack_tokens(tokens, bits))]
    if listed is not None:
        data, pauses = listed
        forms.append((RAW | PAUSES, data + pack_tokens(tokens[~pauses.mask], bits)))
    if coder is not None:
        coding = PRIOR if coder.check else NEUTRAL
        forms.append((coding, coder.encode(tokens)))
        if listed is not None and not pauses.mask.all():
            forms.append((coding | PAUSES, data + coder.encode(tokens, pauses.mask)))
    records = (_record(kind, form, payload, position, tokens.size) for form, payload in forms)
    return min((record for record in records if record), key=len)


def _record(kind: int, form: int, payload: bytes, position: int, count: int) -> bytes:
    """Return a record, or nothing where its length does not fit."""
    tag = BLOCK_TAGS.start | kind << 2 | form
    unit = 2 if kind == WIDE else 1
    if form != RAW:
        payload += bytes(-len(payload) % unit)
    if (form != RAW or kind == WRITTEN) and len(payload) > MAX_LENGTH * unit:
        return b""
    if kind != WRITTEN:
        return compact_record(tag, position, payload)
    return with_crc(written_head(tag, position, count, len(payload)) + payload)


def fitting(
    tokens: U16,
    bits: int,
    coder: TokenCoder | None,
    marked: NDArray[np.bool_] | None,
    n_bytes: int,
) -> int:
    """Return how many of the first tokens fit a block with a written count of ``n_bytes`` bytes.

    The block is that of `block_record` with ``compact`` False.
    """
    space = n_bytes - WRITTEN_OVERHEAD
    count = min(tokens.size, space * 8 // bits)
    if coder is not None:
        count = max(count, coder.fit(tokens, space))
    if marked is None or not marked.any():
        return count
    low, high = count, tokens.size
    while low < high:
        middle = (low + high + 1) // 2
        size = _size(tokens[:middle], bits, coder, marked[:middle])
        low, high = (middle, high) if size <= n_bytes else (low, middle - 1)
    return low


def _size(tokens: U16, bits: int, coder: TokenCoder | None, marked: NDArray[np.bool_]) -> int:
    try:
        return len(block_record(tokens, 0, bits, coder, marked, compact=False))
    except ValueError:
        return 1 << 16  # no form has a length that fits


def read_list(block: Block, payload: bytes, bits: int) -> Pauses | None:
    """Read a block's list of pauses; None if payload and list are not valid together."""
    pauses = read_pauses(payload, block.n_tokens, bits)
    if pauses is None:
        return None
    rest = len(payload) - pauses.size
    n_coded = int(block.n_tokens - np.count_nonzero(pauses.mask))
    even = (len(payload) & 1 == 0) and block.tag >> 2 & 3 == WIDE
    if n_coded == 0 or block.coding == RAW:
        spare = rest - packed_size(n_coded, bits)
        return pauses if spare == 0 or (spare == 1 and even) else None
    return pauses


def block_tokens(
    block: Block, payload: bytes, bits: int, coder: TokenCoder | None, pauses: Pauses | None
) -> U16:
    """Return the tokens of a valid block; ``coder`` is needed for coded ones."""
    if block.coding == STREAMED:
        return streamed_tokens(payload, block.n_tokens, block.chunk, bits)
    if pauses is None:
        if block.coding == RAW:
            return unpack_tokens(payload, bits, block.n_tokens)
        assert coder is not None
        return coder.decode(payload, block.n_tokens)
    tokens = np.full(block.n_tokens, pauses.comfort, np.uint16)
    coded = ~pauses.mask
    data = payload[pauses.size :]
    if block.coding == RAW:
        tokens[coded] = unpack_tokens(data, bits, int(coded.sum()))
    elif coded.any():
        assert coder is not None
        known = np.where(coded, -1, pauses.comfort).astype(np.int32)
        tokens[:] = coder.decode(data, block.n_tokens, known)
    return tokens


def streamed_tokens(data: bytes, count: int, chunk: int, bits: int) -> U16:
    """Return tokens whose chunks each begin on a byte."""
    n_chunks, size = count // chunk, packed_size(chunk, bits)
    rows = np.frombuffer(data[: n_chunks * size], np.uint8).reshape(n_chunks, size)
    ones = np.unpackbits(rows, axis=1)[:, : chunk * bits]
    return unpack_tokens(np.packbits(ones).tobytes(), bits, count)
