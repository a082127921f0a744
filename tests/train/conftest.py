"""What tests of training share."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

WIDTH, LAYERS = 24, 2


@pytest.fixture
def tiny_whisper(tmp_path: Path) -> Path:
    """A folder with a model.bin of random weights, as CTranslate2 writes it."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/weight": (WIDTH, 80, 3),
        "conv1/bias": (WIDTH,),
        "conv2/weight": (WIDTH, WIDTH, 3),
        "conv2/bias": (WIDTH,),
        "position_encodings/encodings": (1500, WIDTH),
    }
    for i in range(LAYERS):
        for part, sizes in (("self_attention", (3, 1)), ("ffn", (4, 1))):
            inner = WIDTH * sizes[0] if part == "ffn" else WIDTH
            for j, size in enumerate(sizes):
                width_in = inner if j else WIDTH
                shapes[f"layer_{i}/{part}/linear_{j}/weight"] = (WIDTH * size, width_in)
                shapes[f"layer_{i}/{part}/linear_{j}/bias"] = (WIDTH * size,)
            for name in ("gamma", "beta"):
                shapes[f"layer_{i}/{part}/layer_norm/{name}"] = (WIDTH,)
    arrays = {
        f"encoder/{name}": (0.3 * random.standard_normal(shape)).astype(np.float16)
        for name, shape in shapes.items()
    }
    arrays |= {"encoder/num_heads": np.array(3, np.int16), "decoder/x": np.ones((2, 3), np.float32)}
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
