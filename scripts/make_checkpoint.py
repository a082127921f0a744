"""Write a FocalCodec-Stream checkpoint with seeded random weights.

    python scripts/make_checkpoint.py tests/data/golden/full_4k.json OUT

The case file has the configuration, the seed, and the name and shape of every tensor. A tensor
depends on the seed, its name and its shape only, so every machine writes the same values. The
weights are for tests and timing; they do not code speech.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

MASK = "quantizer.mask"
"""The only tensor of integers, in the layout of version 0.0.1: powers of two."""


def tensor(name: str, shape: list[int], seed: int) -> NDArray[Any]:
    """Draw one float32 tensor, scaled so that activations have about unit variance."""
    if name == MASK:
        return 2 ** np.arange(shape[0] - 1, -1, -1, dtype=np.int64)
    random = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    x: NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32)
    if name.endswith("relative_embedding.weight"):
        return x
    scale, offset = _scale(name, shape)
    if scale is not None:
        return np.asarray(np.float32(offset) + np.float32(scale) * x)
    gain = 0.3 if name == "decoder.head.proj.weight" else 1.0
    # In float64, as NumPy 2 computed the golden cases' weights.
    drawn: NDArray[np.float64] = gain / np.sqrt(np.prod(shape[1:])) * x.astype(np.float64)
    return drawn.astype(np.float32)


def _scale(name: str, shape: list[int]) -> tuple[float | None, float]:
    """Return the scale and offset of a tensor; None for a matrix, which scales by its fan-in."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "gru_rel_pos_const":
        return 0.1, 1.0
    if leaf == "alpha":
        return 0.1, 0.5 if shape == [1] else 1.0
    if leaf.endswith("gamma"):
        return 0.05, 0.3
    if leaf == "bias":
        return 0.1, 0.0
    if len(shape) == 1:
        return 0.1, 1.0
    return None, 0.0


def make(case: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return all tensors of a case by name."""
    return {name: tensor(name, shape, case["seed"]) for name, shape in case["params"].items()}


def write(case_path: Path, out: Path) -> None:
    """Write a case's config.json and model.safetensors into the folder `out`."""
    case = json.loads(case_path.read_text())
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(case["config"], indent=2) + "\n")
    save_file(make(case), out / "model.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(Path(sys.argv[1]), Path(sys.argv[2]))
