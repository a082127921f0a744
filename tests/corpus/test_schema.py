"""Shards: one Parquet file each that decodes alone, the same bytes for the same rows."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus_rows import cut_row, failed_row, recipe_of, row_of
from fcs_edge.corpus import schema, shard_reading
from fcs_edge.corpus.job import Totals
from fcs_edge.corpus.storage import Folder, data_name
from fcs_edge.errors import CorpusError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAME = "0123456789abcdef"
VERSIONS = ("fcs-edge", "libsndfile", "soxr", "pyarrow")
RECIPE = recipe_of()


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path, create=True)


def mixed_rows() -> list[dict[str, Any]]:
    member = {"member": "b.flac", "offset": 1.5, "duration": 2.25, "n_not_finite": 3}
    return [row_of(0), failed_row(1), row_of(2, **member), cut_row(3), row_of(4, 0.00001)]


def test_rows_come_back_as_they_were_in_their_order(storage: Folder) -> None:
    rows = mixed_rows()
    schema.write_shard(storage, NAME, rows, RECIPE)
    read = list(shard_reading.shard_rows(storage, data_name(NAME), list(schema.COLUMNS)))
    assert len(read) == len(rows)
    for there, row in zip(read, rows, strict=True):
        assert list(there) == list(schema.COLUMNS)
        tokens = there.pop("tokens"), row.pop("tokens")
        np.testing.assert_equal(*tokens)
        assert tokens[0] is None or tokens[0].dtype == np.uint16
        assert there == {name: row.get(name) for name in there}


def test_totals_are_the_sums_of_rows(storage: Folder) -> None:
    totals = schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    samples = 3 * 8000 + 1
    assert totals == Totals(5, 1, 1, samples, 3 * 25 + 1, 3, 5 * 100 + 10)
    assert shard_reading.read_totals(storage, NAME) == totals


def test_the_same_rows_give_the_same_bytes(storage: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other", create=True)
    schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    schema.write_shard(other, "f" * 16, mixed_rows(), replace(RECIPE, out="/elsewhere"))
    assert storage.read(data_name(NAME)) == other.read(data_name("f" * 16))


def test_a_shard_decodes_alone(storage: Folder) -> None:
    recipe = replace(RECIPE, channel=1)
    schema.write_shard(storage, NAME, mixed_rows(), recipe)
    facts = shard_reading.read_facts(storage, NAME)
    assert facts[:6] == ("edge-65k", RECIPE.model_sha256, "4b4008f194143043", 16, 50.0, 16000)
    assert facts.settings == RECIPE.settings
    assert facts.channel == 1
    assert facts.columns == tuple(schema.COLUMNS)
    metadata = pq.read_schema(storage.label(data_name(NAME))).metadata
    assert metadata[b"fcs_edge.fingerprint"] == b"4b4008f194143043"
    assert metadata[b"fcs_edge.token_rate"] == b"50.0"


def test_totals_are_read_from_the_end_of_the_file(storage: Folder) -> None:
    totals = schema.write_shard(storage, NAME, [row_of(n) for n in range(200)], RECIPE)
    path = Path(storage.label(data_name(NAME)))
    data = bytearray(path.read_bytes())
    data[4 : len(data) - 12000] = bytes(len(data) - 12004)
    path.write_bytes(data)
    assert shard_reading.read_totals(storage, NAME) == totals
    with pytest.raises(CorpusError, match=r"\.parquet: not a readable shard"):
        list(shard_reading.shard_rows(storage, data_name(NAME), ["tokens"]))


def test_a_thousand_rows_take_at_most_two_and_a_half_bytes_a_token(storage: Folder) -> None:
    # 280,000 tokens of edge-65k for parts of LibriSpeech have an entropy of 13.6 bits, as these do.
    rng = np.random.default_rng(0)
    ranks = np.arange(65536)
    chances = np.exp(-ranks / 4600)
    tokens = rng.permutation(65536)[rng.choice(65536, 280_000, p=chances / chances.sum())]
    counts = np.unique(tokens, return_counts=True)[1] / tokens.size
    assert -(counts * np.log2(counts)).sum() > 13.5
    parts = np.array_split(tokens.astype(np.uint16), 1000)
    rows = [row_of(n, part.size / 50, tokens=part) for n, part in enumerate(parts)]
    totals = schema.write_shard(storage, NAME, rows, RECIPE)
    assert len(storage.read(data_name(NAME))) <= 2.5 * totals.tokens


def test_manifests_add_columns_of_text(storage: Folder) -> None:
    recipe = replace(RECIPE, text_columns=("text", "size", "speaker"))
    texts = {"text": "zwei\twörter\0", "manifest_size": "\ud800", "unused": "x"}
    schema.write_shard(storage, NAME, [row_of(0, **texts), row_of(1)], recipe)
    names = ["text", "manifest_size", "speaker"]
    assert shard_reading.read_facts(storage, NAME).columns[len(schema.COLUMNS) :] == tuple(names)
    read = [
        tuple(row.values()) for row in shard_reading.shard_rows(storage, data_name(NAME), names)
    ]
    assert read == [("zwei\twörter\0", "\\ud800", None), (None, None, None)]


def test_an_empty_shard_and_one_of_errors_alone_are_shards(storage: Folder) -> None:
    assert schema.write_shard(storage, NAME, [], RECIPE) == Totals()
    assert shard_reading.read_totals(storage, NAME) == Totals()
    assert schema.write_shard(storage, NAME, [failed_row(1)], RECIPE).errors == 1
    (row,) = shard_reading.shard_rows(storage, data_name(NAME), ["tokens"])
    assert row == {"tokens": None}


def test_failed_rows_are_those_without_tokens_and_those_cut(storage: Folder) -> None:
    odd = row_of(9, warning="holds no sound above 4 kHz")
    totals = schema.write_shard(storage, NAME, [*mixed_rows(), odd], RECIPE)
    # A shard without such rows is not opened: there is no file of this name.
    failed = list(shard_reading.failed_rows(storage, {"f" * 16: Totals(files=5), NAME: totals}))
    assert [(row.id, row.is_error) for row in failed] == [
        (row_of(1)["id"], True),
        (row_of(3)["id"], False),
    ]
    assert [row.problem for row in failed] == ["holds no sound", "cut: 468970 of 937984 bytes"]


def test_a_model_that_changed_since_the_run_began_is_refused(storage: Folder) -> None:
    recipe = replace(RECIPE, model_sha256="0" * 64)
    with pytest.raises(CorpusError, match="has changed since the run began"):
        schema.write_shard(storage, NAME, [row_of(0)], recipe)


def test_a_shard_of_too_many_tokens_is_refused(
    storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_MOST_TOKENS", 40)
    with pytest.raises(CorpusError, match="a shard of 50 tokens is too large"):
        schema.write_shard(storage, NAME, [row_of(0), row_of(1)], RECIPE)


def refused(storage: Folder) -> str:
    """Return the one line with which a shard is refused."""
    with pytest.raises(CorpusError) as raised:
        shard_reading.read_facts(storage, NAME)
    text = str(raised.value)
    assert text.startswith(storage.label(data_name(NAME)))
    assert "\n" not in text
    return text


def put(storage: Folder, data: bytes) -> None:
    with storage.write(data_name(NAME)) as file:
        file.write(data)


def test_a_page_with_a_flipped_bit_is_refused(storage: Folder) -> None:
    schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    data = storage.read(data_name(NAME))
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    names = [metadata.column(n).path_in_schema for n in range(metadata.num_columns)]
    tokens = metadata.column(next(n for n, name in enumerate(names) if "tokens." in name))
    last = tokens.data_page_offset + tokens.total_compressed_size - 1
    for place in range(last - 40, last):
        put(storage, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CorpusError):
            list(shard_reading.shard_rows(storage, data_name(NAME), ["id", "tokens"]))


def test_a_damaged_file_is_refused_in_one_line(storage: Folder) -> None:
    assert "no such file" in refused(storage)
    schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    data = storage.read(data_name(NAME))
    for size in (0, 3, 8, 100, len(data) // 2, len(data) - 1):
        put(storage, data[:size])
        assert "not a readable shard" in refused(storage)
    put(storage, b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1")
    assert "not a readable shard" in refused(storage)


def changed(storage: Folder, metadata: dict[str, str | None], **columns: Any) -> None:
    """Write a shard with other metadata, without what is None, and other columns."""
    schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    table = pq.read_table(io.BytesIO(storage.read(data_name(NAME))))
    for name, array in columns.items():
        place = table.column_names.index(name) if name in table.column_names else None
        table = (
            table.append_column(name, array)
            if place is None
            else table.set_column(place, name, array)
        )
    stated = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    stated |= {f"fcs_edge.{key}": value for key, value in metadata.items()}
    metadata_there = {key: value for key, value in stated.items() if value is not None}
    pq.write_table(table.replace_schema_metadata(metadata_there), storage.label(data_name(NAME)))


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("schema_version", "2", "its schema is not that of a shard of this version"),
        ("schema_version", None, "its schema is not that of a shard of this version"),
        ("fingerprint", "../../etc", "its fingerprint is '../../etc'"),
        ("model_sha256", None, "its model_sha256 is 'None'"),
        ("bits_per_token", "17", "its bits_per_token is '17'"),
        ("bits_per_token", "true", "its bits_per_token is 'True'"),
        ("token_rate", "Infinity", "its token_rate is 'inf'"),
        ("token_rate", "-1", "its token_rate is '-1.0'"),
        ("sample_rate", "16000.5", "its sample_rate is '16000.5'"),
        ("settings", "[]", r"its settings is '\[\]'"),
        ("settings", "{", "not a readable shard"),
        ("settings", "[" * 100000, "not a readable shard"),
        ("channel", "left", "its channel is 'left'"),
        ("versions", '{"soxr": 1}', "its versions is"),
        ("totals", '{"files": 5}', "its errors is 'None'"),
        ("totals", Totals(files=4), "it holds 5 rows, not 4"),
        ("totals", Totals(files=-5), "its files is '-5'"),
    ],
)
def test_metadata_that_is_not_a_shard_s_is_refused(
    key: str, value: Any, problem: str, storage: Folder
) -> None:
    if isinstance(value, Totals):
        value = str(vars(value)).replace("'", '"')
    changed(storage, {key: value})
    with pytest.raises(CorpusError, match=problem):
        shard_reading.read_facts(storage, NAME)


def test_columns_that_are_not_a_shard_s_are_refused(storage: Folder) -> None:
    changed(storage, {}, tokens=pa.array([[1]] * 5, pa.list_(pa.int32())))
    assert "its column tokens is not tokens, list<uint16>" in refused(storage)
    changed(storage, {}, speaker=pa.array([1] * 5))
    assert "its columns are not those of a shard" in refused(storage)
    pq.write_table(pa.table({"text": ["foreign"]}), storage.label(data_name(NAME)))
    assert "its schema is not that of a shard" in refused(storage)


def test_what_shards_state_does_not_depend_on_the_machine(storage: Folder) -> None:
    schema.write_shard(storage, NAME, mixed_rows(), RECIPE)
    metadata = pq.read_schema(storage.label(data_name(NAME))).metadata
    stated = {key.decode() for key in metadata if key.startswith(b"fcs_edge.")}
    names = "schema_version model model_sha256 fingerprint bits_per_token token_rate sample_rate"
    others = "settings channel versions totals"
    assert stated == {f"fcs_edge.{name}" for name in f"{names} {others}".split()}
    assert set(shard_reading.read_facts(storage, NAME).versions) == set(VERSIONS)
