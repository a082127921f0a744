"""Whether a dataset is whole: each damage is one line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

import fcs_edge
from dataset_cases import error_row, recipe_of, sound_row, store
from fcs_edge import Codec, CorpusError, FcsError
from fcs_edge.corpus import Checked, check
from fcs_edge.corpus.checking import MOST_FAULTS
from fcs_edge.corpus.encoding_again import Sample
from fcs_edge.corpus.mirror import write_mirror
from fcs_edge.corpus.schema import write_shard
from fcs_edge.corpus.sources import source_path
from fcs_edge.corpus.storage import open_storage
from fcs_edge.text import printable

pytest.importorskip("pyarrow")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(
    tiny: Codec, speech: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> Rows:
    folder = tmp_path_factory.mktemp("sounds")
    return [
        sound_row(tiny, folder / f"{n}.wav", f"{n}.wav", speech[at : at + 9000 + 99 * n])
        for n, at in enumerate(range(0, 120000, 20000))
    ]


@pytest.fixture
def dataset(tiny: Codec, rows: Rows, tmp_path: Path) -> Path:
    bad = error_row("bad.wav", "holds no sound")
    return store(tiny, tmp_path / "tokens", [rows[:3], [bad, *rows[3:]]])


def only_fault(found: Checked) -> str:
    """Return the one fault, as one line."""
    assert len(found.faults) == found.n_faults == found.exit_code == 1, found.faults
    line = str(found.faults[0])
    assert "\n" not in line
    assert "Traceback" not in line
    return line


def first_shard(dataset: Path) -> Path:
    return min((dataset / "data").iterdir())


def edit(dataset: Path, change: Callable[[dict[str, Any]], None]) -> None:
    stated = json.loads((dataset / "dataset.json").read_text())
    change(stated)
    (dataset / "dataset.json").write_text(json.dumps(stated))


def test_a_whole_dataset_has_no_fault(dataset: Path, rows: Rows) -> None:
    found = check(dataset, sources=True)
    assert found.faults == ()
    assert (found.exit_code, found.shards, found.rows, found.sources) == (0, 2, 7, 6)
    assert found.tokens == sum(row["n_tokens"] for row in rows)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97, 0.999])
def test_a_flipped_byte(share: float, dataset: Path) -> None:
    shard = first_shard(dataset)
    data = bytearray(shard.read_bytes())
    data[int(share * len(data))] ^= 0x40
    shard.write_bytes(data)
    line = only_fault(check(dataset))
    assert line == f"data/{shard.name}: is damaged: its SHA-256 is not the one in dataset.json"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_flipped_byte_that_dataset_json_does_not_know_of(share: float, dataset: Path) -> None:
    shard = first_shard(dataset)
    data = bytearray(shard.read_bytes())
    data[int(share * len(data))] ^= 0x40
    shard.write_bytes(data)
    (dataset / "dataset.json").unlink()
    for fault in check(dataset).faults:
        assert "\n" not in str(fault)
        assert "Traceback" not in str(fault)


def test_a_flipped_token_that_dataset_json_does_not_know_of(dataset: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    shard = first_shard(dataset)
    group = pq.ParquetFile(shard).metadata.row_group(0)
    columns = {(column := group.column(n)).path_in_schema: column for n in range(group.num_columns)}
    tokens = columns["tokens.list.element"]
    data = bytearray(shard.read_bytes())
    data[tokens.data_page_offset + tokens.total_compressed_size - 9] ^= 1
    shard.write_bytes(data)
    (dataset / "dataset.json").unlink()
    faults = [str(fault) for fault in check(dataset).faults]
    assert len(faults) == 2
    assert faults[1].startswith(f"data/{shard.name}: not a readable shard")


@pytest.mark.parametrize("n_bytes", [0, 3, 100])
def test_a_cut_shard_without_dataset_json(n_bytes: int, dataset: Path) -> None:
    shard = first_shard(dataset)
    shard.write_bytes(shard.read_bytes()[:n_bytes])
    (dataset / "dataset.json").unlink()
    faults = [str(fault) for fault in check(dataset).faults]
    assert len(faults) == 2
    assert faults[0].startswith("dataset.json: is missing")
    assert faults[1].startswith(f"data/{shard.name}: not a readable shard")


def test_a_missing_shard(dataset: Path) -> None:
    shard = first_shard(dataset)
    shard.unlink()
    line = only_fault(check(dataset))
    assert line == f"data/{shard.name}: is missing, and dataset.json names it"


def test_a_shard_that_belongs_to_other_inputs(dataset: Path, tiny: Codec, rows: Rows) -> None:
    write_shard(open_storage(dataset), "ab" * 8, rows[:1], recipe_of(tiny, dataset))
    assert "data/abababababababab.parquet: is not in dataset.json" in only_fault(check(dataset))


def test_a_foreign_parquet_file(dataset: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"]}), dataset / "data" / "foreign.parquet")
    assert only_fault(check(dataset)).startswith("data/foreign.parquet: is no file of the dataset")
    shard = first_shard(dataset)
    (dataset / "data" / "foreign.parquet").replace(shard)
    (dataset / "dataset.json").unlink()
    lines = [str(fault) for fault in check(dataset).faults]
    assert len(lines) == 2
    assert lines[1].startswith(f"data/{shard.name}: not a readable shard")


def set_totals(stated: dict[str, Any]) -> None:
    for sums in (stated["totals"], stated["shards"][0]):
        sums["tokens"] += 1


def set_sha256(stated: dict[str, Any]) -> None:
    stated["shards"][0]["sha256"] = "0" * 64


def set_fingerprint(stated: dict[str, Any]) -> None:
    stated["model"]["fingerprint"] = "0" * 16


def set_settings(stated: dict[str, Any]) -> None:
    stated["settings"]["weights"] = "int4"


def remove_shards(stated: dict[str, Any]) -> None:
    del stated["shards"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (set_totals, "tokens, not the"),
        (set_sha256, "is damaged: its SHA-256"),
        (set_fingerprint, "dataset.json: its fingerprint is 0000000000000000"),
        (set_settings, "dataset.json: its settings"),
        (remove_shards, "dataset.json: not the dataset.json of tokens"),
    ],
)
def test_an_edited_dataset_json(
    change: Callable[[dict[str, Any]], None], expected: str, dataset: Path
) -> None:
    edit(dataset, change)
    assert expected in only_fault(check(dataset))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_dataset_json_that_is_none(data: bytes, dataset: Path) -> None:
    (dataset / "dataset.json").write_bytes(data)
    assert only_fault(check(dataset)).startswith("dataset.json: not the dataset.json of tokens")


def test_files_beside_the_shards(dataset: Path) -> None:
    (dataset / "README.md").unlink()
    assert only_fault(check(dataset)).startswith("README.md: is missing")


def test_a_table_of_errors_with_other_rows(dataset: Path) -> None:
    with (dataset / "_errors.tsv").open("a") as file:
        file.write("more\t/more\tno sound\t\n")
    assert only_fault(check(dataset)) == "_errors.tsv: lists 2 rows, and the shards have 1"


def test_what_a_killed_run_left(dataset: Path) -> None:
    (dataset / "data" / ".0000000000000000-0123abcd.parquet").write_bytes(b"part")
    assert "is what a killed run left" in only_fault(check(dataset))


def test_files_of_rows_that_are_missing(dataset: Path, tiny: Codec, rows: Rows) -> None:
    recipe = replace(recipe_of(tiny, dataset), also=("npz",))
    for name in ("0" * 16, "0" * 15 + "1"):
        write_mirror(open_storage(dataset), name, recipe)
    assert check(dataset).faults == ()
    (dataset / "npz" / "1.wav.npz").unlink()
    assert only_fault(check(dataset)) == (
        "data/0000000000000000.parquet: 1 file of its rows not in npz/; "
        "fcs-edge corpus encode --also npz writes them"
    )


def test_shards_set_aside_are_no_fault(dataset: Path, tiny: Codec, rows: Rows) -> None:
    (dataset / "stale").mkdir()
    shutil.copy(first_shard(dataset), dataset / "stale")
    assert (check(dataset).n_faults, check(dataset).stale) == (0, 1)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no dataset"):
        check(tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        check(tmp_path / "none")


WRONG_ROWS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"n_tokens": 4}, "tokens, and its n_tokens is 4"),
    ({"n_samples": 90_000}, "its 90000 samples need"),
    ({"n_samples": 0}, "its n_samples is 0"),
    ({"n_samples": None}, "its n_samples is None"),
    ({"n_tokens": None}, "tokens, and its n_tokens is None"),
    ({"size": None}, "its size is None"),
    ({"n_not_finite": None}, "its n_not_finite is None"),
    ({"path": None}, "has no path"),
    ({"sha256": "none"}, "its sha256 is none"),
    ({"sample_rate_in": 0}, "its sample_rate_in is 0"),
    ({"channels": None}, "its channels is None"),
    ({"error": "holds no sound"}, "has both tokens and an error"),
    ({"tokens": None}, "has neither tokens nor an error"),
    ({"id": ""}, "has no id"),
)


@pytest.mark.parametrize(("change", "expected"), WRONG_ROWS)
def test_a_wrong_row(
    change: dict[str, Any], expected: str, tiny: Codec, rows: Rows, tmp_path: Path
) -> None:
    folder = store(tiny, tmp_path / "tokens", [[rows[0], {**rows[1], **change}, rows[2]]])
    found = check(folder, sources=True)
    line = str(found.faults[0])
    assert expected in line
    assert line.startswith("data/0000000000000000.parquet: ")
    assert found.exit_code == 1


def test_a_token_that_the_model_does_not_have(tiny: Codec, rows: Rows, tmp_path: Path) -> None:
    tokens = rows[1]["tokens"].copy()
    tokens[3] = 1 << tiny.bits_per_token
    folder = store(tiny, tmp_path / "tokens", [[rows[0], {**rows[1], "tokens": tokens}]])
    line = only_fault(check(folder))
    assert "1.wav: holds the token" in line
    assert f"the model's are 0 to {(1 << tiny.bits_per_token) - 1}" in line


def test_an_id_that_two_rows_have(tiny: Codec, rows: Rows, tmp_path: Path) -> None:
    folder = store(tiny, tmp_path / "tokens", [rows[:2], [rows[2], {**rows[3], "id": "0.wav"}]])
    assert only_fault(check(folder)) == (
        "data/0000000000000001.parquet: 0.wav: is in data/0000000000000000.parquet, too"
    )


def test_shards_of_two_models(
    dataset: Path, rows: Rows, golden: Callable[[str], Any], tmp_path: Path
) -> None:
    (dataset / "dataset.json").unlink()
    recipe = recipe_of(golden("options").codec, dataset)
    write_shard(open_storage(dataset), "f" * 16, [], recipe)
    lines = [str(fault) for fault in check(dataset).faults]
    assert len(lines) == 2
    assert lines[1].startswith("data/ffffffffffffffff.parquet: is of the model options")


def test_many_faults_are_counted(tiny: Codec, rows: Rows, tmp_path: Path) -> None:
    wrong = [{**rows[0], "id": str(n), "channels": 0} for n in range(MOST_FAULTS + 5)]
    seen: list[object] = []
    found = check(store(tiny, tmp_path / "tokens", [wrong]), on_fault=seen.append)
    assert (len(found.faults), found.n_faults) == (MOST_FAULTS, MOST_FAULTS + 5)
    assert len(seen) == MOST_FAULTS + 5


def copied(rows: Rows, folder: Path) -> Rows:
    """Return rows whose sources are copies."""
    folder.mkdir()
    found = []
    for row in rows:
        path = shutil.copy2(row["path"], folder)
        found.append({**row, "path": str(path), "mtime_ns": os.stat(path).st_mtime_ns})
    return found


def test_sources_that_changed(tiny: Codec, rows: Rows, tmp_path: Path) -> None:
    own = copied(rows[:4], tmp_path / "copies")
    folder = store(tiny, tmp_path / "tokens", [own])
    assert check(folder, sources=True).n_faults == 0
    os.remove(own[0]["path"])
    os.utime(own[1]["path"], ns=(1, 1))
    with open(own[2]["path"], "ab") as file:
        file.write(b"more")
    lines = [str(fault) for fault in check(folder, sources=True).faults]
    assert len(lines) == 3
    assert "0.wav: No such file" in lines[0]
    assert "1.wav was modified since" in lines[1]
    assert "2.wav has" in lines[2]
    assert check(folder).n_faults == 0


@pytest.mark.parametrize("name", [b"\xff.wav", b"\xc2\x9b31m\n.wav", "\u202e.wav".encode()])
def test_a_source_is_found_whose_name_is_escaped(name: bytes, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Path(path).write_bytes(b"")
    assert source_path(printable(path)) == path


def test_rows_encoded_anew_are_equal(dataset: Path, model: Path) -> None:
    found = check(dataset, again=4, model=model)
    assert (found.again, found.differing, found.n_faults) == (4, 0, 0)
    assert check(dataset, again=99, model=model).again == 6


def test_rows_encoded_anew_that_differ_are_counted(
    tiny: Codec, rows: Rows, model: Path, tmp_path: Path
) -> None:
    tokens = rows[1]["tokens"].copy()
    tokens[3:5] ^= 1
    folder = store(tiny, tmp_path / "tokens", [[rows[0], {**rows[1], "tokens": tokens}]])
    found = check(folder, again=2, model=model)
    assert (found.again, found.differing) == (2, 1)
    assert f"1.wav: encoded anew, 2 of its {tokens.size} tokens differ" in only_fault(found)


def test_the_seed_chooses_rows_whatever_their_order() -> None:
    rows = [{"id": str(n), "path": "", "offset": None} for n in range(50)]

    def drawn(seed: int, rows: Rows) -> list[str]:
        sample = Sample(5, seed)
        for row in rows:
            sample.add(row["id"], row, np.zeros(0, np.uint16))
        return [row.where for row in sample.rows()]

    assert drawn(0, rows) == drawn(0, rows[::-1])
    assert len({tuple(drawn(seed, rows)) for seed in range(6)}) == 6


def test_a_member_of_an_archive_is_found_again(
    tiny: Codec, rows: Rows, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sounds.tar"
    with tarfile.open(path, "w") as archive:
        for row in rows[:3]:
            archive.add(row["path"], arcname=f"in/{row['id']}")
    members = [
        {
            **row,
            "path": str(path),
            "member": f"in/{row['id']}",
            "mtime_ns": os.stat(path).st_mtime_ns,
        }
        for row in rows[:3]
    ]
    folder = store(tiny, tmp_path / "tokens", [members])
    found = check(folder, sources=True, again=3, model=model)
    assert (found.again, found.differing, found.faults) == (3, 0, ())


def test_a_source_with_other_bytes_is_reported(
    tiny: Codec, rows: Rows, model: Path, tmp_path: Path
) -> None:
    own = copied(rows[:1], tmp_path / "copies")
    folder = store(tiny, tmp_path / "tokens", [own])
    data = bytearray(Path(own[0]["path"]).read_bytes())
    data[-1] ^= 1
    Path(own[0]["path"]).write_bytes(data)
    found = check(folder, again=1, model=model)
    assert "has other bytes than it had" in only_fault(found)
    assert (found.again, found.differing) == (0, 0)


def test_without_the_model_nothing_is_encoded_anew(dataset: Path) -> None:
    with pytest.raises(FcsError, match="no model here has the fingerprint"):
        check(dataset, again=1)


def test_hashes_are_those_of_the_files(dataset: Path) -> None:
    stated = json.loads((dataset / "dataset.json").read_text())["shards"][0]
    data = (dataset / "data" / f"{stated['name']}.parquet").read_bytes()
    assert hashlib.sha256(data).hexdigest() == stated["sha256"]


def test_a_channel_that_a_manifest_named_is_found(
    tiny: Codec, speech: NDArray[np.float32], model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two.wav"
    both = np.stack([speech[:9000], speech[30000:39000]], 1)
    row = sound_row(tiny, path, "two.wav", both[:, 1])
    soundfile.write(path, both, 16000, subtype="FLOAT")
    status = os.stat(path)
    row |= {"channels": 2, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    row["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    found = check(store(tiny, tmp_path / "tokens", [[row]]), again=1, model=model)
    assert (found.again, found.differing, found.faults) == (1, 0, ())


def test_other_libraries_are_named_where_tokens_differ(
    tiny: Codec, rows: Rows, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = rows[0]["tokens"] ^ 1
    folder = store(tiny, tmp_path / "tokens", [[{**rows[0], "tokens": tokens}]])
    others = {"libsndfile": "0.1", "soxr": soxr.__version__, "fcs-edge": fcs_edge.__version__}
    monkeypatch.setattr("fcs_edge.corpus.encoding_again.versions", lambda: others)
    line = only_fault(check(folder, again=1, model=model))
    assert re.search(r"tokens differ; it was encoded with libsndfile \S+ \(here 0\.1\)$", line)
