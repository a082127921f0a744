"""The plain reference model computes what the reference implementation does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from reference_model import ReferenceModel
from safetensors.numpy import load_file


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_golden(name: str, dtype: type, golden: Callable) -> None:
    case = golden(name)
    model = ReferenceModel(
        case.case["config"], load_file(case.checkpoint / "model.safetensors"), dtype
    )
    n = 36
    size = len(case.signal) // len(case.expected["toks"])
    signal = case.signal[: n * size]
    features = model.features(signal)
    assert features.dtype == dtype
    np.testing.assert_allclose(features, case.expected["feats"][: len(features)], atol=2e-4)
    np.testing.assert_array_equal(model.encode(signal), case.expected["toks"][:n])
    samples = model.decode(case.expected["toks"][:n])
    np.testing.assert_allclose(samples, case.expected["sig"].ravel()[: samples.size], atol=1e-5)
