"""The projection of boards: its formula by hand, its bounds and sources, and what docs repeat."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import board_bounds
import check_projection
import project_boards
from board_bounds import BOARDS, CASES, CORES, OVERLAP, Board, Bound, Core
from check_projection import FIXING, Peaks
from chunk_work import SCHEMES, Scheme, Work, works
from fcs_edge.bench.bench import products
from marked_page import with_part
from project_boards import RATES, models, outputs
from projection import BESIDE, Rates, Speed, factors, layer_ms, speed, stages_ms, work_ms

F32, F16, INT8, INT8_8 = SCHEMES[:4]
INT4, INT4_8 = (Scheme("", "int4", bits) for bits in (12, 8))
KNOWN = models()
LARGE = list(works(KNOWN["focalcodec_50hz_4k_causal"]))
SMALL = list(works(KNOWN["edge-65k"]))

RATES_OF_LOOPS = [
    *(("cortex-a76", 3, loop, rate) for loop, rate in (("int8 4x8", 14.2), ("int4 4x16", 12.0))),
    *(("cortex-a76", 4, loop, rate) for loop, rate in (("int8 4x8", 16.0), ("int4 4x16", 15.1))),
    ("cortex-a76", 3, "float16 4x16", 4.0),
    ("cortex-a76", 4, "float16 4x16", 4.6),
    *(("cortex-a72", 3, loop, r) for loop, r in (("int8 4x16", 4.0), ("int4 4x16", 6.8))),
    ("cortex-a72", 3, "float16 4x16", 2.8),
    *(("cortex-a53", 2, loop, r) for loop, r in (("int8 4x16", 2.1), ("int4 4x16", 3.0))),
    ("cortex-a53", 2, "float16 4x16", 1.2),
]
"""Rates of llvm-mca for one version of the loops, with the factors that follow by the formula."""


def entries(*rows: tuple[str, int, str, float]) -> list[dict[str, Any]]:
    keys = ("core", "dispatch", "loop", "macs_per_cycle")
    return [
        {**dict(zip(keys, row, strict=True)), "rows": int(row[2].split()[-1][0])} for row in rows
    ]


def board(name: str, ghz: float) -> Board:
    return project_boards.board_at(name, ghz)


PI_5, PI_4, ZERO = board("Raspberry Pi 5", 2.4), board("Raspberry Pi 4", 1.8), BOARDS[-1]


def test_a_layers_time() -> None:
    assert layer_ms(3, 2, 1) == 3
    assert layer_ms(3, 2, 0) == 5
    assert layer_ms(2, 3, 0.7) == pytest.approx(3.6)


def test_work_by_hand() -> None:
    at = Speed(
        lambda loop, rows: {"int8": 20.0}[loop] / (2 if rows == 1 else 1), 4, 0.5, 0.75, 8, 16
    )
    four = Work("encoder", "products", 40_000_000, 4, 16_000_000, "encoder.a.weight")
    # 40 M / (20 G x 0.5) = 4 ms; 16 MB / 8 GB/s = 2 ms; 4 + 0.25 x 2.
    assert work_ms(four, INT8, at) == pytest.approx((4, 2, 4.5))
    # Two cores: half the arithmetic, what both read together, and the message.
    joined = board_bounds.JOIN_US / 1e3
    assert work_ms(four, INT8, at, 2) == pytest.approx((2, 1, 2.25 + joined))
    one = Work("encoder", "refiner", 40_000_000, 1, 16_000_000, "encoder.a.weight")
    assert work_ms(one, INT8, at)[0] == pytest.approx(8)
    side = Work("encoder", "elementwise", 10_000_000)
    assert work_ms(side, INT8, at) == pytest.approx((5, 0, 5))
    assert work_ms(side, INT8, at, 4) == pytest.approx((1.25, 0, 1.25 + joined))
    # Taps have a rate of their own, where it is known.
    taps = Work("decoder", "depthwise", 10_000_000, 4, taps=1_000_000, past=500_000)
    assert work_ms(
        taps, INT8, replace(at, rate=lambda loop, rows: {"depthwise float16": 2.0}[loop])
    )[:2] == pytest.approx((10, 0.375))
    search = Work("compressor", "code search", 10_000_000)
    assert work_ms(search, INT8, at, 4) == work_ms(search, INT8, at) == pytest.approx((5, 0, 5))


def test_cores_by_hand() -> None:
    """Encoder 4 ms, decoder 2 ms, 60 MB at 10 GB/s: beside each other 6 ms, in chunks of 8 ms."""
    core = Core("c", "C", (4, 4, 4), {}, "", Bound((1, 1, 1), ""), Bound((1, 1, 1), ""))
    at = Board("B", core, 1, "", Bound((1e6,) * 3, ""), Bound((10,) * 3, ""), (1,), ("B",))
    rates = Rates(entries(("c", 4, "int8 4x8", 10.0)))
    layers = [
        Work("encoder", "products", 40_000_000, 4, 50_000_000, "a"),
        Work("decoder", "products", 20_000_000, 4, 10_000_000, "b"),
    ]
    found = factors(layers, 8, INT8, at, rates)
    assert found[1]["both"] == pytest.approx((0.75,) * 3, rel=1e-3)
    assert found[2][BESIDE] == pytest.approx((0.75,) * 3)
    assert found[2]["both"] == pytest.approx((0.375,) * 3, rel=1e-3)
    assert found[4]["encode"] == pytest.approx((0.125,) * 3, rel=1e-2)


@pytest.mark.parametrize(
    ("where", "scheme", "mode", "expected"),
    [
        (PI_5, INT8, "encode", (0.30, 0.45, 0.83)),
        (PI_5, INT8, "decode", (0.17, 0.25, 0.44)),
        (PI_5, INT8, "both", (0.48, 0.70, 1.28)),
        (PI_5, INT4, "encode", (0.32, 0.44, 0.83)),
        (PI_5, INT4, "decode", (0.16, 0.22, 0.42)),
        (PI_5, INT4, "both", (0.48, 0.67, 1.24)),
        (PI_4, INT8, "both", (None, 2.74, None)),
        (PI_4, INT4, "both", (None, 1.88, None)),
        (ZERO, INT4, "encode", (3.67, 4.47, 6.03)),
        (ZERO, INT4, "both", (5.35, 6.52, 8.82)),
    ],
)
def test_factors_of_known_rates(where: Board, scheme: Any, mode: str, expected: Any) -> None:
    """Within rounding of the rates, which have two or three digits."""
    found = factors(LARGE, 80, scheme, where, Rates(entries(*RATES_OF_LOOPS)))[1][mode]
    for value, known in zip(found, expected, strict=True):
        assert known is None or value == pytest.approx(known, abs=0.0075)


def test_two_cores_of_known_rates() -> None:
    rates = Rates(entries(*RATES_OF_LOOPS))
    found = factors(LARGE, 80, INT8, PI_5, rates)
    # 272 MB at 10.3 GB/s; the encoder; the encoder.
    assert found[2][BESIDE] == pytest.approx((0.33, 0.45, 0.83), abs=0.005)
    assert found[2][BESIDE][1:] == found[1]["encode"][1:]


def test_a_bad_case_takes_the_narrower_dispatch() -> None:
    both = {"a": (10.0, 20.0), "b": (20.0, 20.0)}
    found = {
        key: factors(
            LARGE,
            80,
            INT8,
            PI_5,
            Rates(
                entries(
                    *RATES_OF_LOOPS,
                    *(("cortex-a76", d, "int8 1x8", r) for d, r in zip((3, 4), v, strict=True)),
                )
            ),
        )[1]["decode"]
        for key, v in both.items()
    }
    assert found["a"][:2] == found["b"][:2]
    assert found["a"][2] > found["b"][2]


def test_rates_of_rows_and_panels() -> None:
    rates = Rates(
        entries(
            ("cortex-a76", 4, "int8 4x8", 16.0),
            ("cortex-a76", 4, "int8 4x4", 15.0),
            ("cortex-a76", 4, "int8 1x8", 12.0),
            ("cortex-a76", 3, "int8 4x8", 14.0),
            ("cortex-a72", 3, "int8 x 8 bits 4x4", 8.0),
        )
    )
    a76, a72, _ = CORES
    assert [rates.rate(a76, "int8", rows, 4) for rows in (1, 4, 256)] == [12, 16, 16]
    assert rates.rate(a76, "int8", 4, 3) == 14
    # No rate of one row: that of four; no other dispatch: this one.
    assert rates.rate(a72, "int8 x 8 bits", 1, 4) == 8
    assert not rates.has(a76, "int8 x 8 bits")
    assert speed(PI_5, 1, rates).rate("depthwise float16", 4) == 4 * 2.4
    assert rates.schemes(a76, LARGE) == []


def test_each_bound_has_its_source() -> None:
    bounds = [OVERLAP, *(getattr(b, f.name) for b in (*BOARDS, *CORES) for f in fields(b))]
    sources = {bound.source for bound in bounds if isinstance(bound, Bound)}
    sources |= {b.clock_source for b in BOARDS} | {core.source for core in CORES}
    sources |= {board_bounds.JOIN_SOURCE, board_bounds.SYSTEM_SOURCE}
    for source in sources:
        assert re.search(r"https://|#\d+|results/\w+\.txt|^judgement|^one core's", source), source
    assert all(len(b.read.values) == len(CASES) for b in BOARDS)
    for where in BOARDS:
        assert where.read.values == tuple(sorted(where.read.values, reverse=True))


def test_no_loop_is_faster_than_its_multiplier() -> None:
    rates = Rates.read(RATES)
    a76, a72, a53 = CORES
    for core in CORES:
        for loop in project_boards.LOOPS:
            if rates.has(core, loop):
                assert rates.rate(core, loop, 4, 4) <= core.most(loop)
    assert [a76.most(loop) for loop in ("float32", "int8", "int8 x 8 bits", "int4")] == [
        8,
        16,
        32,
        32,
    ]
    assert [a72.most(loop) for loop in ("float32", "int8", "int8 x 8 bits", "int4")] == [4, 4, 8, 8]
    assert [a53.most(loop) for loop in ("float32", "int8", "int8 x 8 bits", "int4")] == [4, 4, 4, 8]


def test_bytes_of_the_published_size() -> None:
    """Taps and past of the focal layers are float16 beside integers, as the decoder's taps are."""
    depthwise = [work for work in LARGE if work.group == "depthwise"]
    focal, decoder = 6 * 1024 * (14 + 18 + 512), 8 * 1024 * 7
    assert sum(w.bytes(F32) for w in depthwise) == 8 * (focal + decoder)
    assert sum(w.bytes(F16) for w in depthwise) == 6 * (focal + decoder)
    for scheme in (INT8, INT8_8, INT4, INT4_8):
        assert sum(w.bytes(scheme) for w in depthwise) == 4 * focal + 6 * decoder
    assert (4 * focal + 6 * decoder) / 1e6 == pytest.approx(13.7, abs=0.05)
    keys = [work for work in LARGE if work.group == "attention"]
    assert sum(w.bytes(INT8) for w in keys) == 6 * 2 * 512 * 1024 * 2
    total = [sum(w.bytes(scheme) for w in LARGE) / 1e6 for scheme in (F32, F16, INT8, INT4)]
    assert total == pytest.approx([1034, 536, 272, 161], abs=0.5)


def test_the_mixture_of_int4() -> None:
    stored = {work.name: work.stored(INT4) for work in LARGE if work.weights}
    assert stored["encoder.feature_extractor.layers.0.conv.weight"] == "float16"
    assert stored["encoder.feature_extractor.layers.1.conv.weight"] == "int8"
    assert stored["encoder.encoder.layers.0.attention.qkv_proj.weight"] == "int4"
    loops = {work.loop(INT4_8) for work in LARGE if work.weights}
    assert loops == {"float16", "int8 x 8 bits", "int4"}


@pytest.mark.parametrize("name", KNOWN)
def test_products_are_those_of_the_benchmark(name: str) -> None:
    found = [w for w in works(KNOWN[name]) if w.weights or (w.floats and w.group == "code search")]
    counted = sum(p.macs for p in products(KNOWN[name]))
    assert sum(w.macs for w in found) - counted == (8 * 40 * 20 if name == "edge-65k" else 0)


def test_the_code_search_counts() -> None:
    """Four tokens: 7 sequences, 203 codes; two spectra of 512 samples a token."""
    macs = sorted(work.macs for work in SMALL if work.group == "code search")
    networks = {4 * 272 * 256, 4 * 256 * 40, 7 * 128 * 256, 203 * 256 * 40, 8 * 40 * 20}
    assert networks < set(macs)
    (spectra,) = set(macs) - networks
    assert spectra > 8 * (512 + 9 * 256 * 8)
    assert sum(macs) < 3e6


def test_the_published_models_are_alike() -> None:
    rates, chunk_ms = Rates(entries(*RATES_OF_LOOPS)), 80
    found = [
        factors(list(works(config)), chunk_ms, INT8, PI_5, rates)[1]["both"]
        for name, config in KNOWN.items()
        if name != "edge-65k"
    ]
    assert len(found) == 3
    assert max(v[1] for v in found) - min(v[1] for v in found) < 0.001


def test_docs_and_data_are_those_of_the_rates() -> None:
    for path, text in outputs(Rates.read(RATES)).items():
        assert path.read_text() == text, "run python scripts/project_boards.py --write"


def test_claims_follow_from_the_factors() -> None:
    def message(rate: float) -> str:
        loops = ("int8 4x8", "int4 4x8", "float16 4x8", "float32 4x8")
        rates = Rates(entries(*(("cortex-a76", 4, loop, rate) for loop in loops)))
        small, large = KNOWN["edge-65k"], KNOWN["focalcodec_50hz_4k_causal"]
        return " ".join(project_boards.sentences(PI_5, small, large, rates))

    assert "too slow for real time" in message(1)
    assert "Published size, one core, in real time: every case." in message(1000)
    between = message(12)
    assert "Published size, one core, in real time: good and middle case." in between
    assert "Published size, two cores, in real time: every case." in between
    assert "2.4 GHz, cooled: `edge-65k` takes" in between


def test_a_part_of_a_page() -> None:
    page = "a\n<!-- part -->\nold\n<!-- end -->\nb\n"
    for text in ("new", "new\n"):
        changed = with_part(page, text, "<!-- part -->", "<!-- end -->")
        assert changed == page.replace("old", "new")
    for damaged in ("a\n", page.replace("<!-- end -->", "")):
        with pytest.raises(SystemExit, match="lacks the marks <!-- part --> and <!-- end -->"):
            with_part(damaged, "new", "<!-- part -->", "<!-- end -->")


def test_a_check_recovers_its_own_shares() -> None:
    """Times by the formula are predicted, by the shares that made them."""
    peaks = Peaks(40, 120, 240, 480, 80)
    at = peaks.speed(0.7, 0.6)
    rows = [
        (label, mode) for label in ("f32", "f16", "int8", "int4") for mode in ("encode", "decode")
    ]
    measured = {row: check_projection.predict(SMALL, row, at) for row in rows}
    efficiency, overlap = check_projection.fit(SMALL, peaks, measured, FIXING)
    assert (efficiency, overlap) == pytest.approx((0.7, 0.6), abs=0.02)
    text = "\n".join(check_projection.table(SMALL, peaks, measured))
    assert text.count("all within 15%") == 2
    measured["int4", "encode"] *= 2
    assert "beyond 15%: int4 encode" in "\n".join(check_projection.table(SMALL, peaks, measured))


def test_sums_of_stages() -> None:
    at = speed(PI_5, 1, Rates(entries(*RATES_OF_LOOPS)))
    parts = sum(stages_ms(LARGE, INT8, at, mode) for mode in ("encode", "decode"))
    assert parts == pytest.approx(stages_ms(LARGE, INT8, at))
    assert math.isfinite(parts)


def test_rates_without_multiplications_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    rows: list[dict[str, Any]] = entries(("cortex-a76", 4, "int8 4x8", 16.0))
    path.write_text(
        json.dumps([*rows, {"core": "cortex-a76", "loop": "gelu", "rows": 1, "dispatch": 4}])
    )
    rates = Rates.read(path)
    assert rates.has(CORES[0], "int8")
    assert not rates.has(CORES[0], "gelu")
