"""A codec in the worker processes of a DataLoader."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge

torch_data = pytest.importorskip("torch.utils.data")


@pytest.mark.parametrize("context", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_give_the_same_tokens(context: str, speech: NDArray[np.float32]) -> None:
    codec = fcs_edge.load()
    signals = [speech[start : start + 5000] for start in range(0, 20000, 4000)]
    expected = [codec.encode(signal) for signal in signals]
    loader = torch_data.DataLoader(
        signals,
        batch_size=None,
        num_workers=1,
        collate_fn=codec.encode,
        multiprocessing_context=multiprocessing.get_context(context),
    )
    found = list(loader)
    assert len(found) == len(expected)
    for tokens, serial in zip(found, expected, strict=True):
        np.testing.assert_array_equal(tokens, serial)
