"""A codec in the workers of a PyTorch DataLoader."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge


@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_workers_give_the_same(
    context: str, tiny: fcs_edge.Codec, speech: NDArray[np.float32]
) -> None:
    """The codec is pickled to a spawned worker, and is its parent's in a forked one."""
    data = pytest.importorskip("torch.utils.data")
    signals = np.split(speech[: 4 * 16000], 4)
    loader = data.DataLoader(
        signals,
        batch_size=None,
        collate_fn=tiny.encode,
        num_workers=2 if context == "fork" else 1,
        multiprocessing_context=context,
    )
    found = list(loader)
    assert len(found) == len(signals)
    for tokens, signal in zip(found, signals, strict=True):
        np.testing.assert_array_equal(tokens, tiny.encode(signal))
