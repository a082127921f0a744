"""Tokens as a file an input, beside the table: ``npz/ID.npz`` or ``fcs/ID.fcs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import BinaryIO

from fcs_edge.codec import Codec, load
from fcs_edge.corpus.job import Recipe, Row
from fcs_edge.corpus.safe_paths import safe_path
from fcs_edge.corpus.schema import model_rates
from fcs_edge.corpus.shard_reading import shard_rows
from fcs_edge.corpus.storage import MIRRORS, Folder, Storage, data_name
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.npz import NpzWriter, Origin


def write_mirror(
    storage: Storage, name: str, recipe: Recipe, rows: Sequence[Row] | None = None
) -> None:
    """Write the files of a shard's rows, for each suffix of `Recipe.also`.

    The same tokens give the same bytes. A row without tokens has no files.

    Parameters
    ----------
    storage : Storage
        The dataset.
    name : str
        The shard's name.
    recipe : Recipe
        What the shards share.
    rows : sequence of dict, optional
        The rows, where the shard is not yet written: files come first, so that a shard that is
        there has them. Absent: they are read from the shard.
    """
    for row in _rows(storage, name) if rows is None else rows:
        for suffix in recipe.also:
            path = mirror_name(row["id"], suffix)
            if row["tokens"] is None:
                storage.delete(path)
                continue
            with storage.write(path) as file:
                _WRITERS[suffix](file, row, recipe)


def incomplete(storage: Storage, names: Iterable[str], recipe: Recipe) -> Iterator[str]:
    """Yield the shards of which files are missing."""
    if not recipe.also:
        return
    exists: Callable[[str], bool] = storage.exists
    if not isinstance(storage, Folder):
        # One list of all files takes less time than a question for each.
        present = {name for suffix in recipe.also for name in storage.tree(suffix)}
        exists = present.__contains__
    for name in names:
        ids = (row["id"] for row in _rows(storage, name) if row["tokens"] is not None)
        if not all(exists(mirror_name(id, suffix)) for id in ids for suffix in recipe.also):
            yield name


def remove(storage: Storage, ids: Iterable[str], suffixes: Sequence[str] = MIRRORS) -> None:
    """Remove the files of some rows, where there are any."""
    for id in ids:
        for suffix in suffixes:
            storage.delete(mirror_name(id, suffix))


def mirror_name(id: str, suffix: str) -> str:
    """Return the name in the dataset of a row's file: its id, made safe as a path."""
    return f"{suffix}/{safe_path(id, f'.{suffix}', keep_suffix=True)}"


def _rows(storage: Storage, name: str) -> Iterator[Row]:
    return shard_rows(storage, data_name(name), ("id", "n_samples", "tokens"))


def _write_npz(file: BinaryIO, row: Row, recipe: Recipe) -> None:
    rates = model_rates(recipe.model, recipe.model_sha256)
    origin = Origin(
        bytes.fromhex(recipe.fingerprint), rates.name, rates.sample_rate, recipe.settings
    )
    NpzWriter(file, origin).close(row["n_samples"], row["tokens"])


def _write_fcs(file: BinaryIO, row: Row, recipe: Recipe) -> None:
    codec = _codec(recipe.model, recipe.model_sha256)
    fcs_writer(file, codec, settings=recipe.settings).close(row["n_samples"], row["tokens"])


_WRITERS: dict[str, Callable[[BinaryIO, Row, Recipe], None]] = {
    "npz": _write_npz,
    "fcs": _write_fcs,
}


@lru_cache(maxsize=1)
def _codec(model: str, sha256: str) -> Codec:
    """Return the model whose prior codes tokens; its stages are not prepared."""
    model_rates(model, sha256)
    return load(model)
