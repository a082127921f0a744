"""Whatever the bytes of a checkpoint, it is read or ends in one FcsError."""

from __future__ import annotations

from pathlib import Path

import fuzz_cases
import numpy as np
from fuzz_models import MEMORY, SMALL, checkpoint_case, config_file_case

from fcs_edge.convert.checkpoint import read_config, read_tensors


def test_checkpoints(tmp_path: Path) -> None:
    path, config_path = tmp_path / "model.safetensors", tmp_path / "config.json"

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        tensors = read_tensors(path, SMALL)
        assert all(np.isfinite(tensors[name]).all() for name in tensors)
        return "read"

    def read_text(data: bytes) -> str:
        fuzz_cases.put(config_path, data)
        read_config(config_path)
        return "read"

    found = fuzz_cases.run("checkpoint", 6000, checkpoint_case, read, MEMORY)
    assert min(found["read"], found["refused"]) >= 50
    found = fuzz_cases.run("config.json", 8000, config_file_case, read_text, MEMORY)
    assert min(found["read"], found["refused"]) >= 500
