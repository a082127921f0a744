"""The events of a `BitstreamReader`, in the order of the stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.writer import Header
from fcs_edge.text import counted


@dataclass(frozen=True)
class HeaderRead:
    """The header was read: always the first event.

    Attributes
    ----------
    header : Header
        The header.
    """

    header: Header


@dataclass(frozen=True, eq=False)
class Tokens:
    """The next tokens.

    Attributes
    ----------
    tokens : (n,) ndarray of uint16
        One or more tokens.
    """

    tokens: NDArray[np.uint16]


@dataclass(frozen=True)
class Damage:
    """A part of the stream was lost.

    Attributes
    ----------
    n_tokens : int
        Silence, in tokens, that stands for what was lost; may be 0.
    message : str
        One line for a person: at which byte, and what.
    """

    n_tokens: int
    message: str


@dataclass(frozen=True)
class End:
    """The end record was read.

    Attributes
    ----------
    n_samples : int
        Number of input samples, as the file states it. A damaged or hostile file may have more or
        fewer tokens, so a reader must not allocate memory by this number.
    """

    n_samples: int


Event = HeaderRead | Tokens | Damage | End


def out_of_sequence(expected: int, sequence: int) -> str:
    """Return a message about a block's unexpected sequence number."""
    missing = (sequence - expected) % 256
    if missing < 128:
        return f"{counted(missing, 'block')} missing before block {sequence}"
    return f"block {sequence} where block {expected} was expected: repeated or out of order"
