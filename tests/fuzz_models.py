"""A small model as fuzz tests change it: bytes, header, configuration, values."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_cases
import numpy as np
import prior_cases

from fcs_edge.entropy.prior import FIELDS
from fcs_edge.modelfile import config_json, model_file
from fcs_edge.modelfile.config import (
    CodecConfig,
    CompressorConfig,
    DecoderConfig,
    DecompressorConfig,
    EncoderConfig,
    QuantizerConfig,
    SearchConfig,
    VocosConfig,
)
from fcs_edge.modelfile.tensor_layout import tensor_shapes

MEMORY = 3_000_000
"""Bytes that loading may take beside 40 a byte of the file: Python objects of each layer."""

SMALL = CodecConfig(
    EncoderConfig((4, 4), (10, 4), (8, 8), 1, 8, 8, 2, 8, 16, 0, 0.0, 4, 2, True, 8, 3),
    CompressorConfig(2, 1, 1, causal=True, window_size=4, input_dim=8, output_dim=4,
                     hidden_dims=(8,), downscale_factors=(2,)),
    QuantizerConfig(16),
    DecompressorConfig(2, 1, 1, causal=True, window_size=4, input_dim=4, output_dim=8,
                       hidden_dims=(8,), upscale_factors=(2,), last_window_size=4,
                       lookahead_size=1),
    DecoderConfig(8, 1, 8, 8, 3, hop_length=96, causal=True),
    SearchConfig(2, 8, 8, 4, 1.0, 1, 2, 2),
)  # fmt: skip

NOISY = dataclasses.replace(
    SMALL, decoder=dataclasses.replace(SMALL.decoder, noise_channels=3, win_length=150)
)
"""Scheme "noisy" is its f32."""

WHOLE = CodecConfig(
    EncoderConfig((4, 4), (10, 4), (8, 8), 1, 8, 8, 2, 8, 16, 8, 0.0, 4, 2, False, 8, 3),
    CompressorConfig(2, 1, 1, input_dim=8, output_dim=4, hidden_dims=(8,), downscale_factors=(2,)),
    QuantizerConfig(16),
    DecompressorConfig(2, 1, 1, input_dim=4, output_dim=8, hidden_dims=(8,), upscale_factors=(2,)),
    VocosConfig(8, 1, 8, 8, 3, n_fft=90, hop_length=64),
)
"""Not causal: scheme "whole" is its f32."""


def drawn(config: CodecConfig, seed: int) -> dict[str, np.ndarray]:
    """Return small float32 tensors for a configuration."""
    random_numbers = np.random.default_rng(seed)
    return {
        name: (random_numbers.standard_normal(shape) / 8).astype(np.float32)
        for name, shape in tensor_shapes(config).items()
    }


@cache
def parts(scheme: str) -> tuple[dict[str, Any], bytes]:
    """Return the parsed header and the data of a model file, and of a checkpoint for ``""``.

    The scheme "prior" is f32 with two priors.
    """
    import tempfile

    from safetensors.numpy import save_file

    from fcs_edge.convert import write_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        tensors = drawn(SMALL, 0)
        if scheme == "prior":
            model = write_model(path, SMALL, tensors, "small", "drawn", "f32")
            priors = [prior_cases.drawn(SMALL.bits_per_token, 6, seed) for seed in (0, 1)]
            model_file.write_with_priors(path, model, priors)
        elif scheme == "whole":
            write_model(path, WHOLE, drawn(WHOLE, 0), "whole", "drawn", "f32")
        elif scheme == "noisy":
            write_model(path, NOISY, drawn(NOISY, 0), "noisy", "drawn", "f32")
        elif scheme:
            write_model(path, SMALL, tensors, "small", "drawn", scheme)
        else:
            save_file(tensors, path)
        data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(text: bytes, data: bytes) -> bytes:
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def scheme_of(rng: random.Random) -> str:
    return rng.choice(["f32", "f16", "int8", "int4", "prior", "whole", "noisy"])


def bytes_case(rng: random.Random) -> bytes:
    header, data = parts(scheme_of(rng))
    return fuzz_cases.mutate_bytes(rng, joined(json.dumps(header).encode(), data))


def header_case(rng: random.Random) -> bytes:
    header, data = parts(scheme_of(rng))
    if rng.random() < 0.2:
        metadata = fuzz_cases.mutate_json(rng, header["__metadata__"])
        return joined(json.dumps({**header, "__metadata__": metadata}).encode(), data)
    return joined(fuzz_cases.to_text(rng, fuzz_cases.mutate_json(rng, header)), data)


@cache
def first_layout() -> tuple[dict[str, Any], bytes]:
    """Return the parsed header and the data of a checkpoint with the names of version 0.0.1."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {"quantizer.mask": np.array([8, 4, 2, 1])}
    tensors |= {f"encoder.encoder.norm.{x}": np.ones(8, np.float32) for x in ("weight", "bias")}
    for name, tensor in drawn(SMALL, 0).items():
        for old, new in FIRST_NAMES.items():
            name = re.sub(old, new, name)
        if "qkv_proj" in name:
            split = zip("qkv", np.split(tensor, 3), strict=True)
            tensors |= {name.replace("qkv_proj", f"{x}_proj"): piece.copy() for x, piece in split}
        else:
            tensors[f"module.{name}"] = tensor
    data = save(tensors)
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


FIRST_NAMES = {
    r"^(compressor\.layers\.\d+)\.downscale\.": r"\1.0.",
    r"^(compressor\.layers\.\d+)\.focal_block\.": r"\1.1.",
    r"^(decompressor\.layers\.\d+)\.focal_block\.": r"\1.0.",
    r"^(decompressor\.layers\.\d+)\.upscale\.": r"\1.1.",
}


def checkpoint_case(rng: random.Random) -> bytes:
    header, data = parts("") if rng.random() < 0.6 else first_layout()
    if rng.random() < 0.3:
        return fuzz_cases.mutate_bytes(rng, joined(json.dumps(header).encode(), data))
    return joined(fuzz_cases.to_text(rng, fuzz_cases.mutate_json(rng, header)), data)


def config_case(rng: random.Random) -> bytes:
    """Change the configuration in a model's metadata."""
    header, data = parts(scheme_of(rng))
    config = json.loads(header["__metadata__"]["config"])
    text = fuzz_cases.to_text(rng, fuzz_cases.mutate_json(rng, config))
    metadata = {**header["__metadata__"], "config": text.decode("utf-8", "replace")}
    return joined(json.dumps({**header, "__metadata__": metadata}).encode(), data)


def config_file_case(rng: random.Random) -> bytes:
    raw = config_json.to_dict(SMALL)
    if rng.random() < 0.2:
        return fuzz_cases.mutate_bytes(rng, json.dumps(raw).encode())
    return fuzz_cases.to_text(rng, fuzz_cases.mutate_json(rng, raw))


def values_case(rng: random.Random, scheme: str) -> bytes:
    """Change the values of weights, scales and biases: extreme ones, NaN, any bits."""
    header, data = parts(scheme)
    out = bytearray(data)
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    for _ in range(rng.choice([1, 3, 30])):
        entry = rng.choice(entries)
        begin, end = entry["data_offsets"]
        dtype = {"F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1"}[entry["dtype"]]
        odd: list[float] = [0.0, -0.0, 1e-45, -1e-9, 1e-20, 1e4, -1e4]
        odd += [3e38, math.inf, math.nan] if rng.random() < 0.2 else [1e30, 6e4]
        if dtype in ("<f4", "<f2"):
            limit = np.finfo(dtype).max
            one = rng.choice(odd)
            some = np.array(one if not math.isfinite(one) else np.clip(one, -limit, limit))
            item = some.astype(dtype).tobytes()
        else:
            item = rng.choice([b"\x80", b"\x7f", b"\x81", b"\x00", b"\xff"])
        count = (end - begin) // len(item)
        first = rng.randrange(count)
        n = min(rng.choice([1, count]), count - first)
        out[begin + first * len(item) : begin + (first + n) * len(item)] = item * n
    return joined(json.dumps(header).encode(), bytes(out))


def prior_case(rng: random.Random) -> bytes:
    """Change values or metadata of priors; at times the checks are those of what is there."""
    header, data = copy.deepcopy(parts("prior"))
    out, metadata = bytearray(data), header["__metadata__"]
    names = [name for name in header if name.startswith("prior.")]
    for _ in range(rng.choice([0, 1, 3, 30])):
        begin, end = header[rng.choice(names)]["data_offsets"]
        first = rng.randrange(begin, end)
        n = min(rng.choice([1, 2, end - begin]), end - first)
        out[first : first + n] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0x81, 0xFF])]) * n
    if rng.random() < 0.3:
        one, other = rng.sample(names, 2)
        header[one]["shape"], header[other]["shape"] = header[other]["shape"], header[one]["shape"]
    if rng.random() < 0.3:
        metadata[rng.choice(["priors", "accepts", "format_version"])] = fuzz_cases.value(rng)
    elif rng.random() < 0.9:
        metadata["priors"] = " ".join(_check(header, out, n) for n in range(2))
    return joined(json.dumps(header).encode(), bytes(out))


def _check(header: dict[str, Any], data: bytes, n: int) -> str:
    """Return the check that a file states for the n-th prior of `parts`."""
    crc = zlib.crc32(bytes([1, SMALL.bits_per_token, 6, 0, 8, 4, 2, 4]))
    for field in FIELDS:
        begin, end = header[f"prior.{n}.{field}"]["data_offsets"]
        crc = zlib.crc32(data[begin:end], crc)
    return f"{crc:08x}"
