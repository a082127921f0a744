"""Whatever the bytes of a model file, it runs or ends in one FcsError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fuzz_cases
import numpy as np
import pytest
from fuzz_models import (
    MEMORY,
    bytes_case,
    config_case,
    header_case,
    joined,
    parts,
    prior_case,
    values_case,
)

from fcs_edge.codec import Codec
from fcs_edge.modelfile import model_file


def load(path: Path) -> str:
    model = model_file.read(path)
    Codec(model)
    return "read"


@pytest.mark.parametrize(
    ("make", "n_cases", "least"),
    [
        (bytes_case, 8000, (5, 5000)),
        (header_case, 8000, (100, 5000)),
        (config_case, 8000, (200, 5000)),
    ],
)
def test_model_files(make: Any, n_cases: int, least: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        return load(path)

    found = fuzz_cases.run(make.__name__, n_cases, make, read, MEMORY)
    assert found["read"] >= least[0]
    assert found["refused"] >= least[1]


@pytest.mark.parametrize("scheme", ["f32", "int8", "whole"])
def test_weights_of_any_value(scheme: str, tmp_path: Path) -> None:
    """A model of odd weights encodes and decodes: tokens and samples stay within their range."""
    path = tmp_path / "model.safetensors"
    signal = np.random.default_rng(0).standard_normal(2000).astype(np.float32)

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        codec = Codec(model_file.read(path))
        tokens = codec.encode(signal)
        samples = codec.decode(tokens)
        assert tokens.max() < 1 << codec.bits_per_token
        # Finite weights may still overflow on the way, to NaN. Vocos does not limit its samples.
        assert not (np.abs(samples) > 1).any() or scheme == "whole"
        return "read"

    header, weights = parts(scheme)
    # The first call compiles kernels.
    read(joined(json.dumps(header).encode(), weights))
    found = fuzz_cases.run(
        f"values {scheme}", 300, lambda rng: values_case(rng, scheme), read, MEMORY + (20 << 20)
    )
    assert min(found["read"], found["refused"]) >= 10


def test_priors_of_any_value(tmp_path: Path) -> None:
    """A prior that is read codes any tokens, and decodes any bytes."""
    path = tmp_path / "model.safetensors"
    tokens = np.random.default_rng(0).integers(0, 16, 12).astype(np.uint16)

    def read(data: bytes) -> str:
        fuzz_cases.put(path, data)
        codec = Codec(model_file.read(path))
        for prior in codec.priors.values():
            coder = prior.coder()
            assert np.array_equal(coder.decode(coder.encode(tokens), 12), tokens)
            assert coder.decode(bytes(tokens.astype(np.uint8)), 30).max() < 16
        return "read" if codec.prior else "none"

    header, weights = parts("prior")
    # The first call compiles kernels.
    read(joined(json.dumps(header).encode(), weights))
    found = fuzz_cases.run("priors", 600, prior_case, read, MEMORY)
    assert min(found["read"], found["refused"]) >= 80
