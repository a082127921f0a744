"""The converter: sources, checks, and files that appear whole or not at all."""

from __future__ import annotations

import builtins
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.convert.checkpoint import widen_bfloat16
from fcs_edge.errors import CheckpointError, ConfigError, FcsError

Tensors = dict[str, NDArray[Any]]
NAME = "decoder.head.proj.bias"


@pytest.fixture
def checkpoint(golden: Callable, tmp_path: Path) -> Path:
    """A folder with config.json and model.safetensors that a test may change."""
    source = golden("nolookahead").checkpoint
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def change(folder: Path, edit: Callable[[Tensors], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def refused(folder: Path | str, out: Path, message: str, kind: type[FcsError] = FcsError) -> None:
    """Conversion fails with one line, and leaves nothing behind."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(kind, match=message) as caught:
        convert(folder, out)
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.rglob("*")) == before


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round towards zero to bfloat16 bits."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def save_bfloat16(tensors: Tensors, path: Path) -> None:
    """Write a BF16 safetensors file by hand; NumPy has no such dtype."""
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = bfloat16(values).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_folder_and_config_path(checkpoint: Path, out: Path) -> None:
    model = convert(checkpoint, out)
    assert model.name == "checkpoint"
    assert model.source == "checkpoint/model.safetensors"
    other = convert(checkpoint / "config.json", out.with_name("other.safetensors"), "mine")
    assert other.name == "mine"
    assert other.fingerprint == model.fingerprint
    model.verify()


def test_config_of_another_stem(checkpoint: Path, out: Path) -> None:
    for name, new in (("config.json", "big.json"), ("model.safetensors", "big.safetensors")):
        (checkpoint / name).rename(checkpoint / new)
    assert convert(checkpoint / "big.json", out).source == "checkpoint/big.safetensors"
    refused(checkpoint, out, "has no config.json")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_are_preserved(dtype: type, checkpoint: Path, out: Path) -> None:
    def to_dtype(tensors: Tensors) -> None:
        for name in tensors:
            tensors[name] = tensors[name].astype(dtype)

    change(checkpoint, to_dtype)
    model = convert(checkpoint, out)
    for name, values in load_file(checkpoint / "model.safetensors").items():
        assert model.tensors[name].dtype == dtype
        assert np.array_equal(model.tensors[name], values)


def test_bfloat16(checkpoint: Path, out: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    save_bfloat16(tensors, checkpoint / "model.safetensors")
    model = convert(checkpoint, out)
    for name, values in tensors.items():
        expected = (bfloat16(values).astype(np.uint32) << 16).view(np.float32)
        assert model.tensors[name].dtype == np.float32
        assert np.array_equal(model.tensors[name], expected)


def test_widening_bfloat16_is_exact() -> None:
    bits = np.array([0x3F80, 0xBF80, 0x0000, 0x4049, 0x7F80, 0x0001], np.uint16)
    expected = np.array([1, -1, 0, 3.140625, np.inf, 9.183549615799121e-41], np.float32)
    assert np.array_equal(widen_bfloat16(bits), expected)


def test_tensors_are_checked_by_name_shape_and_dtype(checkpoint: Path, out: Path) -> None:
    original = (checkpoint / "model.safetensors").read_bytes()
    cases: list[tuple[Callable[[Tensors], Any], str]] = [
        (lambda t: t.pop(NAME), f"tensor {NAME} is missing"),
        (lambda t: t.update(extra=t[NAME]), "unexpected tensor extra"),
        (lambda t: t.update({NAME: t[NAME][1:]}), rf"{NAME} has shape \[479\].*\[480\]"),
        (lambda t: t.update({NAME: t[NAME].reshape(2, 240)}), rf"{NAME} has shape \[2, 240\]"),
        (lambda t: t.update({NAME: t[NAME].astype(np.int64)}), f"{NAME} is I64"),
        (lambda t: t.update({NAME: t[NAME].astype(np.int32)}), f"{NAME} is I32"),
    ]
    for edit, message in cases:
        (checkpoint / "model.safetensors").write_bytes(original)
        change(checkpoint, edit)
        refused(checkpoint, out, message, CheckpointError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_not_finite_weights_are_named(
    value: float, dtype: type, checkpoint: Path, out: Path
) -> None:
    def spoil(tensors: Tensors) -> None:
        tensors[NAME] = tensors[NAME].astype(dtype)
        tensors[NAME][3] = value

    change(checkpoint, spoil)
    refused(checkpoint, out, f"{NAME} has NaN or infinity", CheckpointError)


def test_configuration_is_checked(checkpoint: Path, out: Path) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    part = {**config["encoder_config"], "surprise": 1}
    path.write_text(json.dumps({**config, "encoder_config": part}))
    refused(
        checkpoint, out, "config.json: config: unknown key encoder_config.surprise", ConfigError
    )
    config["encoder_config"]["causal"] = 1
    path.write_text(json.dumps(config))
    refused(checkpoint, out, "causal must be true or false", ConfigError)
    for text in ("", "{", "[" * 100000, "\xff"):
        path.write_bytes(text.encode("latin-1"))
        refused(checkpoint, out, "not a readable JSON file", CheckpointError)
    path.write_text('"' + "x" * (1 << 20) + '"')
    refused(checkpoint, out, "too large", CheckpointError)


def test_missing_sources(checkpoint: Path, out: Path) -> None:
    refused(checkpoint / "nowhere", out, "no such folder")
    (checkpoint / "notes.txt").write_text("x")
    refused(checkpoint / "notes.txt", out, "neither a configuration")
    (checkpoint / "model.safetensors").unlink()
    refused(checkpoint, out, r"no model\.safetensors or model\.pt")
    (checkpoint / "config.json").unlink()
    refused(checkpoint, out, r"has no config\.json")


def test_a_damaged_checkpoint(checkpoint: Path, out: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(checkpoint, out, "not an intact safetensors file", CheckpointError)


def test_an_existing_file_survives_a_failure(checkpoint: Path, out: Path) -> None:
    out.write_bytes(b"precious")
    change(checkpoint, lambda tensors: tensors.pop(NAME) is None)
    refused(checkpoint, out, "missing")
    assert out.read_bytes() == b"precious"


def hub(monkeypatch: pytest.MonkeyPatch, download: Callable[[str, str], str]) -> None:
    """Put a hub library in place whose downloads are `download`."""
    library = types.ModuleType("huggingface_hub")
    library.hf_hub_download = download  # type: ignore[attr-defined]
    errors = types.ModuleType("huggingface_hub.errors")
    errors.EntryNotFoundError = FileNotFoundError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)


REPOSITORY = "lucadellalib/focalcodec_50hz_4k_causal"


def test_hub_repository(checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def download(repository: str, name: str) -> str:
        requested.append((repository, name))
        return str(checkpoint / name)

    hub(monkeypatch, download)
    model = convert(REPOSITORY, out)
    assert requested == [(REPOSITORY, "config.json"), (REPOSITORY, "model.safetensors")]
    assert (model.name, model.source) == ("focalcodec_50hz_4k_causal", REPOSITORY)


def test_no_network(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, name: str) -> str:
        raise ConnectionError("no route to host\nand more")

    hub(monkeypatch, download)
    message = r"could not be downloaded \(no route to host\).*fcs-edge convert FOLDER OUT"
    refused(REPOSITORY, out, message, CheckpointError)


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_without_hub_library(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "huggingface_hub")
    refused(REPOSITORY, out, r"pip install huggingface-hub.*convert FOLDER OUT")


def test_pt_without_torch(checkpoint: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch")
    (checkpoint / "model.safetensors").rename(checkpoint / "model.pt")
    refused(checkpoint, out, "needs torch: pip install torch", CheckpointError)


def test_pt(checkpoint: Path, out: Path) -> None:
    """A state dict in torch's own format: the same model; anything else in it is refused."""
    torch = pytest.importorskip("torch")
    tensors = load_file(checkpoint / "model.safetensors")
    expected = convert(checkpoint, out.with_name("expected.safetensors"))
    (checkpoint / "model.safetensors").unlink()
    state = {name: torch.from_numpy(values) for name, values in tensors.items()}
    torch.save(state, checkpoint / "model.pt")
    model = convert(checkpoint, out)
    assert model.fingerprint == expected.fingerprint
    assert model.sha256 == expected.sha256
    assert np.array_equal(
        fcs_edge.load(out).decode([1, 2, 3]), fcs_edge.load(expected.path).decode([1, 2, 3])
    )
    out.unlink()
    half = {name: values.to(torch.bfloat16) for name, values in state.items()}
    torch.save(half, checkpoint / "model.pt")
    widened = convert(checkpoint, out)
    for name, values in half.items():
        assert np.array_equal(widened.tensors[name], values.float().numpy())
    out.unlink()
    torch.save({**state, NAME: state[NAME].int()}, checkpoint / "model.pt")
    refused(checkpoint, out, f"{NAME} is int32", CheckpointError)
    torch.save({"note": "hello"}, checkpoint / "model.pt")
    refused(checkpoint, out, "no tensors; its keys are note", CheckpointError)
    torch.save([1, 2], checkpoint / "model.pt")
    refused(checkpoint, out, "not a state dict", CheckpointError)
    torch.save({"x": Path("x")}, checkpoint / "model.pt")
    refused(checkpoint, out, "not a plain state dict", CheckpointError)
    (checkpoint / "model.pt").write_bytes(b"no such thing")
    refused(checkpoint, out, r"model\.pt", CheckpointError)
