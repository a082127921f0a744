"""The settings that stand beside tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.modelfile.model_file import SCHEMES
from fcs_edge.tokens.settings import differences, settings_code, settings_of, token_settings


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
        "token_rules": 2,
    }
    assert token_settings(model) == expected
    assert json.loads(run("info", "--json", path).out)["settings"] == expected


def test_the_built_in_model_searches_for_codes() -> None:
    assert token_settings(fcs_edge.load().model)["search"] is True


@pytest.mark.parametrize("suffix", [".fcs", ".npz"])
def test_files_of_plain_signs_say_so(suffix: str, tmp_path: Path, run: Callable) -> None:
    codec = fcs_edge.load()
    sound, out = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    clip = fcs_edge.read_audio(Path(fcs_edge.__file__).parent / "data/demo.flac")[:4000]
    soundfile.write(sound, clip, 16000)
    encoded = fcs_edge.encode_file(sound, out, codec, search=False)
    assert (encoded.tokens != codec.encode(clip)).any()
    assert json.loads(run("info", "--json", out).out)["settings"]["search"] is False
    copy, stated = tmp_path / "copy.fcs", token_settings(codec.model, search=False)
    fcs_edge.write_fcs(copy, encoded.tokens, encoded.n_samples, codec, settings=stated)
    assert json.loads(run("info", "--json", copy).out)["settings"]["search"] is False


def test_differences_are_of_what_both_state() -> None:
    own = {"weights": "f32", "search": False}
    assert differences(own, own) == differences({}, own) == differences({"more": 1}, own) == ""
    stored = {"weights": "int8\n", "search": True, "more": 1}
    assert differences(stored, own) == "weights int8\\x0a (here f32), search True (here False)"


EXAMPLES = [
    ({}, 0),
    ({"weights": "int8", "activation_bits": 12, "search": True}, 0b10_10_011),
    ({"resampler": "soxr VHQ", "token_rules": 15}, 15 << 10 | 1 << 7),
    ({"weights": "f32", "activation_bits": 32, "search": False, "token_rules": 1}, 1065),
    ({"resampler": "torchaudio"}, 2 << 7),
    ({"dtx": True}, 1 << 14),
    ({"causal": False}, 1 << 15),
]


@pytest.mark.parametrize(("settings", "code"), EXAMPLES)
def test_settings_as_a_code(settings: dict, code: int) -> None:
    assert settings_code(settings) == code
    assert settings_of(code) == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "f64", "activation_bits": 12.0, "search": 1, "token_rules": True},
        {
            "weights": ["f32"],
            "resampler": "linear",
            "token_rules": 16,
            "dtx": False,
            "causal": True,
        },
        {"weights": None, "more": "f32"},
    ],
)
def test_a_setting_without_a_code_is_not_stated(settings: dict) -> None:
    assert settings_code(settings) == 0


def test_every_code_states_what_is_known_of_it() -> None:
    known = {settings_code(settings_of(code)) for code in range(1 << 16)}
    assert len(known) == 5 * 4 * 3 * 3 * 16 * 2 * 2
    expected = {"activation_bits": 8, "token_rules": 15, "dtx": True, "causal": False}
    assert settings_of(0xFFFF) == expected
