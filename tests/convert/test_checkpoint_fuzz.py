"""Whatever the bytes of a checkpoint, it is read or ends in one FcsError."""

from __future__ import annotations

import json
from pathlib import Path

import fuzz_cases
import numpy as np
from fuzz_models import (
    MEMORY,
    SMALL,
    checkpoint_case,
    config_file_case,
    first_layout,
    joined,
)

from fcs_edge.convert.checkpoint import read, read_config, read_tensors
from fcs_edge.convert.source import Source
from fcs_edge.convert.weights_file import Silent


def test_checkpoints(tmp_path: Path) -> None:
    path, config_path = tmp_path / "model.safetensors", tmp_path / "config.json"

    def read_weights(data: bytes) -> str:
        fuzz_cases.put(path, data)
        tensors = read_tensors(path, SMALL)
        assert all(np.isfinite(tensors[name]).all() for name in tensors)
        return "read"

    weights = tmp_path / "weights.safetensors"
    header, values = first_layout()
    weights.write_bytes(joined(json.dumps(header).encode(), values))
    source = Source(config_path, weights, "x", "x")

    def read_text(data: bytes) -> str:
        fuzz_cases.put(config_path, data)
        # One in 16 beside weights, whose shapes complete it; the others are read faster.
        if len(data) % 16:
            read_config(config_path)
        else:
            read(source, Silent())
        return "read"

    found = fuzz_cases.run("checkpoint", 6000, checkpoint_case, read_weights, MEMORY)
    assert min(found["read"], found["refused"]) >= 50
    found = fuzz_cases.run("config.json", 8000, config_file_case, read_text, MEMORY)
    assert min(found["read"], found["refused"]) >= 500
