"""A codec that searches for codes: its tokens, its streams, and the bands it measures."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fcs_edge
from fcs_edge.model import code_search
from fcs_edge.modelfile import config_json, model_file
from fcs_edge.modelfile.config import SearchConfig
from fcs_edge.modelfile.tensor_layout import tensor_shapes

GOLDEN = Path(__file__).parents[1] / "data/golden/tiny.json"
SETTINGS = SearchConfig(history=4, inner=24, bands=16, orders=5, prior=8.0, max_flips=3)


def model(path: Path, settings: SearchConfig | None) -> fcs_edge.Codec:
    """Return a codec of drawn weights: all but those of the search the same whatever it is."""
    raw = json.loads(GOLDEN.read_text())["config"]
    config = replace(config_json.from_dict(raw), search=settings)
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in sorted(tensor_shapes(config).items(), key=lambda item: "search" in item[0]):
        scale = np.prod(shape[1:], dtype=float) ** -0.5
        tensors[name] = (scale * random.standard_normal(shape)).astype(np.float32)
    model_file.write(path, config, tensors, "drawn", "drawn")
    return fcs_edge.load(path)


@pytest.fixture
def codec(tmp_path: Path) -> fcs_edge.Codec:
    return model(tmp_path / "searched.safetensors", SETTINGS)


def test_it_changes_tokens_alone(
    codec: fcs_edge.Codec, tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    plain = model(tmp_path / "plain.safetensors", None)
    signal = speech[: 20 * codec.chunk_size]
    features = codec.features(signal)
    np.testing.assert_array_equal(features, plain.features(signal))
    np.testing.assert_array_equal(codec.latents(features), plain.latents(features))
    searched, tokens = codec.encode(signal), plain.encode(signal)
    assert (searched != tokens).mean() > 0.3
    np.testing.assert_array_equal(codec.decode(searched), plain.decode(searched))


def test_by_latents_alone_tokens_are_their_signs(
    tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    settings = replace(SETTINGS, prior=1e9)
    codecs = [model(tmp_path / f"{i}.safetensors", s) for i, s in enumerate((settings, None))]
    tokens = [codec.encode(speech[: 9 * codec.chunk_size]) for codec in codecs]
    np.testing.assert_array_equal(*tokens)


def test_a_wider_beam_ends_elsewhere(tmp_path: Path, speech: NDArray[np.float32]) -> None:
    signal = speech[: 12 * 1280]
    tokens = []
    for beam_width in (1, 4):
        settings = replace(SETTINGS, beam_width=beam_width)
        tokens.append(model(tmp_path / f"{beam_width}.safetensors", settings).encode(signal))
    assert 0.05 < (tokens[0] != tokens[1]).mean() < 0.95


def test_any_cutting_gives_the_same_tokens(
    codec: fcs_edge.Codec, speech: NDArray[np.float32]
) -> None:
    signal = speech[: 21 * codec.chunk_size + 77]
    whole = codec.encode(signal)
    for chunks, pieces in ((1, 3), (3, 40), (8, 1)):
        encoder = codec.stream_encoder(chunks)
        parts = [encoder.push(part) for part in np.array_split(signal, pieces)]
        np.testing.assert_array_equal(np.concatenate([*parts, encoder.flush()]), whole)


def test_a_copy_goes_on_and_a_reset_begins_anew(
    codec: fcs_edge.Codec, speech: NDArray[np.float32]
) -> None:
    first, second = speech[: 5 * codec.chunk_size], speech[5 * codec.chunk_size :][:7000]
    encoder = codec.stream_encoder()
    before = encoder.push(first)
    other = encoder.copy()
    ends = [np.concatenate([e.push(second), e.flush()]) for e in (encoder, other)]
    np.testing.assert_array_equal(*ends)
    np.testing.assert_array_equal(encoder.push(first), before)


def test_a_step_allocates_nothing(codec: fcs_edge.Codec) -> None:
    encoder = codec.stream_encoder()
    random = np.random.default_rng(0)
    samples = random.standard_normal(codec.chunk_size).astype(np.float32)
    tokens = np.zeros(codec.chunk_tokens, np.uint16)
    for _ in range(20):
        encoder.step(samples, tokens)
    tracemalloc.start()
    try:
        encoder.step(samples, tokens)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            encoder.step(samples, tokens)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4500
    assert after - before < 256


@pytest.mark.parametrize("bands", [1, 12, 40, 48])
def test_filters_weigh_each_frequency_about_equally(bands: int) -> None:
    filters = code_search.band_filters(bands, 257, 31.25)
    np.testing.assert_allclose(filters.sum(1), 1)
    peaks = 31.25 * filters.argmax(1)
    assert (np.diff(peaks) >= 0).all()
    assert (filters[:, :2] == 0).all()
    assert (filters[:, 244:] == 0).all()


def test_cepstra_are_orthonormal_but_for_loudness() -> None:
    rows = code_search.cepstral_rows(40, 20)
    np.testing.assert_allclose(rows @ rows.T, np.diag([0.5, *[1] * 19]), atol=1e-12)


@pytest.mark.parametrize(("hz", "amplitude"), [(500, 0.5), (3000, 0.01)])
def test_a_tone_is_measured_in_its_band(codec: fcs_edge.Codec, hz: float, amplitude: float) -> None:
    """A band's amplitude of a sine follows its filter's weights, once the window is full."""
    part = codec._stages.search
    assert part is not None
    n_tokens = 4
    tone = amplitude * np.sin(2 * np.pi * hz * np.arange(n_tokens * 320) / 16000)
    state = part.state(n_tokens)
    latents = np.ones((n_tokens, part.bits), np.float32)
    part(tone.astype(np.float32), latents, state)
    found = np.exp(state.log_bands.astype(np.float64)[4:] + code_search.MEAN_LOG_AMPLITUDE)
    spread = np.array([0.25, 1, 0.25])
    filters = code_search.band_filters(16, 257, 31.25)
    at = round(hz / 31.25)
    power = amplitude**2 * filters[:, at - 1 : at + 2] @ spread
    np.testing.assert_allclose(
        found, np.sqrt(power + code_search.FLOOR**2)[None].repeat(4, 0), rtol=0.02
    )
