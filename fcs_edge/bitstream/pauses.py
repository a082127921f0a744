"""Pauses in a block: their places and the token that stands in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U16 = NDArray[np.uint16]
MAX_PAUSES = 15
_SHORTEST = 3


class Pauses(NamedTuple):
    """The pauses of a block of tokens."""

    mask: NDArray[np.bool_]
    """(count,), True in pauses."""
    comfort: int
    """The token of each pause."""
    size: int
    """Bytes of the list in the payload."""


def comfort_bytes(bits: int) -> int:
    """Return the bytes of the comfort token in a list of pauses."""
    return 1 if bits <= 8 else 2


def pause_list(tokens: U16, marked: NDArray[np.bool_], bits: int) -> tuple[bytes, Pauses] | None:
    """Return a list of pauses for a block's payload, and the pauses that it holds.

    Parameters
    ----------
    tokens : (n,) ndarray of uint16
        The block's tokens.
    marked : (n,) ndarray of bool
        Tokens that belong to a pause.
    bits : int
        Bits per token.

    Returns
    -------
    bytes and Pauses, or None
        None where no pause is worth listing. The first marked token is the comfort token. Pauses of
        other tokens, pauses below 3 tokens, and the shortest beyond 15 are left out.
    """
    if not marked.any():
        return None
    comfort = int(tokens[np.flatnonzero(marked)[0]])
    found = _runs(marked & (tokens == comfort))
    runs = sorted((run for run in found if run[1] >= _SHORTEST), key=lambda run: -run[1])
    runs = sorted(runs[:MAX_PAUSES])
    if not runs:
        return None
    mask = np.zeros(tokens.size, bool)
    for start, length in runs:
        mask[start : start + length] = True
    data = comfort.to_bytes(comfort_bytes(bits), "little")
    if mask.all():
        data = b"\0" + data
        return data, Pauses(mask, comfort, len(data))
    data = bytes([len(runs)]) + data
    end = 0
    for start, length in runs:
        data += bytes([start - end, length])
        end = start + length
    return data, Pauses(mask, comfort, len(data))


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and length of each run of True."""
    edges = np.flatnonzero(np.diff(marked.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]


def read_pauses(payload: bytes, count: int, bits: int) -> Pauses | None:
    """Read the list of pauses that opens a payload; None if it is not valid."""
    start = 1 + comfort_bytes(bits)
    if len(payload) < start:
        return None
    n = payload[0]
    comfort = int.from_bytes(payload[1:start], "little")
    size = start + 2 * n
    if n > MAX_PAUSES or comfort >> bits or len(payload) < size:
        return None
    mask = np.full(count, n == 0)
    at = 0
    for gap, length in zip(payload[start:size:2], payload[start + 1 : size : 2], strict=True):
        at += gap
        if not length or at + length > count:
            return None
        mask[at : at + length] = True
        at += length
    return Pauses(mask, comfort, size)
