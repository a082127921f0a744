"""Model files that state absurd things: one line, and no more memory than the file warrants."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcs_edge
from fcs_edge.convert import write_model
from fcs_edge.errors import ConfigError, ModelFileError
from fcs_edge.modelfile import config_json, model_file
from fcs_edge.modelfile.config import CodecConfig
from fcs_edge.modelfile.stream_memory import check_memory, memory_bytes
from fcs_edge.modelfile.tensor_layout import tensor_shapes

Header = dict[str, Any]
WEIGHT, BIAS = "decoder.head.proj.weight", "decoder.head.proj.bias"


@pytest.fixture(scope="module")
def intact(golden: Callable) -> bytes:
    data: bytes = golden("nolookahead").model.read_bytes()
    return data


@pytest.fixture
def path(intact: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(intact)
    return path


def split(data: bytes) -> tuple[Header, bytes]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(header: Header | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_config(data: bytes, edit: Callable[[Any], Any]) -> bytes:
    header, rest = split(data)
    config = json.loads(header["__metadata__"]["config"])
    header["__metadata__"]["config"] = edit(config) or json.dumps(config)
    return join(header, rest)


def refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=message) as caught:
        model_file.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


HEADERS: list[tuple[Callable[[Header], Any], str]] = [
    (lambda h: h[BIAS].update(shape=[1] * 5000), "not an intact|5000 axes"),
    (lambda h: h[BIAS].update(shape=[480] + [1] * 20), f"tensor {BIAS} has 21 axes"),
    (lambda h: h[BIAS].update(shape=[2**32, 2**32]), "not an intact"),
    (lambda h: h[BIAS].update(shape=[2**64]), "not an intact"),
    (lambda h: h[BIAS].update(data_offsets=[0, 1920]), "not an intact"),
    (lambda h: h[BIAS].update(data_offsets=[10**9, 10**9 + 1920]), "not an intact"),
    (lambda h: h[BIAS].update(data_offsets=[-1, 1919]), "not an intact"),
    (lambda h: h[BIAS].update(dtype="F99"), "not an intact"),
    (lambda h: h["__metadata__"].update(sha256="x"), "damaged metadata"),
    (lambda h: h["__metadata__"].update(format_version="\x1b"), r"format \\x1b"),
    (lambda h: h.update(__metadata__=None), "not a model file"),
]


@pytest.mark.parametrize(("edit", "message"), HEADERS)
def test_headers(edit: Any, message: str, path: Path, intact: bytes) -> None:
    header, data = split(intact)
    edit(header)
    refused(path, join(header, data), message)


def test_tensors_without_elements(path: Path, intact: bytes) -> None:
    header, _ = split(intact)
    empty = {
        name: {**entry, "shape": [0, *entry["shape"]], "data_offsets": [0, 0]}
        for name, entry in header.items()
        if name != "__metadata__"
    }
    refused(path, join({"__metadata__": header["__metadata__"], **empty}, b""), r"is \(0, ")


def test_keys_that_are_there_twice(path: Path, intact: bytes) -> None:
    header, data = split(intact)
    text = json.dumps(header).encode()
    entry = json.dumps({BIAS: header[BIAS]}).encode()[1:-1]
    refused(path, join(text[:-1] + b"," + entry + b"}", data), f"'{BIAS}' is there twice")
    more = ',"decoder_name":"WaveNeXt"}'
    twice = with_config(intact, lambda config: json.dumps(config)[:-1] + more)
    refused(path, twice, "'decoder_name' is there twice")


CONFIGS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda c: "[" * 100_000, r"damaged metadata \(nested too deeply\)"),
    (lambda c: '{"a":' * 100_000, r"damaged metadata \(nested too deeply\)"),
    (lambda c: "x", "damaged metadata"),
    (lambda c: c["encoder_config"].update(dropout=10**400), "dropout must be a number"),
    (lambda c: c["encoder_config"].update(dropout=1e31), "dropout must be a number"),
    (lambda c: c["encoder_config"].update(dim=10**400), "dim must be 1 to 65536"),
    (lambda c: c["encoder_config"].update(dim=[[]] * 9999), "dim must be an integer"),
    (
        lambda c: c["decoder_config"].update({"k\x1b" * 999: 1}),
        r"unknown key decoder_config.k\\x1bk",
    ),
    (lambda c: c["decoder_config"].update(num_layers=65536), "num_layers is at most 256"),
    (lambda c: c["compressor_config"].update(focal_level=65536), "focal_level 64"),
    (lambda c: c.update(decoder_name="x" * 9999), "decoder_name 'xxx.* is not supported"),
]


@pytest.mark.parametrize(("edit", "message"), CONFIGS)
def test_configurations(edit: Any, message: str, path: Path, intact: bytes) -> None:
    refused(path, with_config(intact, edit), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer, not w"),
        (b"<!DOCTYPE html>\n<html>", "a web page, not weights; download the file itself"),
        (b"\xef\xbb\xbf \n<html lang=en>", "a web page, not weights"),
        (b"\xff" * 8 + b"{" * 92, "its header is larger than 1,048,576 bytes"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a model file of fcs-edge; convert a checkpoint"),
    ],
)
def test_files_that_stand_in_for_weights(data: bytes, message: str, path: Path) -> None:
    refused(path, data, message)


def test_a_large_header_takes_no_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.write((14 << 20).to_bytes(8, "little") + b"{}")
        file.truncate(8 + (14 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="its header is larger than 1,048,576 bytes"):
            model_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e30])
@pytest.mark.parametrize("scheme", ["f32", "f16", "int8", "int4"])
def test_weights_that_are_no_numbers(
    value: float, scheme: str, golden: Callable, tmp_path: Path
) -> None:
    """The first use of a stage refuses them, and so does a check of the whole file."""
    if scheme in ("f16", "int4") and value == 2e30:
        value = math.inf
    given = golden("nolookahead").codec.model
    path = tmp_path / "model.safetensors"
    tensors = {name: tensor.copy() for name, tensor in given.tensors.items()}
    model = write_model(path, given.config, tensors, "x", "x", scheme)
    for name in ("encoder.feature_proj.weight", "decoder.backbone.layers.0.pwconv1.weight"):
        name += ".scale" if scheme.startswith("int") else ""
        data = bytearray(path.read_bytes())
        stored = model.stored[name]
        assert stored.data is not None
        item = np.array(value, stored.data.dtype).tobytes()
        data[stored.begin + len(item) : stored.begin + 2 * len(item)] = item
        spoiled = tmp_path / f"{name}.safetensors"
        spoiled.write_bytes(data)
        codec = fcs_edge.load(spoiled)
        message = f"{spoiled}: tensor {name} has NaN or infinity, or a number beyond"
        with pytest.raises(ModelFileError, match=message):
            _ = codec.encode(np.zeros(9)) if "encoder" in name else codec.decode([0])
        with pytest.raises(ModelFileError, match=message):
            codec.model.verify()


def test_integers_beyond_their_range(golden: Callable, tmp_path: Path) -> None:
    given = golden("nolookahead").codec.model
    path = tmp_path / "model.safetensors"
    model = write_model(path, given.config, given.tensors, "x", "x", "int8")
    data = bytearray(path.read_bytes())
    data[model.stored["decoder.backbone.layers.0.pwconv1.weight"].begin] = 0x80
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"pwconv1\.weight has -128"):
        fcs_edge.load(path).decode([0])


def changed(config: CodecConfig, **parts: dict[str, Any]) -> CodecConfig:
    values = {part: dataclasses.replace(getattr(config, part), **v) for part, v in parts.items()}
    return dataclasses.replace(config, **values)


def test_memory_follows_the_number_of_weights(golden: Callable) -> None:
    small = golden("nolookahead").codec.model.config
    for name in ("tiny", "options", "nolookahead", "full_4k"):
        case = json.loads((Path(__file__).parents[1] / f"data/golden/{name}.json").read_text())
        check_memory(config_json.from_dict(case["config"]))
    check_memory(fcs_edge.load().model.config)
    for wide in (
        changed(small, encoder={"num_layers": 256, "window_size": 8192}),
        changed(small, encoder={"conv_pos": 65536, "conv_pos_groups": small.encoder.dim}),
        changed(
            small,
            compressor={
                "window_size": 65536,
                "hidden_dims": (1,) * 64,
                "downscale_factors": (1,) * 64,
            },
        ),
        changed(small, decoder={"num_layers": 256, "dim": 1, "kernel_size": 8192}),
    ):
        with pytest.raises(ConfigError, match=r"would take [\d,]+ MB; a model of this size may"):
            check_memory(wide)


def array_bytes(node: Any, seen: set[int]) -> int:
    """Return the bytes of all arrays that an object of this package holds."""
    if id(node) in seen:
        return 0
    seen.add(id(node))
    if isinstance(node, np.ndarray):
        return node.nbytes
    if isinstance(node, dict):
        return sum(array_bytes(value, seen) for value in list(node.values()))
    if isinstance(node, list | tuple):
        return sum(array_bytes(value, seen) for value in node)
    if type(node).__module__.startswith("fcs_edge"):
        return array_bytes(getattr(node, "__dict__", {}), seen)
    return 0


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_the_estimate_covers_what_a_model_takes(name: str, golden: Callable) -> None:
    codec = fcs_edge.load(golden(name).model)
    streams = codec.stream_encoder(8), codec.stream_decoder(8)
    model = codec.model
    mapped = {id(tensor.data) for tensor in model.stored.values()} | {id(model)}
    taken = array_bytes([codec, *streams], mapped)
    assert taken < memory_bytes(model.config, tensor_shapes(model.config)) < 4 * taken + (2 << 20)


CHILD = """
import resource, sys
from fcs_edge.errors import FcsError
from fcs_edge.modelfile import model_file
from pathlib import Path
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        model_file.read(Path(path))
        print("read")
    except FcsError as error:
        print(str(error).removeprefix(path))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_hostile_files_in_little_memory(intact: bytes, tmp_path: Path) -> None:
    header, data = split(intact)
    nested = copy.deepcopy(header)
    nested["__metadata__"]["config"] = "[" * 500_000
    empty = {**header[BIAS], "data_offsets": [0, 0], "shape": [0]}
    many = {**header, **{f"t{i}": empty for i in range(9000)}}
    cases = {
        "deep": join(nested, data),
        "many": join(many, data),
        "long": join(b'{"' + b"x" * (30 << 20), b""),
        "layers": with_config(intact, lambda c: c["compressor_config"].update(focal_level=65536)),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in cases]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, timeout=100
    )
    assert done.stderr == ""
    deep, many_line, long, layers = done.stdout.splitlines()
    assert "nested too deeply" in deep
    assert "unexpected tensor t" in many_line or "not an intact" in many_line
    assert "larger than" in long
    assert "focal_level 64" in layers
