"""``bench`` and ``warmup`` with small time budgets: only the results' shape is tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcs_edge
from fcs_edge.bench.bench import MODES, STAGES, products, window_chunks
from fcs_edge.cli.ui.bench_report import verdict
from fcs_edge.convert import convert
from fcs_edge.kernels.gemm import linear
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN
from fcs_edge.tokens.settings import token_settings

KINDS = {
    "linear:4x40x50": 4 * 40 * 50,
    "linear:4x40x50:f16": 4 * 40 * 50,
    "linear:4x40x50:int8": 4 * 40 * 50,
    "linear:1x40x50:int4": 40 * 50,
    "attention:4x3x16x32": 2 * 4 * 3 * 16 * 32,
    "attention:4x3x16x32:f16": 2 * 4 * 3 * 16 * 32,
    "depthwise:4x24x9": 4 * 24 * 9,
    "depthwise:4x24x9:f16": 4 * 24 * 9,
    "layer_norm:4x24": None,
    "gelu:4x24": None,
    "tanh:4x24": None,
    "snake:4x24": None,
}


def check_times(facts: dict[str, Any], chunk_ms: float) -> None:
    """Check that the figures of a mode or a stage are consistent."""
    times = [facts[f"chunk_ms_{key}"] for key in ("p50", "p95", "p99", "max")]
    assert 0 < times[0] <= times[1] <= times[2] <= times[3]
    raw = np.array(facts["chunk_ms"])
    assert raw.max() == facts["chunk_ms_max"]
    assert np.median(raw) == pytest.approx(facts["chunk_ms_p50"], abs=1e-4)
    assert raw.mean() == pytest.approx(facts["chunk_ms_mean"])
    assert facts["real_time_factor"] == pytest.approx(facts["chunk_ms_mean"] / chunk_ms)
    assert facts["times_real_time"] * facts["real_time_factor"] == pytest.approx(1)
    assert facts["late_chunks"] == (raw > chunk_ms).sum() * facts["chunks"] / raw.size


def check_run(run: dict[str, Any], chunk_ms: float) -> None:
    assert set(run["modes"]) == set(MODES)
    assert tuple(run["stages"]) == STAGES
    for facts in (*run["modes"].values(), *run["stages"].values()):
        check_times(facts, chunk_ms)
    for facts in run["modes"].values():
        assert facts["chunks"] >= 8
        assert facts["fraction_of_limit"] == pytest.approx(
            facts["limit_ms"] / facts["chunk_ms_p50"], rel=1e-3
        )
    both = run["modes"]["both"]
    parts = [run["modes"][mode] for mode in ("encode", "decode")]
    for key in ("weights_bytes", "chunk_macs"):
        assert both[key] == sum(part[key] for part in parts)
    # The stages are measured within both.
    total = np.sum([stage["chunk_ms"] for stage in run["stages"].values()], axis=0)
    np.testing.assert_allclose(total, both["chunk_ms"], atol=1e-3)
    assert run["file_bytes"] > both["weights_bytes"]
    assert run["memory_peak_bytes"] >= run["memory_bytes"] > 0
    assert 0 < run["cpu_share"] <= 1


def test_bench(tmp_path: Path, run: Callable) -> None:
    pytest.importorskip("matplotlib")
    path, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    result = run("bench", "--seconds", 0.4, "--json", path, "--plot", picture)
    assert result.code == 0, result.err
    assert max(map(len, result.out.splitlines())) <= 80
    text = " ".join(result.out.split())
    for expected in (
        "edge-65k, 7.6 M weights as int8: chunks of 80 ms",
        *("encode only", "decode only", "both", *STAGES, "GB/s", "GMAC/s", "memory"),
        *("compute time / audio time", "x real time", "headroom"),
    ):
        assert expected in text
    facts = json.loads(path.read_text())
    assert (facts["fcs_edge"], facts["model"]["name"]) == (fcs_edge.__version__, "edge-65k")
    assert facts["model"]["chunk_ms"] == 80
    assert facts["machine"]["kernels"] in facts["machine"]["kernels_available"]
    for name in ("read_gb_per_s", *(f"{n}_gmac_per_s" for n in ("float32", "int8", "int4"))):
        assert facts["limits"][name] >= facts["limits"][f"{name}_median"] > 0
    assert [r["weights"] for r in facts["runs"]] == ["int8"]
    check_run(facts["runs"][0], 80)
    assert facts["runs"][0]["settings"] == token_settings(fcs_edge.load().model)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(os.listdir(tmp_path)) == ["bench.json", "bench.png"]
    assert "--force" in run("bench", "--json", path).failed()
    assert "--force" in run("bench", "--plot", picture).failed()


def test_bench_of_several_types_of_weights(golden: Callable, run: Callable) -> None:
    model = golden("tiny").model
    options = ("--weights", "int4", "--weights", "f32", "--chunks", 3, "--seconds", 0.2)
    result = run("bench", "--model", model, *options, "--json", "-")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert [r["weights"] for r in facts["runs"]] == ["f32", "int4"]
    for measured in facts["runs"]:
        check_run(measured, facts["model"]["chunk_ms"])
        assert measured["chunks_per_step"] == 3
        assert measured["modes"]["both"]["chunks"] % 3 == 0
        assert measured["warm_up_chunks"] >= 8
    assert facts["runs"][0]["file_bytes"] == model.stat().st_size > facts["runs"][1]["file_bytes"]


def test_bench_of_layers(run: Callable) -> None:
    layers = [option for kind in KINDS for option in ("--layer", kind)]
    result = run("bench", "--seconds", 0.3, *layers, "--json", "-")
    assert result.code == 0, result.err
    found = json.loads(result.out)["layers"]
    assert len(found) == len(KINDS)
    for facts, (text, macs) in zip(found, KINDS.items(), strict=True):
        kind, shape, *weights = text.split(":")
        assert (facts["kind"], facts["weights"]) == (kind, *(weights or ["f32"]))
        assert "x".join(map(str, facts["shape"].values())) == shape
        assert facts["macs"] == macs
        assert 0 < facts["ms_min"] <= facts["ms_p50"] <= facts["ms_p95"]
        assert facts["gb_per_s"] == pytest.approx(facts["bytes"] / facts["ms_p50"] / 1e6)
        assert facts["fraction_of_limit"] == pytest.approx(facts["limit_ms"] / facts["ms_p50"])
    table = run("bench", "--seconds", 0.1, "--layer", "gelu:4x24", "--layer", "linear:1x8x8:int8")
    for text in ("gelu:4x24:f32", "linear:1x8x8:int8", "GB/s", "GMAC/s"):
        assert text in table.out


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("wavelet:4x4", "there are linear, attention"),
        ("linear", "linear:ROWSxDEPTHxOUTPUTS[:f32|f16|int8|int4] is expected"),
        ("linear:4x4", "linear:ROWSxDEPTHxOUTPUTS"),
        ("linear:4x4x4:int3", "linear:ROWSxDEPTHxOUTPUTS"),
        ("linear:4x4x4:f32:f32", "linear:ROWSxDEPTHxOUTPUTS"),
        ("linear:0x4x4", "linear:ROWSxDEPTHxOUTPUTS"),
        ("linear:4x-4x4", "linear:ROWSxDEPTHxOUTPUTS"),
        ("gelu:4x4:f16", "gelu:ROWSxCOLUMNS is expected"),
        ("attention:4x1x8x3", "there are no fewer"),
    ],
)
def test_wrong_layer(layer: str, message: str, run: Callable) -> None:
    assert message in run("bench", "--layer", layer).failed(2)


def test_layer_larger_than_memory(run: Callable) -> None:
    result = run("bench", "--seconds", 0.1, "--layer", "linear:4x9999999x9999999")
    assert "do not fit in the memory" in result.failed()


def test_errors(golden: Callable, tmp_path: Path, run: Callable) -> None:
    for options in (("--model", "edge-65k"), ("--weights", "f32"), ("--plot", "x.png")):
        assert "--layer measures no model" in run("bench", "--layer", "gelu:1x1", *options).failed(
            2
        )
    assert ".png" in run("bench", "--plot", tmp_path / "x.pdf").failed(2)
    assert "no such model" in run("bench", "--model", tmp_path / "x.safetensors").failed()
    eight = tmp_path / "eight.safetensors"
    convert(golden("tiny").checkpoint, eight, weights="int8")
    for options in (["all"], ["f32"], ["int8", "--weights", "int4"]):
        message = run("bench", "--model", eight, "--weights", *options).failed()
        assert "holds int8 weights" in message


@pytest.mark.parametrize(
    ("p50", "p99", "late", "sentence"),
    [
        (8, 16, 0, "runs m as f16 live, with a headroom of 5 x at the 99th percentile"),
        (50, 75, 0, "barely runs m as f16 live, with a headroom of 1.07 x"),
        (50, 120, 3, "does not reliably run m as f16 live: 3.0% of the chunks are late"),
        (160, 200, 100, "does not run m as f16 live: real-time factor 2 (compute time / audio"),
    ],
)
def test_verdict(p50: float, p99: float, late: int, sentence: str) -> None:
    def mode(share: float) -> dict[str, Any]:
        factor = p50 * share / 80
        times = {"chunk_ms_p50": p50 * share, "chunk_ms_p99": p99 * share, "chunks": 100}
        speed = {"real_time_factor": factor, "times_real_time": 1 / factor, "late_chunks": late}
        return {**times, **speed}

    modes = {"encode": mode(0.8), "decode": mode(0.2), "both": mode(1)}
    run = {"weights": "f16", "chunks_per_step": 1, "modes": modes}
    run["settings"] = {"activation_bits": 32}
    output = verdict({"name": "m", "chunk_ms": 80}, run)
    assert output.startswith("This machine " + sentence)
    assert output.endswith(" It can decode alone.") == (p99 > 80)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"cpu_share": 0.5}, "other programs took 50% of the time"),
        ({"cpu_share": 1.0, "fraction_of_limit": 2.31}, "more than 100 % of the limit"),
        ({"cpu_share": 1.0, "fraction_of_limit": 0.9}, ""),
    ],
)
def test_a_disturbed_layer_is_noted(
    facts: dict[str, Any], line: str, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, **__: object) -> dict[str, Any]:
        found = measure_layers(*_, **__)
        found["layers"][0].update(facts)
        return found

    from fcs_edge.cli import bench_run

    measure_layers = bench_run.measure_layers
    monkeypatch.setattr(bench_run, "measure_layers", measured)
    result = run("bench", "--seconds", 0.1, "--layer", "gelu:4x8")
    assert result.code == 0
    assert line in " ".join(result.out.split())
    assert bool(line) == ("other programs" in result.out)


def test_plot_without_matplotlib() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from fcs_edge.cli.main import main; main(['bench', '--plot', 'x.png'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install matplotlib" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_kernels_are_named(shell: Callable) -> None:
    environment = {**os.environ, "FCS_EDGE_KERNELS": "plain"}
    options = ("--seconds", 0.1, "--layer", "gelu:1x8", "--json", "-")
    done = shell("bench", *options, env=environment)
    assert done.returncode == 0, done.stderr
    machine = json.loads(done.stdout)["machine"]
    assert machine["kernels"] == "plain"
    assert machine["limits_measured_with"] == machine["kernels_available"][0] != "plain"


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_products_are_those_that_the_layers_make(
    name: str, golden: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    macs = []
    prepare = linear.prepare

    def recording(*arguments: Any) -> linear.Linear:
        product = prepare(*arguments)
        original = product.__class__.__call__

        class Recorded(product.__class__):  # type: ignore[name-defined]
            def __call__(self, x: Any, step: int, out: Any, *rest: int) -> None:
                macs.append(out.shape[0] * self.depth * self.outputs)
                original(self, x, step, out, *rest)

        product.__class__ = Recorded
        return product

    monkeypatch.setattr(linear, "prepare", recording)
    case = golden(name)
    codec = case.codec
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    for step, stages in (
        (lambda: encoder.push(case.signal[: codec.chunk_size]), MODES["encode"]),
        (lambda: decoder.push(np.zeros(codec.chunk_tokens, np.uint16)), MODES["decode"]),
    ):
        macs.clear()
        step()
        found = [p for p in products(codec.model.config) if p.stage in stages]
        assert sum(macs) == sum(p.rows * p.depth * p.outputs for p in found)


def test_the_published_size() -> None:
    parts = ("encoder", "compressor", "decompressor", "decoder")
    config = config_json.from_dict({f"{part}_config": {"causal": True} for part in parts})
    assert window_chunks(config) == 128
    found = products(config)
    assert sum(p.macs for p in found) / 1e6 == pytest.approx(864 + 195, abs=5)
    assert sum(p.depth * p.outputs for p in found) / 1e6 == pytest.approx(246, abs=1)


def test_a_search_counts_at_most() -> None:
    """A chunk's first token has one beam, the others have the beam width."""
    settings = {"history": 3, "inner": 10, "orders": 4, "passes": 4, "tries": 5, "ways": 3}
    parts = ("encoder", "compressor", "decompressor", "decoder")
    raw: dict[str, Any] = {f"{part}_config": {"causal": True} for part in parts}
    config = config_json.from_dict(raw | {"search_config": settings})
    rows = {p.name: p.rows for p in products(config) if p.name.startswith("search.")}
    # 12 bits: the signs, each flip, and five flips three times more; four tokens a chunk.
    assert rows["search.told_out.weight"] == (1 + 3 + 3 + 3) * (1 + 12 + 3 * 5)
    assert rows["search.told_in.weight"] == 1 + 3 + 3 + 3
    assert rows["search.wanted_in.weight"] == rows["search.wanted_out.weight"] == 4


def test_the_built_in_models_arithmetic() -> None:
    """Encoding and decoding with the longest search take less than 0.5 GMAC a second of speech."""
    config = fcs_edge.load("edge-65k").model.config
    chunks = SAMPLE_RATE_IN / config.chunk_size
    assert sum(p.macs for p in products(config)) * chunks < 0.495e9


def test_kernels_are_compiled_once_and_reported(
    golden: Callable, wav: Path, tmp_path: Path, shell: Callable
) -> None:
    cache = tmp_path / "cache"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    model = ("--model", golden("tiny").model)
    encoded, decoded = tmp_path / "a.fcs", tmp_path / "a.wav"

    def messages_of(*arguments: object) -> str:
        done = shell(*arguments, *model, env=environment)
        assert (done.returncode, done.stdout) == (0, b"")
        return str(done.stderr.decode())

    def in_cache() -> int:
        return len(list(cache.rglob("*.nbc")))

    first = messages_of("encode", wav, encoded)
    assert first.startswith("compiling kernels for this CPU (once; ")
    assert first.count("compiling") == 1
    for_encoding = in_cache()
    rest = messages_of("warmup")
    assert rest.startswith("compiling kernels for this CPU (once; ")
    assert f"compiled {in_cache() - for_encoding} kernels in" in rest
    assert str(cache) in rest
    everything = in_cache()
    assert messages_of("warmup").startswith("nothing to compile")
    assert messages_of("warmup", "--quiet") == ""
    # The test's name is in the path.
    assert "compil" not in messages_of("encode", "--force", wav, encoded).replace(str(encoded), "")
    assert "compil" not in messages_of("decode", encoded, decoded)
    assert in_cache() == everything


def test_warmup_of_all_types_of_weights(run: Callable) -> None:
    assert run("warmup", "--all").code == 0
    assert "nothing to compile" in run("warmup", "--all").err
