"""The events of a `BitstreamReader`, in the order of the stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcs_edge.bitstream.header import Header


@dataclass(frozen=True)
class HeaderRead:
    """A part begins: always the first event; more may follow after `End` where files are chained.

    Attributes
    ----------
    header : Header
        The part's header, or the one that is assumed where the part has none.
    """

    header: Header


@dataclass(frozen=True)
class Metadata:
    """Metadata of the part.

    Attributes
    ----------
    tags : dict of str to str
        Texts by key. A later event's text replaces an earlier one of the same key. The texts are
        foreign: print them through `fcs_edge.text.printable`.
    """

    tags: dict[str, str]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The next tokens.

    Attributes
    ----------
    tokens : (n,) ndarray of uint16
        One or more tokens.
    chunk_tokens : int
        Tokens of a chunk if they are of a streamed block, which may end in filler; else 0.
    """

    tokens: NDArray[np.uint16]
    chunk_tokens: int = 0


@dataclass(frozen=True)
class Damage:
    """A part of the stream was lost.

    Attributes
    ----------
    n_tokens : int
        Silence, in tokens, in place of what was lost; may be 0.
    message : str
        One line for a person: at which byte, and what.
    """

    n_tokens: int
    message: str


@dataclass(frozen=True)
class End:
    """The end record of the part was read.

    Attributes
    ----------
    n_samples : int
        Number of input samples, as the file states it, from where reading of the part began. A
        damaged or hostile file may have more or fewer tokens, so a reader must not allocate
        memory by this number.
    """

    n_samples: int


Event = HeaderRead | Metadata | Tokens | Damage | End
