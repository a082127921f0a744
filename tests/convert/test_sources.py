"""Each spelling of a source finds its files; nothing is downloaded where a local path matches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fcs_edge.convert import convert, locate
from fcs_edge.convert.source import Source
from fcs_edge.errors import CheckpointError
from fcs_edge.modelfile.model_file import ModelFile

OWNER, NAME = "someone", "codec_50hz"
REPOSITORY = f"{OWNER}/{NAME}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, where a download fails the test."""
    monkeypatch.chdir(tmp_path)
    hub = pytest.importorskip("huggingface_hub")

    def download(*names: str) -> str:
        pytest.fail(f"{names} would be downloaded")

    monkeypatch.setattr(hub, "hf_hub_download", download)
    return tmp_path


def put(folder: Path, *names: str) -> None:
    """Create files without contents: what they hold is read later."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        is_header = name.endswith(".safetensors")
        (folder / name).write_bytes(b"\2\0\0\0\0\0\0\0{}" if is_header else b"")


def found(source: object) -> tuple[str, str]:
    """Return the names of the two files that a source has."""
    located = locate(str(source))
    assert isinstance(located, Source)
    assert located.files == (located.weights,)
    assert located.config.is_file()
    assert located.weights.is_file()
    return located.config.name, located.weights.name


def refused(source: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        locate(str(source))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".ckpt", ".bin"])
def test_files_beside_one_another(suffix: str, here: Path) -> None:
    put(here / "a", "config.json", f"model{suffix}")
    put(here / "b", "x.json", f"x{suffix}", "y.json", "y.pt")
    for source in ("a", "a/config.json", "a/config", f"a/model{suffix}", "./a", here / "a"):
        assert found(source) == ("config.json", f"model{suffix}")
    for source in ("b/x.json", "b/x", f"b/x{suffix}"):
        assert found(source) == ("x.json", f"x{suffix}")
        assert locate(source).name == "x"
    assert locate("a").name == "a"


def test_names_with_dots_and_folders_of_the_same_name(here: Path) -> None:
    put(here, "codec_12.5hz.json", "codec_12.5hz.pt", "both.json", "both.safetensors")
    put(here / "both", "config.json", "pytorch_model.bin")
    assert found("codec_12.5hz") == ("codec_12.5hz.json", "codec_12.5hz.pt")
    assert found("both") == ("config.json", "pytorch_model.bin")
    assert found("both.json") == ("both.json", "both.safetensors")
    (here / "both" / "config.json").unlink()
    assert found("both") == ("both.json", "both.safetensors")


def test_a_local_path_comes_before_the_hub(here: Path) -> None:
    put(here / OWNER / NAME, "config.json", "model.safetensors", "x.json", "x.pt")
    assert found(REPOSITORY) == ("config.json", "model.safetensors")
    assert found(f"{REPOSITORY}/x.json") == ("x.json", "x.pt")
    assert found(f"{REPOSITORY}/x") == ("x.json", "x.pt")
    refused(f"{REPOSITORY}/y.json", rf"the folder {REPOSITORY} has no such file")
    refused(f"{REPOSITORY}/y", "has no such file")
    for path in ("nowhere", "nowhere/x.json", "nowhere/x.safetensors", "../a/b", "/a/b", "a b/c"):
        refused(path, "no such folder, file, model or hub repository")
    refused("a/b/model.safetensors", r"give the configuration: a/b/model\.json")


def test_weights_whose_configuration_is_not_clear(here: Path) -> None:
    put(here / "one", "config.json", "epoch-3.ckpt")
    put(here / "two", "config.json", "other.json", "epoch-3.ckpt", "model.pt")
    put(here / "none", "epoch-3.ckpt")
    put(here / "named", "tts.json", "last.pt")
    assert found("one/epoch-3.ckpt") == ("config.json", "epoch-3.ckpt")
    assert locate("one/epoch-3.ckpt").name == "epoch-3"
    assert found("two/model.pt") == ("config.json", "model.pt")
    refused("two/epoch-3.ckpt", r"config\.json, other\.json; rename one to epoch-3\.json")
    refused("none/epoch-3.ckpt", r"not beside it: name it epoch-3\.json")
    assert found("named/last.pt") == ("tts.json", "last.pt")
    refused("one", r"or model\.pt beside config\.json; rename .*epoch-3\.ckpt")
    refused("named/tts.json", r"or tts\.pt beside tts\.json; .*: last\.pt")
    refused("named", r"has no config\.json; give the path of its configuration: tts\.json")
    put(here / "many", *(f"{i}.json" for i in range(9)))
    refused("many", r"0\.json, 1\.json, 2\.json, 3\.json, 4\.json and 4 more$")


def test_models_are_sources(here: Path, golden: Callable) -> None:
    model = locate("edge-65k")
    assert isinstance(model, ModelFile)
    other = locate(str(golden("tiny").model))
    assert isinstance(other, ModelFile)
    assert other.path == golden("tiny").model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a repository in a hub cache, with no network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.chdir(tmp_path)
    hub = tmp_path / "hub"
    folder, revision = hub / f"models--{OWNER}--{NAME}", "0" * 40
    put(folder / "refs")
    (folder / "refs" / "main").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    files = folder / "snapshots" / revision
    files.mkdir(parents=True)
    return files


def test_a_repository_in_the_cache(cache: Path, golden: Callable, tmp_path: Path) -> None:
    source = golden("nolookahead").checkpoint
    for name in ("config.json", "model.safetensors"):
        (cache / name).write_bytes((source / name).read_bytes())
    expected = convert(source, tmp_path / "expected.safetensors")
    model = convert(REPOSITORY, tmp_path / "out.safetensors")
    assert (model.name, model.source) == (NAME, REPOSITORY)
    assert model.fingerprint == expected.fingerprint
    assert locate(str(cache)).name == NAME


@pytest.mark.parametrize("weights", ["model.pt", "pytorch_model.bin"])
def test_other_weights_of_a_repository(weights: str, cache: Path) -> None:
    put(cache, "config.json", weights, "x.json", "x.pt", "x.safetensors")
    assert found(REPOSITORY) == ("config.json", weights)
    assert found(f"{REPOSITORY}/config.json") == ("config.json", weights)
    for source in (f"{REPOSITORY}/x.json", f"{REPOSITORY}/x"):
        assert found(source) == ("x.json", "x.safetensors")
        located = locate(source)
        assert isinstance(located, Source)
        assert (located.name, located.origin) == ("x", f"{REPOSITORY}/x")
    (cache / "x.safetensors").unlink()
    assert found(f"{REPOSITORY}/x") == ("x.json", "x.pt")


def test_what_the_cache_lacks(cache: Path) -> None:
    refused(REPOSITORY, "could not be downloaded")
    put(cache, "config.json")
    refused(REPOSITORY, "could not be downloaded")
    refused(f"{REPOSITORY}/x.json", "could not be downloaded")


def test_a_folder_of_separate_parts(golden: Callable, tmp_path: Path) -> None:
    """The names of SpeechBrain's recipes: a file for each part, without the part's name in it."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    case = golden("nolookahead")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(case.case["config"]))
    files = {"encoder": "wavlm6.pt", "decoder": "generator.ckpt"}
    state = load_file(case.checkpoint / "model.safetensors")
    for part in ("encoder", "compressor", "decompressor", "decoder"):
        tensors = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{part}.")
        }
        torch.save(tensors, folder / files.get(part, f"{part}.ckpt"))
    (folder / "quantizer.ckpt").write_bytes(b"not read")
    model = convert(folder, tmp_path / "out.safetensors")
    assert model.fingerprint == case.codec.fingerprint
    assert model.source == "parts"
    (folder / "compressor.ckpt").unlink()
    refused(folder, r"no model\.safetensors or model\.pt beside config\.json")
