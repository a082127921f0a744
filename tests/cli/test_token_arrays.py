"""Tokens as .npz and .npy: encoded, decoded, copied to and from bitstreams, described."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions
from fcs_edge.tokens.settings import token_settings
from fcs_edge.whole_files import encode_file, read_fcs, write_fcs

N_SAMPLES = 33333


@pytest.fixture
def codec(golden: Callable) -> fcs_edge.Codec:
    return golden("tiny").codec


@pytest.fixture
def model(golden: Callable) -> Path:
    return golden("tiny").model


@pytest.fixture
def tokens(codec: fcs_edge.Codec) -> NDArray[np.uint16]:
    """The tokens of 33333 samples: 26 chunks of 4, and one token."""
    return np.random.default_rng(5).integers(1, 2048, 105).astype(np.uint16)


@pytest.fixture
def npz(codec: fcs_edge.Codec, tokens: NDArray, tmp_path: Path, run: Callable) -> Path:
    """An .npz of the tiny model."""
    write_fcs(tmp_path / "source.fcs", tokens, N_SAMPLES, codec)
    path = tmp_path / "tokens.npz"
    result = run("decode", "-m", codec.model.path, tmp_path / "source.fcs", path)
    assert (result.code, result.err) == (0, f"{path}: 105 tokens\n")
    return path


def changed(path: Path, **facts: Any) -> Path:
    """Write an .npz with other facts; None leaves one out."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = {name: arrays[name] for name in arrays.files} | facts
    np.savez(path, **{name: value for name, value in facts.items() if value is not None})
    return path


def frames(path: Path) -> int:
    return int(soundfile.info(path).frames)


def test_encode_to_npz_and_decode(wav: Path, tmp_path: Path, run: Callable) -> None:
    """What a bitstream gives, to the bit; suffixes may be capitals."""
    codec = fcs_edge.load()
    for name in ("A.FCS", "A.NPZ", "A.NPY"):
        assert run("encode", wav, tmp_path / name).code == 0
    with np.load(tmp_path / "A.NPZ", allow_pickle=False) as arrays:
        tokens = arrays["tokens"]
        assert tokens.dtype == np.uint16
        assert (int(arrays["n_samples"]), int(arrays["sample_rate"])) == (N_SAMPLES, 16000)
        assert str(arrays["fingerprint"]) == codec.fingerprint.hex()
        assert json.loads(str(arrays["settings"])) == token_settings(codec.model)
    assert np.array_equal(tokens, np.load(tmp_path / "A.NPY"))
    for name in ("A.FCS", "A.NPZ"):
        assert run("decode", tmp_path / name, tmp_path / f"{name}.WAV").code == 0
    assert (tmp_path / "A.FCS.WAV").read_bytes() == (tmp_path / "A.NPZ.WAV").read_bytes()
    assert frames(tmp_path / "A.NPZ.WAV") == 50000


def test_bare_tokens_name_the_model_that_is_assumed(
    model: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    source = tmp_path / "t.npy"
    for number, shape in enumerate([(-1,), (1, -1), (-1, 1)]):
        np.save(source, tokens.reshape(shape).astype(np.int64))
        result = run("decode", "-m", model, source, tmp_path / f"{number}.wav")
        assert result.code == 0
        assert f"{source}: bare tokens, taken for those of tiny (" in result.err
        assert frames(tmp_path / f"{number}.wav") == 105 * 480
    assert (tmp_path / "0.wav").read_bytes() == (tmp_path / "2.wav").read_bytes()


@pytest.mark.parametrize("value", [2048, -1, 1 << 40])
def test_a_token_that_the_model_does_not_have(
    value: int, model: Path, npz: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    wrong = tokens.astype(np.int64)
    wrong[50] = value
    np.save(tmp_path / "t.npy", wrong)
    changed(npz, tokens=wrong)
    for source in (tmp_path / "t.npy", npz):
        for command, out in (("decode", "out.wav"), ("decode", "out.npy"), ("encode", "out.fcs")):
            line = run(command, "-m", model, source, tmp_path / out).failed()
            assert f"holds the token {value}" in line
            assert "2047" in line
    assert not list(tmp_path.glob("*out*"))


def test_another_model_is_refused(npz: Path, tmp_path: Path, run: Callable) -> None:
    out = tmp_path / "out.wav"
    line = run("decode", npz, out).failed()
    assert line.startswith(f"fcs-edge: error: {npz}: encoded with another model (")
    assert "give that model with --model, or try with --any-model" in line
    line = run("encode", npz, tmp_path / "out.fcs").failed()
    assert line.endswith("give that model with --model")
    assert not out.exists()
    assert run("decode", "--any-model", npz, out).code == 0
    assert frames(out) == 50000


def test_the_error_names_the_model_where_it_has_a_name(
    npz: Path, model: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "fcs-edge" / "models"
    folder.mkdir(parents=True)
    (folder / "my model.safetensors").symlink_to(model)
    assert "add --model 'my model'" in run("decode", npz, tmp_path / "out.wav").failed()
    # A copy of tokens takes the model by itself.
    assert run("encode", npz, tmp_path / "out.fcs").code == 0
    assert (tmp_path / "out.fcs").read_bytes() == (tmp_path / "source.fcs").read_bytes()


def test_other_settings_are_accepted_with_a_note(
    npz: Path, model: Path, codec: fcs_edge.Codec, tmp_path: Path, run: Callable
) -> None:
    settings = token_settings(codec.model) | {"weights": "int4\x1b[2J", "more": 1}
    changed(npz, settings=json.dumps(settings))
    result = run("decode", "-m", model, npz, tmp_path / "out.wav")
    assert result.code == 0
    assert "encoded with other settings: weights int4\\x1b[2J (here f32)\n" in result.err


@pytest.mark.parametrize(
    ("n_samples", "length", "message"),
    [
        (20 * 1280, 20 * 1920, "25 tokens more than its 25600 samples need; they are left out"),
        (105 * 320 + 1, 105 * 480, "1 of the 106 tokens that its 33601 samples need are missing"),
    ],
)
def test_a_length_that_contradicts_the_tokens(
    n_samples: int, length: int, message: str, npz: Path, model: Path, tmp_path: Path, run: Callable
) -> None:
    changed(npz, n_samples=n_samples)
    assert message in run("decode", "-m", model, "--strict", npz, tmp_path / "out.wav").failed()
    result = run("decode", "-m", model, npz, tmp_path / "out.wav")
    assert result.code == 1
    assert f"warning: {npz}: {message}" in result.err
    assert frames(tmp_path / "out.wav") == length
    assert run("encode", "-m", model, npz, tmp_path / "out.fcs").code == 1


def test_copies_without_sound(
    npz: Path, codec: fcs_edge.Codec, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    """Bitstream to arrays and back: the same bytes; arrays of another type."""
    with np.load(npz, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["tokens"], tokens)
        assert int(arrays["n_samples"]) == N_SAMPLES
        assert str(arrays["model"]) == "tiny"
        assert json.loads(str(arrays["settings"])) == token_settings(codec.model)
    model = codec.model.path
    assert run("encode", "-m", model, npz, tmp_path / "back.fcs").code == 0
    assert (tmp_path / "back.fcs").read_bytes() == (tmp_path / "source.fcs").read_bytes()
    # No model: arrays do not need it.
    assert run("decode", "--dtype", "int64", tmp_path / "back.fcs", tmp_path / "a.npy").code == 0
    assert run("decode", npz, tmp_path / "b.npy").code == 0
    for name, dtype in (("a.npy", np.int64), ("b.npy", np.uint16)):
        array = np.load(tmp_path / name)
        assert array.dtype == dtype
        assert np.array_equal(array, tokens)
    assert run("encode", "-m", model, tmp_path / "a.npy", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert int(arrays["n_samples"]) == 105 * 320
        assert str(arrays["model"]) == "tiny"
    assert "--force overwrites it" in run("decode", npz, tmp_path / "a.npy").failed()
    line = run("encode", tmp_path / "back.fcs", tmp_path / "c.npz").failed()
    assert "this is a bitstream of tokens; decode it with fcs-edge decode" in line


def test_a_live_stream_loses_its_filler(
    codec: fcs_edge.Codec, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    path = tmp_path / "live.fcs"
    with path.open("wb") as file:
        fcs_writer(file, codec, FcsOptions(eager=True)).close(N_SAMPLES, tokens)
    for options in ((), ("-m", codec.model.path)):
        assert run("decode", *options, "--force", path, tmp_path / "a.npy").code == 0
        assert np.array_equal(np.load(tmp_path / "a.npy"), tokens)


def test_lost_tokens_are_reported(
    codec: fcs_edge.Codec, tmp_path: Path, run: Callable, tokens: NDArray
) -> None:
    path = tmp_path / "a.fcs"
    many = np.tile(tokens, 12)
    write_fcs(path, many, codec=codec)
    data = bytearray(path.read_bytes())
    data[19 + 100] ^= 1
    path.write_bytes(data)
    result = run("decode", path, tmp_path / "a.npz")
    assert result.code == 1
    message = "100 of 1260 tokens are lost; the token before each gap stands for them"
    assert f"warning: {path}: {message}" in result.err
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["tokens"], [*[0] * 100, *many[100:]])
    assert run("decode", "--strict", path, tmp_path / "b.npz").failed()
    path.write_bytes(data[: 19 + 130])
    for out in ("b.npz", "b.wav"):
        line = run("decode", "-m", codec.model.path, path, tmp_path / out)
        assert line.code == 1
        assert "none of its tokens is intact" in line.err
        assert not (tmp_path / out).exists()


def test_info_of_arrays(
    npz: Path, model: Path, tokens: NDArray, tmp_path: Path, run: Callable
) -> None:
    changed(npz, model="a\x1b[2J[b]")
    result = run("info", npz)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "2.08 s" in result.out
    facts = json.loads(run("info", "--json", npz).out)
    assert (facts["kind"], facts["model"]) == ("tokens", "a\x1b[2J[b]")
    assert (facts["tokens"], facts["samples"], facts["dtype"]) == (105, N_SAMPLES, "uint16")
    assert facts["fingerprint"] == fcs_edge.load(model).fingerprint.hex()
    assert (facts["lowest"], facts["highest"]) == (int(tokens.min()), int(tokens.max()))
    np.save(tmp_path / "t.npy", tokens)
    facts = json.loads(run("info", "--json", tmp_path / "t.npy").out)
    assert (facts["kind"], facts["tokens"], facts["intact"]) == ("bare tokens", 105, True)
    np.save(tmp_path / "f.npy", np.zeros(3))
    assert "holds float64 of shape (3,)" in run("info", tmp_path / "f.npy").failed()


def test_info_of_an_array_that_does_not_fit_its_model(
    wav: Path, tmp_path: Path, run: Callable
) -> None:
    path = tmp_path / "a.npz"
    encode_file(wav, path)
    changed(path, n_samples=9, tokens=np.full(105, 70000))
    result = run("info", "--json", path)
    assert result.code == 1
    assert json.loads(result.out)["problems"] == [
        "104 tokens more than its 9 samples need; they are left out",
        "tokens of edge-65k are 0 to 65535",
    ]


def test_info_of_sound_and_of_other_files(wav: Path, tmp_path: Path, run: Callable) -> None:
    result = run("info", wav)
    assert result.code == 0
    assert "2.08 s" in result.out
    assert f"encode it: fcs-edge encode {wav} speech.fcs" in result.err
    facts = json.loads(run("info", "--json", wav).out)
    assert (facts["kind"], facts["sample_rate"], facts["channels"]) == ("sound", 16000, 1)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(wav.read_bytes()[:32044])
    result = run("info", cut)
    assert result.code == 1
    assert "ends 1.08 s before its header says" in result.err
    for name, content, message in (
        ("a.bin", bytes(5000), "neither tokens nor a model, and not a readable sound file"),
        ("a.pt", b"PK\3\4", "a PyTorch checkpoint; convert its folder with fcs-edge convert"),
        ("a.npz", b"PK\3\4", "not a readable .npz file"),
        ("a.npy", b"x", "not a readable .npy file"),
        ("a.fcs", b"x", "not an .fcs file"),
        ("a.txt", b"version https://git-lfs", "a Git LFS pointer"),
    ):
        (tmp_path / name).write_bytes(content)
        assert message in run("info", tmp_path / name).failed()
    assert "gone.wav: no such file" in run("info", tmp_path / "gone.wav").failed()


def test_info_reads_a_bitstream_from_a_pipe(
    codec: fcs_edge.Codec, tokens: NDArray, tmp_path: Path, shell: Callable
) -> None:
    write_fcs(tmp_path / "a.fcs", tokens, N_SAMPLES, codec)
    data = (tmp_path / "a.fcs").read_bytes()
    done = shell("info", "--json", "-", data=data)
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert (facts["tokens"], facts["bytes"]) == (105, len(data))
    assert read_fcs(tmp_path / "a.fcs").n_samples == facts["samples"]


def test_a_source_that_is_missing(tmp_path: Path, run: Callable) -> None:
    """Whatever the output, the line names it once."""
    source = tmp_path / "gone.fcs"
    for out in ("out.npz", "out.npy", "out.wav"):
        line = run("decode", source, tmp_path / out).failed()
        assert line == f"fcs-edge: error: {source}: no such file"
