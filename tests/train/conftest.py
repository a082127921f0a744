"""What tests of training share."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WIDTH, LAYERS, VOCABULARY = 24, 2, 50400


@pytest.fixture
def tiny_whisper(tmp_path: Path) -> Path:
    """A folder with a model.bin of random weights, as CTranslate2 writes it."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (WIDTH, 80, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv2/bias": (WIDTH,),
        "encoder/position_encodings/encodings": (1500, WIDTH),
        "decoder/embeddings/weight": (VOCABULARY, WIDTH),
        "decoder/position_encodings/encodings": (448, WIDTH),
    }
    norms = ["encoder/layer_norm", "decoder/layer_norm"]
    for coder, parts in (
        ("encoder", {"self_attention": (3, 1), "ffn": (4, 1)}),
        ("decoder", {"self_attention": (3, 1), "attention": (1, 2, 1), "ffn": (4, 1)}),
    ):
        for part, sizes in parts.items():
            for i in range(LAYERS):
                name = f"{coder}/layer_{i}/{part}"
                norms.append(f"{name}/layer_norm")
                for j, size in enumerate(sizes):
                    width_in = WIDTH * sizes[0] if part == "ffn" and j else WIDTH
                    shapes[f"{name}/linear_{j}/weight"] = (WIDTH * size, width_in)
                    shapes[f"{name}/linear_{j}/bias"] = (WIDTH * size,)
    shapes |= {f"{name}/{part}": (WIDTH,) for name in norms for part in ("gamma", "beta")}
    arrays = {
        name: (0.3 * random.standard_normal(shape)).astype(np.float16)
        for name, shape in shapes.items()
    }
    arrays |= {f"{coder}/num_heads": np.array(3, np.int16) for coder in ("encoder", "decoder")}
    arrays["decoder/x"] = np.ones((2, 3), np.float32)
    kinds = {"float32": 0, "int16": 2, "float16": 4}
    text = b"WhisperSpec\0"
    data = struct.pack("<IH", 6, len(text)) + text + struct.pack("<II", 3, len(arrays))
    for key, x in arrays.items():
        data += struct.pack("<H", len(key) + 1) + key.encode() + b"\0"
        data += struct.pack(f"<B{x.ndim}I", x.ndim, *x.shape)
        data += struct.pack("<BI", kinds[x.dtype.name], x.nbytes) + x.tobytes()
    folder = tmp_path / "whisper"
    folder.mkdir()
    (folder / "model.bin").write_bytes(data)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus of three small shards, one of them held out."""
    from training_runs import write_shard

    folder = tmp_path / "corpus"
    write_shard(folder, "one", 4, 1)
    write_shard(folder, "two", 3, 2)
    write_shard(folder / "held_out", "three", 4, 3)
    return folder


@pytest.fixture
def stage(
    tmp_path: Path, tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return what writes a stage's file by its kind."""
    from train.engine import perceptual_losses
    from training_runs import write_stage

    monkeypatch.setattr(perceptual_losses, "tiny_english", lambda: tiny_whisper)
    return lambda kind: write_stage(tmp_path, kind)
