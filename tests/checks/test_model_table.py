"""The table of models: the published sizes and rates, and how its rows read."""

from __future__ import annotations

import math

import pytest

import model_table
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.tensor_layout import tensor_shapes

PUBLISHED = {
    "focalcodec_50hz_2k_causal": (249.0, 50, 11, 24000),
    "focalcodec_50hz_4k_causal": (249.0, 50, 12, 24000),
    "focalcodec_50hz_65k_causal": (249.0, 50, 16, 24000),
    "focalcodec_50hz": (142.1, 50, 13, 16000),
    "focalcodec_25hz": (144.2, 25, 13, 16000),
    "focalcodec_12_5hz": (145.3, 12.5, 13, 16000),
}


@pytest.mark.parametrize("name", model_table.PUBLISHED)
def test_sizes_and_rates_are_those_published(name: str) -> None:
    config = config_json.from_dict(model_table.PUBLISHED[name])
    millions = sum(math.prod(shape) for shape in tensor_shapes(config).values()) / 1e6
    rate = 16000 / config.samples_per_token
    found = (round(millions, 1), rate, config.bits_per_token, config.sample_rate_out)
    assert found == PUBLISHED[name]


def test_rows() -> None:
    run = {
        "file_bytes": 144_600_000,
        "memory_peak_bytes": 1_234_000_000,
        "modes": {"both": {"real_time_factor": 0.1567}},
    }
    config = config_json.from_dict(model_table.PUBLISHED["focalcodec_12_5hz"])
    rows = [model_table.Row("focalcodec_12_5hz", config, {"int8": run})]
    head, rule, row = model_table.table(rows, memory=False).split("\n")
    assert head.count("|") == rule.count("|") == row.count("|")
    start = "| `focalcodec_12_5hz` | 145.3 M | 12.5 | 13 | 0.16 | no | 16 |  |  "
    assert row == f"{start}| 145 MB, 0.16 |  |"
    assert "| 145 MB, 0.16, 1,234 MB |" in model_table.table(rows, memory=True)
