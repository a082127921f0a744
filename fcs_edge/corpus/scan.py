"""Inputs of a corpus to its items: folders, globs, files, manifests, archives, lists of paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from fcs_edge.corpus.items import Item


def scan(
    inputs: Sequence[str],
    *,
    root: str | None = None,
    out: str | None = None,
    keep_text: bool = False,
    names: BinaryIO | None = None,
    nul: bool = False,
) -> Iterator[Item]:
    """Yield the items of inputs, in a fixed order.

    Parameters
    ----------
    inputs : sequence of str
        Folders, globs, files, manifests, archives; ``-`` for paths in `names`.
    root : str or None
        The folder that ids are relative to; None: each input's own.
    out : str or None
        The dataset, whose own files are never items.
    keep_text : bool
        Whether items have the further columns of manifests.
    names : binary file or None
        Paths, a line each.
    nul : bool
        Whether NUL ends the paths in place of line ends.

    Raises
    ------
    CorpusError
        An input is missing or gives no item, or a line of a manifest is malformed.
    """
    raise NotImplementedError
