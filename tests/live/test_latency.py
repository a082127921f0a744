"""The latency targets, as docs/explanation/live-timing.md and link-protocol.md state them."""

from __future__ import annotations

import pytest

from fcs_edge.link.jitter import JitterBuffer
from fcs_edge.link.receiver import Timer
from fcs_edge.live import latency

CHUNK = 0.08


def test_the_margin_is_20_or_80_ms_or_half_of_the_request() -> None:
    assert latency.margin("low") == 0.02
    assert latency.margin("high") == 0.08
    assert latency.margin(0.3) == 0.15


def test_the_playout_target_is_chunk_margin_jitter_and_block() -> None:
    assert latency.playout_target(CHUNK, 0.02, 0.04, 0.01) == pytest.approx(0.15)
    assert latency.playout_excess(CHUNK, 0.04) == pytest.approx(0.12)


def test_a_pipe_adds_40_ms_after_each_underrun_up_to_600() -> None:
    jitters = [latency.pipe_jitter(n) for n in range(20)]
    assert jitters[:3] == pytest.approx([0.04, 0.08, 0.12])
    assert jitters[14:] == pytest.approx([0.6] * 6)


def test_a_link_waits_for_160_ms_in_full_chunks() -> None:
    assert [latency.buffer_chunks(ms, CHUNK) for ms in (1, 80, 81, 160, 320)] == [1, 1, 2, 2, 4]
    assert latency.buffer_chunks(160, CHUNK) == latency.BUFFER_CHUNKS
    assert latency.buffer_limit(2) == 6
    assert latency.buffer_goal(2, 1) == 2
    assert latency.buffer_goal(2, 3) == 4
    assert JitterBuffer(4, CHUNK).goal == 2
    assert Timer(24000, CHUNK).target == pytest.approx(0.1)
