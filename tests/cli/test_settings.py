"""The settings that stand beside tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.modelfile.model_file import SCHEMES
from fcs_edge.tokens.settings import differences, token_settings


@pytest.mark.parametrize("scheme", SCHEMES)
def test_settings_of_each_kind_of_weights(
    scheme: str, golden: Callable, tmp_path: Path, run: Callable
) -> None:
    path = tmp_path / "model.safetensors"
    model = convert(golden("tiny").checkpoint, path, "tiny", scheme)
    expected = {
        "weights": scheme,
        "activation_bits": {"int8": 12, "int4": 8}.get(scheme, 32),
        "resampler": "soxr VHQ",
        "search": False,
        "token_rules": 1,
    }
    assert token_settings(model) == expected
    assert json.loads(run("info", "--json", path).out)["settings"] == expected


def test_the_built_in_model_searches_for_codes() -> None:
    assert token_settings(fcs_edge.load().model)["search"] is True


def test_differences_are_of_what_both_state() -> None:
    own = {"weights": "f32", "search": False}
    assert differences(own, own) == differences({}, own) == differences({"more": 1}, own) == ""
    stored = {"weights": "int8\n", "search": True, "more": 1}
    assert differences(stored, own) == "weights int8\\x0a (here f32), search True (here False)"
