"""Conversion tensor by tensor: the same file as from whole arrays, in the memory of one tensor."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fcs_edge.convert import convert, float_model, locate, schemes
from fcs_edge.convert.layer_errors import LayerErrors
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import SCHEMES
from fcs_edge.modelfile.tensors import map_tensors
from helpers import limited_file_size


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


@pytest.mark.parametrize("scheme", [*SCHEMES, None])
def test_the_file_is_what_the_library_writes(
    scheme: str | None, golden: Callable, tmp_path: Path
) -> None:
    source = golden("tiny").checkpoint
    model = convert(source, tmp_path / "model.safetensors", "tiny", scheme)
    tensors = float_model(locate(str(source))).tensors
    whole = dict(schemes.store(model.config, tensors, scheme))
    header, data = split(model.path)
    save_file(whole, tmp_path / "whole.safetensors", header["__metadata__"])
    expected, expected_data = split(tmp_path / "whole.safetensors")
    assert header == expected
    assert list(header)[1:] == list(expected)[1:]
    assert data == expected_data
    model.verify()
    again = convert(source, tmp_path / "again.safetensors", "tiny", scheme)
    assert again.path.read_bytes() == model.path.read_bytes()


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_rows_are_quantised_alike_in_blocks_and_at_once(
    scheme: str, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = golden("tiny").codec.model
    whole = dict(schemes.store(model.config, model.tensors, scheme))
    monkeypatch.setattr(schemes, "_BLOCK_WEIGHTS", 100)
    for name, tensor in schemes.store(model.config, model.tensors, scheme):
        assert np.array_equal(tensor, whole[name])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_memory_is_that_of_a_tensor(scheme: str, floats: Path, tmp_path: Path) -> None:
    """The source has 30 MB; its largest tensor 2.4 MB."""
    out = tmp_path / "model.safetensors"
    # The first conversion compiles a kernel.
    convert(floats, out, weights=scheme)
    largest = max(t.data.nbytes for t in map_tensors(floats)[1].values() if t.data is not None)
    tracemalloc.start()
    try:
        convert(floats, out, weights=scheme)
        assert tracemalloc.get_traced_memory()[1] < 6 * largest + (4 << 20)
    finally:
        tracemalloc.stop()


def test_a_full_disk_names_the_file(golden: Callable, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    source = golden("tiny").checkpoint
    with pytest.raises(OSError, match="File too large") as caught, limited_file_size(50_000):
        convert(source, out)
    assert caught.value.filename == str(out)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_each_kind_of_layer(golden: Callable, tmp_path: Path) -> None:
    model = golden("tiny").codec.model
    errors = LayerErrors()
    exact = schemes.store(model.config, model.tensors, "f32", errors)
    assert {name for name, _ in exact} == set(model.tensors)
    assert errors.rows() == []
    for _ in schemes.store(model.config, model.tensors, "int4", errors):
        pass
    rows = {(row.kind, row.stored_as): row for row in errors.rows()}
    assert 0.05 < rows["attention", "int4"].relative < 0.2
    assert 0.001 < rows["convolutions", "int8"].relative < 0.02
    assert 0 < rows["convolutions", "f16"].relative < 0.001
    sizes = [row.n_weights for row in errors.rows()]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) < model.weights
    weight = model.tensors["decoder.backbone.layers.0.pwconv1.weight"]
    one = LayerErrors()
    one.add("decoder.backbone.layers.0.pwconv1.weight", "int4", weight, weight * np.float32(0.9))
    assert one.rows()[0].kind == "feed-forward"
    assert one.rows()[0].relative == pytest.approx(0.1, rel=1e-5)


def test_a_folder_whose_name_is_no_utf8(golden: Callable, tmp_path: Path) -> None:
    folder = Path(str(tmp_path / "m\udcff"))
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("the file system has no such names")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((golden("tiny").checkpoint / name).read_bytes())
    model = convert(folder, tmp_path / "out.safetensors")
    assert model.name == "m?"
    assert model_file.read(model.path).source == "m?/model.safetensors"
