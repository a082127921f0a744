"""A model whose weights pass all checks, and whose sound is no number: no file holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fcs_edge
from fcs_edge.convert import write_model
from fcs_edge.tokens.npz import NpzWriter, origin_of
from fcs_edge.whole_files import decode_file, write_fcs


@pytest.mark.parametrize("name", ["in.fcs", "in.npy", "in.npz"])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_sound_that_is_nan(
    name: str, suffix: str, golden: Callable, tmp_path: Path, run: Callable
) -> None:
    codec = golden("tiny").codec
    tensors = {key: tensor.copy() for key, tensor in codec.model.tensors.items()}
    for tensor in tensors.values():
        if tensor.ndim > 1:
            tensor *= np.float32(1e28)
    model = tmp_path / "huge.safetensors"
    write_model(model, codec.model.config, tensors, "huge", "huge", "f32")
    huge = fcs_edge.load(model)
    tokens = np.arange(40, dtype=np.uint16)
    source, out = tmp_path / name, tmp_path / f"out{suffix}"
    n_samples = tokens.size * huge.samples_per_token
    if name == "in.fcs":
        write_fcs(source, tokens, n_samples, huge)
    elif name == "in.npy":
        np.save(source, tokens)
    else:
        with source.open("wb") as file:
            NpzWriter(file, origin_of(huge)).close(n_samples, tokens)
    line = run("decode", "-m", model, source, out).failed()
    assert "huge.safetensors: decodes to samples that are NaN or infinite" in line
    assert not out.exists()
    with pytest.raises(fcs_edge.ModelFileError, match="NaN or infinite"):
        decode_file(source, out, huge)
    assert not out.exists()
