"""Manifests to items: lines of JSON, tables, Kaldi's lists, cuts of lhotse."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge.corpus.items import Item
from fcs_edge.corpus.scan import scan
from fcs_edge.errors import CorpusError
from fcs_edge.text import printable

SOUND = b"sound"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two sounds that is not the current one."""
    monkeypatch.chdir("/")
    (tmp_path / "clips").mkdir()
    for name in ("a.wav", "b.flac"):
        (tmp_path / "clips" / name).write_bytes(SOUND)
    return tmp_path


def items(folder: Path, name: str, text: str | bytes, **options: Any) -> list[Item]:
    """Return the items of a manifest."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(scan([str(path)], **options))


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def refusal(folder: Path, name: str, text: str | bytes, **options: Any) -> str:
    """Return the message about a malformed manifest, after the folder's name."""
    with pytest.raises(CorpusError) as caught:
        items(folder, name, text, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_paths_are_relative_to_the_manifest(folder: Path) -> None:
    found = items(
        folder,
        "clips/m.jsonl",
        lines(
            {"path": "a.wav"},
            {"audio_filepath": "./b.flac"},
            {"file_name": str(folder / "clips/a.wav"), "id": "third"},
            {"path": "../clips/a.wav", "id": 4},
            {"path": "../gone.wav"},
        ),
    )
    clip = str(folder / "clips/a.wav")
    assert [item.path for item in found[::2]] == [clip, clip, str(folder / "gone.wav")]
    assert [item.id for item in found] == ["a.wav", "b.flac", "third", "4", "gone.wav"]
    assert [item.size for item in found] == [5, 5, 5, 5, 0]
    assert [item.error for item in found] == [None] * 4 + ["no such file"]


def test_root_replaces_the_manifest_s_folder(folder: Path) -> None:
    text = lines({"path": "clips/a.wav"}, {"path": "clips/b.flac", "id": "b"})
    assert [i.id for i in items(folder, "m.jsonl", text, root=str(folder.parent))] == [
        f"{folder.name}/clips/a.wav",
        "b",
    ]
    with pytest.raises(CorpusError, match=r"is not below .*/x, which --root names"):
        items(folder, "m.jsonl", text, root="/x")


def test_parts_of_a_file_have_their_places_in_their_ids(folder: Path) -> None:
    found = items(
        folder,
        "m.jsonl",
        lines(
            {"path": "clips/a.wav", "offset": 1.5, "duration": 2},
            {"path": "clips/a.wav", "offset": 0, "duration": "2.5"},
            {"path": "clips/a.wav", "offset": 3.5, "duration": None},
            {"path": "clips/a.wav", "offset": 3.5, "duration": 1, "id": "own"},
        ),
    )
    assert [(item.id, item.offset, item.duration) for item in found] == [
        ("clips/a.wav@1.5+2.0", 1.5, 2.0),
        ("clips/a.wav@0.0+2.5", 0.0, 2.5),
        ("clips/a.wav@3.5", 3.5, None),
        ("own", 3.5, 1.0),
    ]


def test_a_duration_without_an_offset_cuts_nothing(folder: Path) -> None:
    (item,) = items(folder, "m.json", lines({"audio_filepath": "clips/a.wav", "duration": 3.21}))
    assert (item.id, item.offset, item.duration) == ("clips/a.wav", None, None)
    assert item.seconds == 3.21


def test_text_columns_are_strings(folder: Path) -> None:
    row = {
        "path": "clips/a.wav",
        **{"text": "grüße", "n": 3, "x": 1.5, "yes": True, "none": None, "list": [1, "ä"]},
        **{"half": "\ud800x", "id": "i", "duration": 2, "lines": "a\nb"},
    }
    (item,) = items(folder, "m.jsonl", lines(row), keep_text=True)
    assert item.columns == {
        **{"text": "grüße", "n": "3", "x": "1.5", "yes": "true", "list": '[1, "ä"]'},
        **{"half": "\\ud800x", "lines": "a\nb"},
    }
    (item,) = items(folder, "m.jsonl", lines(row))
    assert item.columns == {}


def test_tables(folder: Path) -> None:
    text = 'path, id,text\r\nclips/a.wav,one,"said, ""so"",\r\ntwice"\r\n\r\nclips/b.flac,,\r\n'
    found = items(folder, "m.csv", b"\xef\xbb\xbf" + text.encode(), keep_text=True)
    assert [(item.id, item.error) for item in found] == [("one", None), ("clips/b.flac", None)]
    assert [item.columns for item in found] == [{"text": 'said, "so",\ntwice'}, {"text": ""}]
    text = 'client_id\tpath\tsentence\toffset\tduration\nx\tclips/a.wav\tsay "so\t0.5\t1\n'
    (item,) = items(folder, "m.TSV", text, keep_text=True)
    assert item.columns == {"client_id": "x", "sentence": 'say "so'}
    assert (item.id, item.offset, item.duration) == ("clips/a.wav@0.5+1.0", 0.5, 1.0)


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.tsv", "wav.scp"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(folder: Path, name: str) -> None:
    texts = {
        "m.jsonl": lines({"path": "clips/a.wav", "id": "k"}),
        "m.csv": "path,id\nclips/a.wav,k\n",
        "m.tsv": "path\tid\nclips/a.wav\tk\n",
        "wav.scp": "k clips/a.wav\n",
    }
    plain = items(folder, name, texts[name])
    windows = b"\xef\xbb\xbf" + texts[name].replace("\n", "\r\n").encode()
    assert items(folder, name, windows) == plain
    assert items(folder, name, texts[name].rstrip("\n")) == plain
    assert [(item.id, item.error) for item in plain] == [("k", None)]


def test_kaldi_s_lists_run_no_command(folder: Path) -> None:
    text = b"a clips/a.wav\nb   clips/b.flac \nc touch %s/ran |\nd | cat\n\ne odd\xe9.wav\n"
    found = items(folder, "wav.scp", text % os.fsencode(folder))
    command = "is a command, which is not run"
    assert [(item.id, item.error) for item in found] == [
        ("a", None),
        ("b", None),
        ("c", command),
        ("d", command),
        ("e", "no such file"),
    ]
    assert found[4].path.endswith("odd\udce9.wav")
    assert not (folder / "ran").exists()


def cut(**others: Any) -> dict[str, Any]:
    """Return a cut as lhotse writes it."""
    source = {"type": "file", "channels": [0], "source": "clips/a.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 160000}
    supervision = {"id": "s", "text": "good day", "speaker": "ann", "start": 0, "duration": 2}
    return {
        **{"id": "cut-1", "start": 1.25, "duration": 2.5, "channel": 0, "type": "MonoCut"},
        **{"supervisions": [supervision], "recording": recording},
        **others,
    }


def test_cuts_of_lhotse(folder: Path) -> None:
    text = gzip.compress(lines(cut(), cut(id="cut-2", start=0, channel=[0])).encode())
    found = items(folder, "cuts.jsonl.gz", text, keep_text=True)
    first = found[0]
    assert (first.id, first.offset, first.duration) == ("cut-1", 1.25, 2.5)
    assert first.path == str(folder / "clips/a.wav")
    assert first.columns["text"] == "good day"
    assert first.columns["speaker"] == "ann"
    assert json.loads(first.columns["supervisions"])[0]["id"] == "s"
    assert [item.channel for item in found] == [None, None]
    assert found[1].offset == 0.0


def sourced(channel: Any, *sources: dict[str, Any], **recording: Any) -> dict[str, Any]:
    return cut(channel=channel, recording={"id": "r", "sources": list(sources), **recording})


def file_of(*channels: int, source: str = "clips/a.wav", **others: Any) -> dict[str, Any]:
    return {"type": "file", "channels": list(channels), "source": source, **others}


@pytest.mark.parametrize(
    ("row", "channel", "error"),
    [
        (sourced(1, file_of(0, 1)), 2, None),
        (sourced([1], file_of(0, 1)), 2, None),
        (sourced([0, 1], file_of(0, 1)), None, None),
        (sourced(1, file_of(0, source="gone"), file_of(1)), None, None),
        (sourced(None, file_of(0, 1)), None, None),
        (sourced([0, 1], file_of(0), file_of(1)), None, "its channels are not in one file"),
        (sourced(7, file_of(0)), None, "its channels are not in one file"),
        (sourced([0, 1], file_of(0, 1, 2)), None, "some of its file's channels are no mean"),
        (sourced(0, file_of(0, type="command")), None, "type 'command' is not read"),
        (sourced(0, file_of(0, type="url")), None, "type 'url' is not read"),
        (sourced(0, file_of(0), transforms=[{"name": "Speed"}]), None, "has transforms"),
    ],
)
def test_the_channel_of_a_cut(
    folder: Path, row: dict[str, Any], channel: int | None, error: str | None
) -> None:
    (item,) = items(folder, "cuts.jsonl", lines(row))
    assert item.channel == channel
    assert (error in (item.error or "")) if error else item.error is None


def test_recordings_of_lhotse(folder: Path) -> None:
    row = {**cut()["recording"], "duration": 10.0}
    (item,) = items(folder, "recordings.jsonl", lines(row), keep_text=True)
    assert (item.id, item.offset, item.duration, item.seconds) == ("r", None, None, 10.0)
    assert item.columns == {}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({}, "has no path or audio_filepath or file_name"),
        ({"path": None, "audio_filepath": ""}, "has no path"),
        ({"path": 3}, "its path is no text"),
        ({"path": ["a.wav"]}, "its path is no text"),
        ({"path": "a", "id": 1.5}, "its id is no text"),
        ({"path": "a", "id": {}}, "its id is no text"),
        ({"path": "a", "offset": -1}, "its offset is no number of seconds from 0"),
        ({"path": "a", "offset": float("nan")}, "its offset is no number"),
        ({"path": "a", "offset": 0, "duration": float("inf")}, "its duration is no number"),
        ({"path": "a", "duration": "long"}, "its duration is no number"),
        ({"path": "a", "duration": True}, "its duration is no number"),
        ({"path": "a", "offset": 10**400}, "its offset is no number"),
        ({"path": "a", "offset": 1, "duration": 1e300}, "its duration is no number"),
        ({"path": "a", "offset": [1]}, "its offset is no number"),
        (cut(type="MixedCut", tracks=[]), "is a MixedCut, which is no part of one file"),
        (cut(recording="r"), "its recording is no object"),
        (cut(recording={}), "its sources is no list"),
        (cut(recording={"sources": []}), "its recording has no sources"),
        (cut(recording={"sources": [3]}), "its source is no object"),
        (cut(recording={"sources": [{}]}, channel=None), "its source is no text"),
        (cut(channel="left"), "its channel is no number from 0"),
        (cut(start=-0.1), "its start is no number"),
        ([1, 2], "is no JSON object; one object a line is expected"),
        ("a.wav", "is no JSON object"),
    ],
)
def test_a_malformed_line_stops_before_any_work(folder: Path, row: Any, problem: str) -> None:
    text = lines({"path": "clips/a.wav"}) + "\n" + lines(row)
    message = refusal(folder, "m.jsonl", text, keep_text=True)
    assert message.startswith("m.jsonl:3: ")
    assert problem in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.jsonl", b'{"path": "a"}\n{"path": "a"', "m.jsonl:2: is no JSON (Expecting"),
        ("m.jsonl", b'{"path": "\xff"}', "m.jsonl:1: is not UTF-8"),
        ("m.jsonl", '{"path": "a"}'.encode("utf-16"), "m.jsonl:1: is not UTF-8"),
        ("m.jsonl", b"\0\0", "m.jsonl:1: is no JSON"),
        ("m.json", b'[{"path": "a"}]', "m.json:1: is no JSON object"),
        ("m.jsonl", b"", "m.jsonl: gives no sound to encode"),
        ("m.jsonl.gz", b"plain", "m.jsonl.gz: Not a gzipped file"),
        ("m.jsonl.gz", gzip.compress(b'{"path": "a"}\n', mtime=0)[:-9], "m.jsonl.gz: is damaged"),
        ("m.csv", b"", "m.csv: gives no sound to encode"),
        ("m.csv", b"path\n", "m.csv: gives no sound to encode"),
        ("m.csv", b"file;id\na;b\n", "m.csv:1: has no column path or audio_filepath"),
        ("m.csv", b"path,id\na,b\nc,d,e\n", "m.csv:3: has 3 fields, and the header 2"),
        ("m.csv", b"path,id\na\n", "m.csv:2: has 1 field, and the header 2"),
        ("m.csv", b"path,path\na,a\n", "m.csv:1: names a column twice"),
        ("m.csv", b'path,id\n"a,b\nc,d\n', "m.csv:3: is no row of a table (unexpected"),
        ("m.csv", b"path\n\xff\n", "m.csv:2: is not UTF-8"),
        ("m.csv", b"path,offset\na,-2\n", "m.csv:2: its offset is no number"),
        ("m.tsv", b"path\tid\na b\n", "m.tsv:2: has 1 field, and the header 2"),
        ("m.tsv", b"path,id\na,b\n", "m.tsv:1: has no column path"),
        ("wav.scp", b"a b.wav\nkey\n", "wav.scp:2: has a key and no path"),
        ("wav.scp", b"\n", "wav.scp: gives no sound to encode"),
    ],
)
def test_a_damaged_manifest_is_one_line(folder: Path, name: str, text: bytes, message: str) -> None:
    assert refusal(folder, name, text).startswith(message)


def test_a_manifest_that_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "m.jsonl")
    with pytest.raises(CorpusError, match=r"m\.jsonl: is a named pipe, no file"):
        list(scan([str(folder / "m.jsonl")]))


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.tsv", "wav.scp", "m.jsonl.gz"])
def test_a_line_without_an_end_is_not_read_into_memory(folder: Path, name: str) -> None:
    data = b'{"path": "' + b"a" * (40 << 20)
    text = gzip.compress(data, 1) if name.endswith(".gz") else data
    (folder / name).write_bytes(text)
    del data, text
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match=":1: has over 4 MiB"):
            list(scan([str(folder / name)]))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_quoted_field_without_an_end_is_not_read_into_memory(folder: Path) -> None:
    text = b'path,text\na.wav,"' + b"lines of text\n" * (1 << 20)
    message = refusal(folder, "m.csv", text)
    assert "is no row of a table" in message or "too long" in message


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, '{"path": ' + "[" * 10**6])
def test_deep_nesting_is_refused(folder: Path, text: str) -> None:
    assert refusal(folder, "m.jsonl", text).startswith("m.jsonl:1: is n")


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_raise_nothing_else(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = {
        "m.jsonl": lines({"path": "clips/a.wav", "offset": 1}, cut()),
        "m.csv": 'path,id,offset\nclips/a.wav,"x",2\nclips/b.flac,y,\n',
        "m.tsv": "path\tid\nclips/a.wav\tx\n",
        "wav.scp": "a clips/a.wav\nb c |\n",
    }
    for name, text in samples.items():
        for _ in range(12):
            data = bytearray(text.encode())
            for place in rng.integers(0, len(data), rng.integers(1, 6)):
                data[place] = rng.choice([rng.integers(256), *b'"{}[],:\n\0\\-9e'])
            for content in (bytes(data), rng.bytes(60)):
                assert_sound_or_refused(folder, name, content)


def assert_sound_or_refused(folder: Path, name: str, content: bytes) -> None:
    """Read a manifest; what is no item is one line, as any other exception would not be."""
    with suppress(CorpusError):
        for item in items(folder, name, content, keep_text=True):
            assert item.id
            assert printable(item.id) == item.id
