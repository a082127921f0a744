"""Whatever a library raises while a file is parsed, one line names the file and the cause."""

from __future__ import annotations

import struct
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from fcs_edge.convert import checkpoint
from fcs_edge.errors import CheckpointError, FcsError, ModelFileError, parsing, shown
from fcs_edge.modelfile import model_file, strict_json
from helpers import read_npy

RAISED = [
    EOFError(),
    EOFError("ended"),
    OSError("no file name"),
    OSError(5, "Input/output error"),
    PermissionError(13, "Permission denied", "elsewhere"),
    MemoryError(),
    MemoryError("Unable to allocate 8.00 EiB"),
    RecursionError("maximum recursion depth exceeded"),
    OverflowError("int too large to convert to float"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    KeyError("config"),
    ZeroDivisionError("division by zero"),
    AttributeError("'list' object has no attribute 'get'"),
    AssertionError(),
    struct.error("unpack requires a buffer of 4 bytes"),
    tokenize.TokenError("EOF in multi-line statement", (2, 0)),
    safetensors.SafetensorError("Error while deserializing header: HeaderTooLarge"),
    ValueError("two\nlines \x1b[2J"),
    ValueError("x" * 5000),
]
EACH = pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)


def checked(read: Callable[[], Any], path: Path, raised: Exception, kind: type[FcsError]) -> None:
    with pytest.raises(kind) as caught:
        read()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text) > len(f"{path}: ") + 8
    assert text.isprintable()
    assert len(text) < len(str(path)) + 300
    cause = caught.value.__cause__
    while cause is not None and cause is not raised:
        cause = cause.__cause__
    assert cause is raised


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


@EACH
def test_a_model_file(raised: Exception, golden: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    path = golden("nolookahead").model
    for module, name in ((safetensors, "safe_open"), (strict_json, "loads")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, raising(raised))
            checked(lambda: model_file.read(path), path, raised, ModelFileError)


@EACH
def test_a_checkpoint(raised: Exception, golden: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = golden("nolookahead").checkpoint, golden("nolookahead").codec.model.config
    path = folder / "config.json"
    with monkeypatch.context() as patched:
        patched.setattr(strict_json, "loads", raising(raised))
        checked(lambda: checkpoint.read_config(path), path, raised, CheckpointError)
    path = folder / "model.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(safetensors, "safe_open", raising(raised))
        checked(lambda: checkpoint.read_tensors(path, config), path, raised, CheckpointError)


@EACH
def test_a_torch_file(
    raised: Exception, golden: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    path, config = tmp_path / "model.pt", golden("nolookahead").codec.model.config
    path.write_bytes(b"any")
    monkeypatch.setattr(torch, "load", raising(raised))
    checked(lambda: checkpoint.read_tensors(path, config), path, raised, CheckpointError)


@EACH
def test_an_npy_file(raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.zeros(3, np.uint16))
    monkeypatch.setattr(np.lib.format, "read_magic", raising(raised))
    checked(lambda: read_npy(path), path, raised, FcsError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), CheckpointError("own")])
def test_what_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, parsing("a", ModelFileError, "not a file"):
        raise error
    assert caught.value is error


def test_values_of_a_file_in_messages() -> None:
    assert shown("a\x1b[2Jb\u202ec\n") == r"a\x1b[2Jb\u202ec\x0a"
    assert shown([1] * 999, 9) == "[1, 1, 1, ..."
    assert shown("[/x]") == "[/x]"
