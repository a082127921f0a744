"""What stands beside the shards: dataset.json, the dataset card, the table of errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NamedTuple

from fcs_edge.corpus import mirror
from fcs_edge.corpus.card import dataset_card, is_own_card
from fcs_edge.corpus.job import Recipe, Totals
from fcs_edge.corpus.schema import (
    SCHEMA_VERSION,
    ShardFacts,
    columns_of,
    facts_of,
    is_hex,
    model_rates,
    totals_of,
)
from fcs_edge.corpus.shard_reading import failed_rows, read_facts, shard_rows
from fcs_edge.corpus.storage import MIRRORS, STALE, Storage, data_name, shard_names
from fcs_edge.corpus.versions import versions
from fcs_edge.errors import CorpusError, parsing, shown
from fcs_edge.modelfile import strict_json

DATASET, CARD, ERRORS = "dataset.json", "README.md", "_errors.tsv"
_FORMAT = "fcs-edge corpus"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class Shard(NamedTuple):
    """A shard, as dataset.json lists it."""

    name: str
    totals: Totals
    sha256: str
    """Of the file."""


class Contents(NamedTuple):
    """What dataset.json states."""

    facts: ShardFacts
    """What all shards share; the totals are those of all."""
    shards: tuple[Shard, ...]
    """In the order of the input."""


def check_model(storage: Storage, recipe: Recipe) -> None:
    """Refuse a dataset that holds tokens of another model or of other settings.

    Raises
    ------
    CorpusError
        It does; the line names both, and ``--force``.
    """
    facts = _facts_there(storage)
    if facts is None:
        return
    there, here = _origin(facts), _origin_of(recipe)
    different = [key for key in there | here if there.get(key) != here.get(key)]
    if different:
        if "model" in different:
            different = ["model"]
        held = ", ".join(there.get(key, f"no {key}") for key in different)
        requested = ", ".join(here.get(key, f"no {key}") for key in different)
        raise CorpusError(
            f"{storage.location}: holds tokens of {shown(held)}, and this run has {requested}: "
            "give another folder, or --force to set them aside"
        )


def _origin(facts: ShardFacts) -> dict[str, str]:
    return {
        "model": f"the model {facts.model} {facts.model_sha256[:16]}",
        "channel": f"the channel {facts.channel}",
        **_settings(facts.settings),
    }


def _origin_of(recipe: Recipe) -> dict[str, str]:
    rates = model_rates(recipe.model, recipe.model_sha256)
    return {
        "model": f"the model {rates.name} {recipe.model_sha256[:16]}",
        "channel": f"the channel {recipe.channel}",
        **_settings(recipe.settings),
    }


def _settings(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{name} {value}" for name, value in settings.items()}


def _facts_there(storage: Storage) -> ShardFacts | None:
    if storage.exists(DATASET):
        return read_dataset(storage).facts
    for name in shard_names(storage):
        # A run encodes what is damaged again.
        with suppress(CorpusError):
            return read_facts(storage, name)
    return None


def begin_dataset(storage: Storage) -> None:
    """Remove dataset.json, whose presence means that no shard is missing."""
    storage.delete(DATASET)


def write_dataset(
    storage: Storage, recipe: Recipe, names: Sequence[str], totals: Mapping[str, Totals]
) -> None:
    """Write the table of errors, the dataset card, and dataset.json last, unless they are there.

    A card without the last line of those that this function writes is its owner's, and stays.

    Parameters
    ----------
    storage : Storage
        The dataset; it holds all shards.
    recipe : Recipe
        What the shards share.
    names : sequence of str
        The shards' names, in the order of the input.
    totals : mapping of str to Totals
        The sums of each shard by its name.
    """
    stated = _stated(storage, recipe, names, totals)
    text = json.dumps(stated, indent=1, ensure_ascii=False) + "\n"
    if _is_written(storage, text.encode()):
        return
    storage.delete(DATASET)
    _write_errors(storage, names, totals)
    if not storage.exists(CARD) or is_own_card(storage.read(CARD)):
        _write_text(storage, CARD, dataset_card(stated))
    _write_text(storage, DATASET, text)


def _is_written(storage: Storage, data: bytes) -> bool:
    """Return whether all files are there already: dataset.json states what they depend on."""
    there = all(storage.exists(name) for name in (ERRORS, CARD, DATASET))
    return there and storage.read(DATASET) == data


def _write_errors(storage: Storage, names: Sequence[str], totals: Mapping[str, Totals]) -> None:
    with storage.write(ERRORS) as file:
        file.write(b"id\tpath\terror\twarning\n")
        for row in failed_rows(storage, {name: totals[name] for name in names}):
            problem = ("", row.problem) if not row.is_error else (row.problem, "")
            cells = (cell.translate(_ESCAPES) for cell in (row.id, row.path, *problem))
            file.write(("\t".join(cells) + "\n").encode())


def _write_text(storage: Storage, name: str, text: str) -> None:
    with storage.write(name) as file:
        file.write(text.encode())


def _stated(
    storage: Storage, recipe: Recipe, names: Sequence[str], totals: Mapping[str, Totals]
) -> dict[str, Any]:
    rates = model_rates(recipe.model, recipe.model_sha256)
    total = sum((totals[name] for name in names), Totals())
    return {
        "format": _FORMAT,
        "schema_version": SCHEMA_VERSION,
        "model": {
            "model": rates.name,
            "fingerprint": recipe.fingerprint,
            "model_sha256": recipe.model_sha256,
            "bits_per_token": rates.bits_per_token,
            "token_rate": rates.token_rate,
            "sample_rate": rates.sample_rate,
        },
        "settings": recipe.settings,
        "channel": str(recipe.channel),
        "versions": _versions(storage, names),
        "columns": columns_of(recipe),
        "totals": asdict(total),
        "shards": [
            {"name": name, **asdict(totals[name]), "sha256": sha256_of(storage, data_name(name))}
            for name in names
        ],
    }


def _versions(storage: Storage, names: Sequence[str]) -> dict[str, str]:
    """Return the versions that wrote the shards, of several runs with commas between them."""
    found: dict[str, set[str]] = {name: set() for name in versions()}
    for name in names:
        for package, version in read_facts(storage, name).versions.items():
            found.setdefault(package, set()).add(version)
    return {package: ", ".join(sorted(there)) for package, there in found.items()}


def sha256_of(storage: Storage, name: str) -> str:
    """Return the SHA-256 of a file of the dataset, in hexadecimal."""
    digest = hashlib.sha256()
    with storage.open(name) as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def stated_digests(storage: Storage) -> dict[str, str]:
    """Return the SHA-256 of shards by name, as dataset.json states them; none where it cannot."""
    with suppress(CorpusError):
        return {shard.name: shard.sha256 for shard in read_dataset(storage).shards}
    return {}


def read_dataset(storage: Storage) -> Contents:
    """Return what dataset.json states.

    Raises
    ------
    CorpusError
        It is missing, damaged, or of another version.
    """
    data = storage.read(DATASET)
    with parsing(storage.label(DATASET), CorpusError, "not the dataset.json of tokens"):
        stated = strict_json.loads(data)
        if not isinstance(stated, dict) or stated.get("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT!r}")
        if stated.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is not {SCHEMA_VERSION}")
        facts = facts_of({**stated, **stated["model"]}, tuple(map(str, stated["columns"])))
        shards = tuple(_shards(stated["shards"]))
        if sum((shard.totals for shard in shards), Totals()) != facts.totals:
            raise ValueError("its totals are not the sums of its shards")
    return Contents(facts, shards)


def _shards(stated: Sequence[Mapping[str, Any]]) -> Iterator[Shard]:
    names = set()
    for shard in stated:
        name, sha256 = shard["name"], shard["sha256"]
        if not is_hex(name, 16) or not is_hex(sha256, 64) or name in names:
            raise ValueError(f"{shown(name, 40)!r} is no name of a shard, or is there twice")
        names.add(name)
        yield Shard(name, totals_of(shard), sha256)


def take_back(storage: Storage, names: Collection[str]) -> list[str]:
    """Move shards of these names that a run set aside back to the data; return their names.

    Their mirrors are removed: `mirror.incomplete` then names the shards.
    """
    expected = set(names) - set(shard_names(storage))
    taken = [name for name in shard_names(storage, STALE) if name in expected]
    for name in taken:
        if _mirrors(storage):
            mirror.remove(storage, _ids(storage, f"{STALE}/{name}.parquet"))
        storage.move(f"{STALE}/{name}.parquet", data_name(name))
    return taken


def set_aside(
    storage: Storage, names: Collection[str], recipe: Recipe, *, prune: bool = False
) -> list[str]:
    """Move all shards but those of these names to ``stale``, or delete them; return their names.

    With `prune`, shards that earlier runs set aside are deleted too. The mirrors of rows that
    the dataset no longer has, or that the run did not write, are removed.
    """
    expected = set(names)
    stale = [name for name in shard_names(storage) if name not in expected]
    if stale:
        begin_dataset(storage)
        _remove_mirrors(storage, stale, expected, recipe)
    for name in stale:
        if prune:
            storage.delete(data_name(name))
        else:
            storage.move(data_name(name), f"{STALE}/{name}.parquet")
    if prune:
        for name in shard_names(storage, STALE):
            storage.delete(f"{STALE}/{name}.parquet")
    return stale


def _remove_mirrors(
    storage: Storage, stale: Sequence[str], expected: Collection[str], recipe: Recipe
) -> None:
    kinds = _mirrors(storage)
    if not kinds:
        return
    gone = {id for name in stale for id in _ids(storage, data_name(name))}
    mirror.remove(storage, gone, [kind for kind in kinds if kind not in recipe.also])
    for name in expected:
        gone.difference_update(_ids(storage, data_name(name)))
    mirror.remove(storage, gone, [kind for kind in kinds if kind in recipe.also])


def _mirrors(storage: Storage) -> list[str]:
    """Return the kinds of mirrors that a dataset has."""
    return [kind for kind in MIRRORS if next(storage.tree(kind), None) is not None]


def _ids(storage: Storage, path: str) -> Iterator[str]:
    """Yield the ids of a shard; none of one that cannot be read."""
    with suppress(CorpusError):
        yield from (row["id"] for row in shard_rows(storage, path, ("id",)))
