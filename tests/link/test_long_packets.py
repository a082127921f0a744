"""Packets of up to a second on an open link, where what is out of place waits for 2 s."""

from __future__ import annotations

import numpy as np
import pytest

from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.packets import Packet

CHUNK = 0.08


@pytest.mark.parametrize("redundant", [False, True])
@pytest.mark.parametrize("n_lost", [1, 2, 3])
def test_lost_packets_in_a_row_cost_themselves(n_lost: int, redundant: bool) -> None:
    buffer, chunks, n = JitterBuffer(4, CHUNK), 12, 20
    played = []
    for step in range((n + 3) * chunks):
        number, place = divmod(step, chunks)
        if place == 0 and number < n and not 8 <= number < 8 + n_lost:
            before = chunks * (number > 0) if redundant else None
            first = number * chunks - (before or 0)
            rows = np.arange(first, (number + 1) * chunks).repeat(4).astype(np.uint16)
            packet = Packet(1, number * chunks, rows, before=before)
            buffer.put(packet, step * CHUNK)
        tokens = buffer.take(step * CHUNK + 0.01)
        played += [int(tokens[0])] if isinstance(tokens, np.ndarray) else []
    gone = n_lost - redundant
    expected = [i for i in range(n * chunks) if not 8 <= i // chunks < 8 + gone]
    assert played == expected
    assert (buffer.counts.strays, buffer.counts.resyncs) == (0, 0)
    assert buffer.counts.lost == gone * chunks
