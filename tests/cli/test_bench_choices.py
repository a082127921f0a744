"""--activations and --threads of ``bench`` and ``warmup``: what is measured and printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fcs_edge import Codec
from fcs_edge.bench import core_limits
from fcs_edge.bench.bench import Bench, Limits
from fcs_edge.bench.core_limits import Rate
from fcs_edge.cli import warmup
from fcs_edge.modelfile.model_file import ACTIVATION_BITS


def test_bench_names_its_activations_and_threads(tmp_path: Path, run: Callable) -> None:
    path = tmp_path / "bench.json"
    options = ("--activations", 8, "--threads", 2, "--seconds", 0.3)
    result = run("bench", *options, "--json", path)
    assert result.code == 0, result.err
    text = " ".join(result.out.split())
    assert "weights as int8 with 8-bit activations: chunks of 80 ms, 2 threads" in text
    assert "The limit of 2 threads is that of 2 cores." in text
    assert "edge-65k as int8 with 8-bit activations on 2 threads" in text
    (measured,) = json.loads(path.read_text())["runs"]
    assert (measured["threads"], measured["settings"]["activation_bits"]) == (2, 8)


def test_the_limit_of_several_threads(monkeypatch: pytest.MonkeyPatch, tiny: Codec) -> None:
    """The rates are one core's, so two threads may take half of its time, and four a quarter."""
    rate = Rate(10.0, 10.0)
    monkeypatch.setattr(core_limits, "read_rate", lambda size, seconds: rate)
    clip = np.zeros(tiny.chunk_size, np.float32)
    for chunks in (1, 2):
        limits = []
        for threads in (1, 2, 4):
            bench = Bench(tiny.model, clip, chunks, threads)
            both = bench.measure(Limits(1, rate, rate, rate, rate), 0.05)["modes"]["both"]
            assert both["fraction_of_limit"] == both["limit_ms"] / both["chunk_ms_p50"]
            limits.append(both["limit_ms"])
        assert limits == pytest.approx([limits[0], limits[0] / 2, limits[0] / 4])


def test_warmup_prepares_all_activations(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    monkeypatch.setattr(
        warmup, "_run", lambda codec: prepared.append((codec.model.scheme, codec.activation_bits))
    )
    assert run("warmup", "--activations", 8).code == 0
    assert prepared == [("int8", 8)]
    prepared.clear()
    assert run("warmup", "--all").code == 0
    every = {(scheme, n) for scheme, some in ACTIVATION_BITS.items() for n in some}
    assert set(prepared) == every
