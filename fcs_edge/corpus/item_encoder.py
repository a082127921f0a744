"""One item of a corpus to one row: its tokens, or why it has none."""

from __future__ import annotations

from collections.abc import Callable

from fcs_edge.codec import Codec
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.job import Recipe, Row

CUT = "cut: "
"""How the warning of a row begins whose tokens are those of what is intact: sound is missing."""


def is_cut(row: Row) -> bool:
    """Return whether a row has tokens of what is intact only."""
    return row["tokens"] is not None and (row["warning"] or "").startswith(CUT)


def row_without_tokens(item: Item, error: str) -> Row:
    """Return the row of an item that is not encoded, and why."""
    return {
        "id": item.id,
        "path": item.path_text,
        "member": item.member,
        "offset": item.offset,
        "duration": item.duration,
        "n_samples": None,
        "n_tokens": None,
        "tokens": None,
        "sample_rate_in": None,
        "channels": None,
        "n_not_finite": None,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "sha256": None,
        "warning": None,
        "error": error,
        **item.columns,
    }


class ItemEncoder:
    """Encodes items, one after the other, with one encoder.

    Parameters
    ----------
    codec : Codec
        The model, loaded with the recipe's activations.
    recipe : Recipe
        How sound is read and encoded.

    Raises
    ------
    fcs_edge.ModelFileError
        The model is a half without an encoder.
    """

    def __init__(self, codec: Codec, recipe: Recipe) -> None:
        self._codec, self._recipe = codec, recipe

    def row(self, item: Item, on_progress: Callable[[float], None] = lambda _: None) -> Row:
        """Return the row of an item; a fault of its file is the row's error.

        Parameters
        ----------
        item : Item
            The sound.
        on_progress : callable
            Takes the seconds of the item's sound that are done, now and then.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file that is still open for its next item."""
