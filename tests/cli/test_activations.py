"""``--activations``: the bits of activations, by commands that run a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fcs_edge


def test_tokens_and_their_settings(tmp_path: Path, wav: Path, run: Callable) -> None:
    out = tmp_path / "eight.npz"
    assert run("encode", wav, out, "--activations", 8).code == 0
    with np.load(out) as arrays:
        assert json.loads(str(arrays["settings"]))["activation_bits"] == 8
        tokens = arrays["tokens"]
    signal = fcs_edge.read_audio(wav)
    np.testing.assert_array_equal(tokens, fcs_edge.load(activations=8).encode(signal))
    assert json.loads(run("info", "--json", out).out)["settings"]["activation_bits"] == 8


def test_decode_says_which_bits_differ(tmp_path: Path, wav: Path, run: Callable) -> None:
    tokens, out = tmp_path / "eight.npz", tmp_path / "out.wav"
    run("encode", wav, tokens, "--activations", 8)
    notes = run("decode", tokens, out).err
    assert "encoded with other settings: activation_bits 8 (here 12)" in notes
    assert "other settings" not in run("decode", tokens, out, "-f", "--activations", 8).err


@pytest.mark.parametrize("bits", [8, 12])
def test_float_weights_have_no_such_choice(
    bits: int, tmp_path: Path, wav: Path, tiny: fcs_edge.Codec, run: Callable
) -> None:
    path = tiny.model.path
    result = run("encode", "-m", path, "--activations", bits, wav, tmp_path / "out.fcs")
    assert result.failed().endswith(
        f"{path}: f32 weights multiply activations of 32 bits, not {bits}; "
        "the choice is for int8 weights"
    )
    assert list(tmp_path.iterdir()) == [wav]


def test_tokens_that_are_copied_have_no_activations(
    tmp_path: Path, wav: Path, run: Callable
) -> None:
    tokens = tmp_path / "tokens.npz"
    run("encode", wav, tokens)
    for command, out in (("encode", "copy.fcs"), ("decode", "copy.npy")):
        result = run(command, tokens, tmp_path / out, "--activations", 8)
        assert result.code == 2
        assert "--activations is for" in result.err
