from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import fcs_edge


@given(n=st.integers(0, 1 << 45))
def test_output_length_is_python_rounding(n: int) -> None:
    from fractions import Fraction

    assert fcs_edge.load().output_length(n) == round(Fraction(n * 24000, 16000))


def test_repr_names_model_and_rates() -> None:
    assert repr(fcs_edge.load()) == "<Codec edge-65k: 16000 Hz -> 800 bit/s -> 24000 Hz>"


@pytest.mark.parametrize("name", ["tiny", "options", "nolookahead"])
def test_codes(name: str, golden: Callable) -> None:
    codec = golden(name).codec
    tokens = np.arange(1 << codec.bits_per_token).astype(np.uint16)
    codes = codec.codes(tokens)
    assert np.allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)
    assert np.array_equal(codec.quantize(codes), tokens)
    high = codes[:, 0] > 0
    assert np.array_equal(high, tokens >= 1 << (codec.bits_per_token - 1))


def test_stages_check_shapes(tiny: fcs_edge.Codec) -> None:
    for stage in (tiny.latents, tiny.quantize, tiny.decompress, tiny.synthesize):
        with pytest.raises(ValueError, match="of shape"):
            stage(np.zeros((4, 5), np.float32))


def test_decoding_from_points_near_codes(tiny: fcs_edge.Codec, speech: NDArray[np.float32]) -> None:
    """Latents themselves, unquantised, decode to something else, as finite."""
    latents = tiny.latents(tiny.features(speech[:16000]))
    sound = tiny.synthesize(tiny.decompress(latents))
    assert np.isfinite(sound).all()
    assert not np.array_equal(sound, tiny.decode(tiny.quantize(latents)))


def test_features_of_frames_that_fill_no_chunk(tiny: fcs_edge.Codec) -> None:
    codes = tiny.codes([1, 2, 3, 4, 5])
    assert np.array_equal(tiny.synthesize(tiny.decompress(codes)), tiny.decode([1, 2, 3, 4, 5]))


def test_the_runtime_needs_no_torch_and_no_portaudio() -> None:
    code = (
        "import sys, fcs_edge, numpy\n"
        "codec = fcs_edge.load()\n"
        "codec.decode(codec.encode(numpy.zeros(1280, numpy.float32)))\n"
        "import fcs_edge.cli.main\n"
        "print([m for m in ('torch', 'sounddevice', 'huggingface_hub', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
