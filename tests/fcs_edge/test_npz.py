"""The .npz of tokens: what is written, and that whatever is read gives tokens or one line."""

from __future__ import annotations

import io
import json
import os
import threading
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fcs_edge.errors import FcsError
from fcs_edge.text import printable
from fcs_edge.tokens.npy import NpyWriter
from fcs_edge.tokens.npz import NpzWriter, Origin, open_npz

ORIGIN = Origin(bytes(range(8)), "a model", 16000, {"weights": "f32", "search": False})
TOKENS = np.arange(700, dtype=np.uint16)
FACTS: dict[str, Any] = {
    "tokens": TOKENS,
    "fingerprint": "0001020304050607",
    "model": "a model",
    "sample_rate": 16000,
    "n_samples": 4000,
    "settings": "{}",
}


class Pipe(io.BytesIO):
    """An output that cannot seek."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


def write(file: Any, dtype: str = "uint16") -> None:
    writer = NpzWriter(file, ORIGIN, dtype)
    writer.write(TOKENS[:300])
    writer.write(TOKENS[:0])
    writer.close(223_999, TOKENS[300:])


def read(path: Path) -> tuple[np.ndarray, Origin, int]:
    with open_npz(path) as opened:
        parts = [np.zeros(0, np.int64), *opened.array.blocks]
        assert sum(map(len, parts)) == opened.array.n_tokens
        return np.concatenate(parts), opened.origin, opened.n_samples


def save(path: Path, **changes: Any) -> Path:
    """Write an .npz with NumPy; a fact of None is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.savez(path, **{k: v for k, v in (FACTS | changes).items() if v is not None})
    return path


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_numpy_reads_what_is_written(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        write(file, dtype)
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays.files) == sorted(FACTS)
        assert arrays["tokens"].dtype == dtype
        assert np.array_equal(arrays["tokens"], TOKENS)
        assert str(arrays["fingerprint"]) == ORIGIN.fingerprint.hex()
        assert str(arrays["model"]) == "a model"
        assert (int(arrays["sample_rate"]), int(arrays["n_samples"])) == (16000, 223_999)
        assert json.loads(str(arrays["settings"])) == ORIGIN.settings
    tokens, origin, n_samples = read(path)
    assert np.array_equal(tokens, TOKENS)
    assert (origin, n_samples) == (ORIGIN, 223_999)


def test_the_same_tokens_give_the_same_bytes_and_a_pipe_does(tmp_path: Path) -> None:
    first, again, pipe = io.BytesIO(), io.BytesIO(), Pipe()
    for file in (first, again, pipe):
        write(file)
    assert first.getvalue() == again.getvalue()
    (tmp_path / "a.npz").write_bytes(pipe.getvalue())
    assert np.array_equal(read(tmp_path / "a.npz")[0], TOKENS)


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_npy_to_a_file_and_to_a_pipe(dtype: str, tmp_path: Path) -> None:
    outputs = [io.BytesIO(), Pipe()]
    for file in outputs:
        writer = NpyWriter(file, dtype)
        writer.write(TOKENS[:300])
        writer.close(0, TOKENS[300:])
    assert outputs[0].getvalue() == outputs[1].getvalue()
    loaded = np.load(io.BytesIO(outputs[0].getvalue()), allow_pickle=False)
    assert loaded.dtype == dtype
    assert np.array_equal(loaded, TOKENS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(700,), (1, 700), (700, 1)])
def test_what_numpy_writes_is_read(compressed: bool, shape: tuple, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    tokens = TOKENS.astype(">i4").reshape(shape)
    (np.savez_compressed if compressed else np.savez)(path, **FACTS | {"tokens": tokens})
    assert np.array_equal(read(path)[0], TOKENS)


def test_model_and_settings_may_be_absent(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", model=None, settings=None, more=np.zeros(3))
    assert read(path)[1] == Origin(ORIGIN.fingerprint, "", 16000, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": None}, "an .npz without tokens; it holds fingerprint, model"),
        ({"tokens": np.zeros((3, 3), np.uint16)}, r"holds uint16 of shape \(3, 3\)"),
        ({"tokens": np.zeros(3)}, r"holds float64 of shape \(3,\)"),
        ({"tokens": np.zeros(3, "m8[s]")}, "holds timedelta64"),
        ({"tokens": np.array([{}])}, "holds object"),
        ({"fingerprint": None}, "has no fingerprint; tokens alone are saved as .npy"),
        ({"fingerprint": "xyz"}, "its fingerprint is not 16 hexadecimal digits"),
        ({"fingerprint": "g" * 16}, "its fingerprint is not 16 hexadecimal digits"),
        ({"fingerprint": b"0001020304050607"}, "its fingerprint is .S16., not one text|S16"),
        ({"fingerprint": np.array([{}])}, "its fingerprint is object"),
        ({"n_samples": None}, "has no n_samples"),
        ({"n_samples": -1}, "its n_samples is -1, not 0 to"),
        ({"n_samples": 10**15}, "its n_samples is 1000000000000000"),
        ({"n_samples": 1.5}, "its n_samples is float64"),
        ({"n_samples": np.arange(2)}, r"its n_samples is int64 of shape \(2,\), not one integer"),
        ({"n_samples": True}, "its n_samples is bool"),
        ({"sample_rate": 0}, "its sample_rate is 0, not 1 to"),
        ({"settings": "["}, "not a readable .npz file"),
        ({"settings": "[]"}, "its settings are not a JSON object"),
        ({"settings": "[" * 16000}, "not a readable .npz file|RecursionError"),
        ({"settings": "x" * 70000}, "280,128 bytes are too many for its settings"),
        ({"model": np.arange(3)}, "its model is int64"),
    ],
)
def test_a_bad_fact_is_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", **changes)
    with pytest.raises(FcsError, match=message) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 400


def test_damaged_tokens_are_never_taken(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    data[data.index(TOKENS[40:60].tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(FcsError, match="CRC"):
        read(path)


def test_bytes_after_the_tokens_are_refused(tmp_path: Path) -> None:
    """As where a header states fewer tokens than there are."""
    path, longer = save(tmp_path / "a.npz"), tmp_path / "b.npz"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(longer, "w") as target:
        for name in source.namelist():
            more = bytes(2) if name == "tokens.npy" else b""
            target.writestr(name, source.read(name) + more)
    with pytest.raises(FcsError, match="more bytes follow the 700 tokens"):
        read(longer)


def test_stated_sizes_take_no_memory(tmp_path: Path) -> None:
    """A header of 2**40 tokens, a fact of 2**27 letters, tokens that inflate, many entries."""
    huge = {"descr": "<u2", "fortran_order": False, "shape": (1 << 40,)}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, huge)
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, huge | {"descr": f"<U{1 << 27}", "shape": ()})
    for name, data in (("tokens", buffer.getvalue()), ("model", text.getvalue())):
        path = save(tmp_path / f"{name}.npz", **{name: None})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{name}.npy", data)
    bomb = save(tmp_path / "bomb.npz", tokens=None)
    with (
        zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("tokens.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(70):
            member.write(bytes(1 << 20))
    many = tmp_path / "many.npz"
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(20000):
            archive.writestr(f"{i}.npy", b"")
    tracemalloc.start()
    for path in (*(tmp_path / f"{n}.npz" for n in ("tokens", "model")), bomb, many):
        with pytest.raises(FcsError, match=r"cut|its model|refused|too many entries"):
            read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_writing_and_reading_take_constant_memory(tmp_path: Path) -> None:
    """A week of tokens, 60 MB."""
    block = np.arange(1 << 16, dtype=np.uint16)
    path = tmp_path / "a.npz"
    tracemalloc.start()
    with path.open("wb") as file:
        writer = NpzWriter(file, ORIGIN)
        for _ in range(460):
            writer.write(block)
        writer.close(1)
    with open_npz(path) as opened:
        assert sum(tokens.size for tokens in opened.array.blocks) == 460 << 16
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 60e6
    assert peak < 5_000_000


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(changes=[], cut=0)
@given(
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 3000),
)
def test_any_damage_gives_the_tokens_or_one_line(
    changes: list[tuple[int, int]], cut: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.npz")
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data[: len(data) - cut if cut < 1000 else len(data)])
    error, tokens = "", TOKENS
    try:
        tokens, _, _ = read(path)
    except FcsError as caught:
        error = str(caught)
    assert np.array_equal(tokens, TOKENS)
    assert not error or (error.startswith(f"{path}: ") and printable(error) == error)


def test_an_npz_on_a_pipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.open("wb").close())
    thread.start()
    with pytest.raises(FcsError, match="cannot be read from a pipe"):
        read(path)
    thread.join()


def test_a_full_folder_of_temporary_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    full = Path("/dev/full")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: full.open("wb"))
    writer = NpzWriter(io.BytesIO(), ORIGIN)
    with pytest.raises(FcsError, match="gone: No space left on device; TMPDIR names another"):
        writer.write(np.zeros(1 << 20, np.uint16))
