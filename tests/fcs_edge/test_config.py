from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcs_edge.errors import ConfigError
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import CompressorConfig, SearchConfig, VocosConfig
from fcs_edge.modelfile.tensor_layout import tensor_shapes

CAUSAL = ["tiny", "options", "nolookahead", "full_4k", "causal_vocos"]
NON_CAUSAL = ["nc_tiny", "nc_25", "nc_12_5", "nc_options", "full_50hz"]
GOLDEN = Path(__file__).parent.parent / "data" / "golden"


def published() -> dict[str, Any]:
    """The configuration of a published causal checkpoint."""
    config: dict[str, Any] = json.loads((GOLDEN / "full_4k.json").read_text())["config"]
    return config


@pytest.mark.parametrize("name", [*CAUSAL, *NON_CAUSAL])
def test_layout_is_that_of_the_checkpoint(name: str) -> None:
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    config = config_json.from_dict(case["config"])
    assert {k: list(v) for k, v in tensor_shapes(config).items()} == case["params"]
    if "chunk_size" in case:
        assert config.chunk_size == case["chunk_size"]
        assert config.sample_rate_out == case["sample_rate_out"]


@pytest.mark.parametrize("name", [*CAUSAL, *NON_CAUSAL])
def test_round_trip(name: str) -> None:
    config = config_json.from_dict(json.loads((GOLDEN / f"{name}.json").read_text())["config"])
    assert config_json.from_dict(json.loads(json.dumps(config_json.to_dict(config)))) == config


def test_published_rates() -> None:
    config = config_json.from_dict(published())
    assert (config.chunk_size, config.chunk_tokens, config.bits_per_token) == (1280, 4, 12)
    assert (config.samples_per_token, config.samples_out_per_token) == (320, 480)
    assert config.sample_rate_out == 24000


@pytest.mark.parametrize("name", ["nc_tiny", "nc_25", "nc_12_5", "nc_options"])
def test_counts_are_those_of_the_golden_case(name: str) -> None:
    config = config_json.from_dict(json.loads((GOLDEN / f"{name}.json").read_text())["config"])
    assert (config.encodes_streams, config.decodes_streams, config.is_causal) == (False,) * 3
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        for key in arrays.files:
            if key.startswith("toks_"):
                assert config.n_tokens(int(key[5:])) == arrays[key].size
            elif key.startswith("sig_"):
                assert config.n_decoded(arrays[f"toks_{key[4:]}"].size) == arrays[key].size


@pytest.mark.parametrize("part", ["encoder", "compressor", "decompressor", "decoder"])
def test_each_part_may_be_non_causal(part: str) -> None:
    """Then the two stages on its side do not stream, and the other two still do."""
    raw = published()
    raw[f"{part}_config"]["causal"] = False
    config = config_json.from_dict(raw)
    encodes = part in ("decompressor", "decoder")
    assert (config.encodes_streams, config.decodes_streams) == (encodes, not encodes)
    assert (config.chunk_size, config.chunk_tokens) == ((1280, 4) if encodes else (320, 1))
    assert config.decoded_tokens == 4
    assert not config.is_causal


@pytest.mark.parametrize(
    ("factors", "frames", "tokens"),
    [((2, 2), 149, 38), ((3,), 4, 1), ((3,), 5, 2), ((3,), 1, 0), ((3, 2), 1, 0), ((2,), 1, 1)],
)
def test_zero_rows_of_a_downscale_that_is_not_causal(
    factors: tuple[int, ...], frames: int, tokens: int
) -> None:
    config = CompressorConfig(hidden_dims=(8,) * len(factors), downscale_factors=factors)
    assert config.n_tokens(frames) == tokens


def test_checks_of_chunks_do_not_concern_a_model_without_chunks() -> None:
    raw = json.loads((GOLDEN / "nc_tiny.json").read_text())["config"]
    raw["encoder_config"] |= {"lookahead_size": 300, "window_size": 2, "max_cached_steps": 0}
    raw["compressor_config"]["downscale_factors"] = [1, 1, 3]
    raw["decompressor_config"] |= {"upscale_factors": [1, 3, 1], "lookahead_size": 7}
    config = config_json.from_dict(raw)
    assert config.sample_rate_out == 16000
    assert not any("refiner" in name for name in tensor_shapes(config))


def vocos(**keys: object) -> dict[str, Any]:
    return {**published(), "decoder_name": "Vocos", "decoder_config": {"causal": True, **keys}}


def test_vocos_takes_any_key() -> None:
    """``input_channels`` is the former name of ``input_dim``, and counts before it."""
    keys = {"input_channels": 1024, "input_dim": 3, "padding": "same", "other": [1]}
    config = config_json.from_dict(vocos(**keys))
    assert config.decoder == VocosConfig(causal=True)
    written = config_json.to_dict(config)
    assert written["decoder_name"] == "Vocos"
    assert config_json.from_dict(written) == config


@pytest.mark.parametrize(
    ("causal", "n_fft", "hop", "extra"),
    [(False, 1024, 320, 0), (False, 62, 15, 1), (False, 62, 60, 0), (True, 62, 15, 0),
     (True, 62, 62, 0)],
)  # fmt: skip
def test_samples_of_vocos(causal: bool, n_fft: int, hop: int, extra: int) -> None:
    """Hops that overlap an odd number of samples give one sample more."""
    config = config_json.from_dict(vocos(causal=causal, n_fft=n_fft, hop_length=hop))
    assert config.n_decoded(7) == 7 * hop + extra
    assert config.n_decoded(0) == 0
    assert config.samples_out_per_token == hop


@pytest.mark.parametrize(
    "keys",
    [{"n_fft": 1023}, {"n_fft": 320, "causal": False}, {"n_fft": 321, "causal": False},
     {"n_fft": 319}, {"n_fft": 16386}, {"n_fft": 62, "hop_length": 61, "causal": False}],
)  # fmt: skip
def test_vocos_needs_an_even_transform_that_is_longer_than_a_hop(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"decoder_config\.n_fft must be even, and"):
        config_json.from_dict(vocos(**keys))


@pytest.mark.parametrize("key", ["decoder_name", "encoder_name"])
@pytest.mark.parametrize("value", ["Mimi", ["Vocos"], None, 3])
def test_another_part_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key} .* is not supported; .*WaveNeXt or Vocos"):
        config_json.from_dict({**published(), key: value})


def test_more_than_sixteen_bits_are_refused() -> None:
    raw = published()
    raw["compressor_config"]["output_dim"] = raw["decompressor_config"]["input_dim"] = 17
    raw["quantizer_config"] = {"codebook_size": 1 << 17}
    with pytest.raises(ConfigError, match="must be 1 to 16 bits, not 17"):
        config_json.from_dict(raw)


def test_noise_and_overlap_are_optional_and_written_where_they_say_more() -> None:
    """The fingerprint of a model without them does not change."""
    plain = config_json.from_dict(published())
    written = config_json.to_dict(plain)["decoder_config"]
    assert not {"noise_channels", "win_length"} & set(written)
    raw = published()
    for stated in ({"noise_channels": 0}, {"win_length": 480}, {"win_length": None}):
        raw["decoder_config"] = published()["decoder_config"] | stated
        assert config_json.from_dict(raw) == plain
    same = replace(plain, decoder=replace(plain.decoder, win_length=480))
    assert config_json.to_dict(same) == config_json.to_dict(plain)
    keys = {"noise_channels": 64, "win_length": 960}
    raw["decoder_config"] |= keys
    config = config_json.from_dict(raw)
    assert config_json.to_dict(config)["decoder_config"] == written | keys
    assert config_json.from_dict(config_json.to_dict(config)) == config
    shapes = tensor_shapes(config)
    assert shapes["decoder.backbone.embedding.weight"] == (1024, 1024 + 64, 7)
    assert shapes["decoder.head.proj.weight"] == (960, 1024)
    assert shapes["decoder.head.proj.bias"] == (960,)
    assert config.n_decoded(7) == plain.n_decoded(7)


@pytest.mark.parametrize("keys", [{"noise_channels": 1}, {"win_length": 481}])
def test_noise_and_overlap_need_causal_wavenext(keys: dict[str, Any]) -> None:
    raw = published()
    raw["decoder_config"] |= keys | {"causal": False}
    with pytest.raises(ConfigError, match="noise_channels and win_length need a causal decoder"):
        config_json.from_dict(raw)
    with pytest.raises(ConfigError, match=f"{next(iter(keys))} is for WaveNeXt; Vocos has none"):
        config_json.from_dict(vocos(**keys))


def wrong() -> list[tuple[str, str, Any, str]]:
    return [
        ("encoder", "hidden_dim", 3, "unknown key encoder_config.hidden_dim"),
        ("encoder", "dim", "1024", "encoder_config.dim must be an integer"),
        ("encoder", "dim", True, "encoder_config.dim must be an integer"),
        ("encoder", "dim", 0, "encoder_config.dim must be 1 to"),
        ("encoder", "dim", 10**9, "encoder_config.dim must be 1 to"),
        ("encoder", "num_heads", 7, "num_heads must divide dim"),
        ("encoder", "conv_pos_groups", 3, "conv_pos_groups must divide dim"),
        ("encoder", "strides", [5, 2], "must have the same length"),
        ("encoder", "strides", 5, "must be a list of integers"),
        ("encoder", "strides", [5, 2, 2, 2, 2, 2, 2.0], "must be an integer"),
        ("encoder", "strides", [60000] * 7, "chunks that are too large"),
        ("encoder", "window_size", 8193, "window_size is at most 8192"),
        ("encoder", "lookahead_size", 256, "lookahead_size 255"),
        ("decoder", "hop_length", 65536, "chunks that are too large"),
        ("decompressor", "upscale_factors", [1000] * 3, "chunks that are too large"),
        ("encoder", "max_cached_steps", 511, "must be 0 or at least window_size"),
        ("encoder", "window_size", 2, "window_size must hold a chunk"),
        ("encoder", "causal", 1, "must be true or false"),
        ("encoder", "dropout", float("nan"), "must be a number"),
        ("encoder", "num_buckets", 2, "num_buckets"),
        ("encoder", "lookahead_size", 4, "refiner"),
        ("encoder", "lookahead_size", -1, "must be 0 to"),
        ("compressor", "input_dim", 512, "compressor_config.input_dim is 512"),
        ("compressor", "output_dim", 17, "1 to 16 bits"),
        ("compressor", "output_dim", 11, "codebook_size must be 2048"),
        ("compressor", "downscale_factors", [1, 1], "same length"),
        ("compressor", "downscale_factors", [3, 1, 1], "not a multiple of the 3 frames of a token"),
        ("quantizer", "codebook_size", 4095, "codebook_size"),
        ("decompressor", "input_dim", 11, "decompressor_config.input_dim is 11"),
        ("decoder", "input_dim", 11, "decoder_config.input_dim is 11"),
        ("encoder", "strides", [7, 2, 2, 2, 2, 2, 2], "an integer number of Hz"),
        ("decoder", "noise_channels", -1, "noise_channels must be 0 to"),
        ("decoder", "noise_channels", 65, "noise_channels must be 0 to 64"),
        ("decoder", "noise_channels", None, "noise_channels must be an integer"),
        ("decoder", "win_length", 479, "win_length must be 480 to 960 with hop_length 480"),
        ("decoder", "win_length", 961, "win_length must be 480 to 960 with hop_length 480"),
        ("decoder", "win_length", 500.0, "win_length must be an integer"),
        ("decoder", "win_length", 0, "win_length must be 1 to"),
        ("decoder", "layerscale_init", "a", "must be a number"),
        ("search", "depth", 3, "unknown key search_config.depth"),
        ("search", "passes", 65, "passes at most 64"),
        ("search", "ways", 65, "ways is at most 64"),
        ("search", "ways", 0, "search_config.ways"),
        ("search", "tries", 0, "search_config.tries"),
        ("search", "prior", -1.0, "prior is at least 0"),
        ("search", "prior", float("inf"), "must be a number"),
        ("search", "orders", 41, "orders at most bands"),
        ("search", "bands", 49, "bands is at most 48"),
        ("search", "history", 10000, "the bits of a token, is at most 262144"),
    ]


@pytest.mark.parametrize(("part", "key", "value", "message"), wrong())
def test_a_wrong_value_is_named(part: str, key: str, value: Any, message: str) -> None:
    config = published()
    config.setdefault(f"{part}_config", {})[key] = value
    with pytest.raises(ConfigError, match=message):
        config_json.from_dict(config)


def test_a_search_is_read_and_written_and_is_optional() -> None:
    """A configuration without a search has no key for it, as published ones."""
    plain = config_json.from_dict(published())
    assert plain.search is None
    assert "search_config" not in config_json.to_dict(plain)
    assert config_json.from_dict(published() | {"search_config": None}) == plain
    keys = {"history": 3, "inner": 7, "bands": 9, "orders": 4, "prior": 2.5}
    keys |= {"passes": 1, "tries": 5, "ways": 3}
    with_search = config_json.from_dict(published() | {"search_config": keys})
    assert with_search.search == SearchConfig(
        history=3,
        inner=7,
        bands=9,
        orders=4,
        prior=2.5,
        max_flips=1,
        shortlist=5,
        beam_width=3,
    )
    assert config_json.to_dict(with_search)["search_config"] == keys
    assert config_json.from_dict(config_json.to_dict(with_search)) == with_search


@pytest.mark.parametrize("field", ["beam_width", "max_flips", "shortlist"])
def test_a_search_field_is_no_key(field: str) -> None:
    """The keys of a file are those that the fingerprint depends on."""
    with pytest.raises(ConfigError, match=f"unknown key search_config.{field}"):
        config_json.from_dict(published() | {"search_config": {field: 2}})


def test_a_search_takes_memory_within_bounds() -> None:
    """Each hypothesis has a history of bits, far more memory than the few weights suggest."""
    settings = {"history": 20000, "inner": 1, "bands": 1, "orders": 1, "ways": 64}
    with pytest.raises(ConfigError, match="the tokens of a chunk, is at most 262144"):
        config_json.from_dict(published() | {"search_config": settings})
    config_json.from_dict(published() | {"search_config": settings | {"ways": 1}})


def test_a_search_needs_tokens_of_whole_hops() -> None:
    config = published()
    config["encoder_config"]["strides"] = [10, 2, 2, 2, 2, 2, 5]
    config["search_config"] = {}
    with pytest.raises(ConfigError, match="2 hops of at most 512"):
        config_json.from_dict(config)


@pytest.mark.parametrize("raw", [None, [], "x", {"encoder": {}}, {"encoder_config": []}])
def test_not_a_configuration(raw: object) -> None:
    with pytest.raises(ConfigError, match="config: "):
        config_json.from_dict(raw)


def test_inference_ignores_what_training_alone_uses() -> None:
    config = published()
    config["encoder_config"].update(dropout=0.1, use_flex_attention=True, max_cached_steps=0)
    assert tensor_shapes(config_json.from_dict(config)) == tensor_shapes(
        config_json.from_dict(published())
    )
