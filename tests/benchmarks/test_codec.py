"""The built-in model: a chunk through a stream, and ten seconds at once."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fcs_edge
from fcs_edge.kernels._types import F32

SECONDS = 10


@pytest.fixture(scope="module")
def codec() -> fcs_edge.Codec:
    return fcs_edge.load()


@pytest.fixture(scope="module")
def noise(codec: fcs_edge.Codec) -> F32:
    rng = np.random.default_rng(7)
    return 0.1 * rng.standard_normal(SECONDS * codec.sample_rate_in, np.float32)


@pytest.mark.benchmark(group="one chunk")
def test_encode_chunk(benchmark: BenchmarkFixture, codec: fcs_edge.Codec, noise: F32) -> None:
    encoder = codec.stream_encoder()
    encoder.push(noise)
    tokens = benchmark(encoder.push, noise[: codec.chunk_size])
    assert tokens.shape == (codec.chunk_tokens,)


@pytest.mark.benchmark(group="one chunk")
def test_decode_chunk(benchmark: BenchmarkFixture, codec: fcs_edge.Codec, noise: F32) -> None:
    decoder = codec.stream_decoder()
    tokens = codec.encode(noise)
    decoder.push(tokens)
    samples = benchmark(decoder.push, tokens[: codec.chunk_tokens])
    assert samples.shape == (codec.chunk_tokens * codec.samples_out_per_token,)


@pytest.mark.benchmark(group=f"{SECONDS} s")
def test_encode_file(benchmark: BenchmarkFixture, codec: fcs_edge.Codec, noise: F32) -> None:
    tokens = benchmark(codec.encode, noise)
    assert tokens.shape == (SECONDS * codec.sample_rate_in // codec.samples_per_token,)


@pytest.mark.benchmark(group=f"{SECONDS} s")
def test_decode_file(benchmark: BenchmarkFixture, codec: fcs_edge.Codec, noise: F32) -> None:
    tokens = codec.encode(noise)
    samples = benchmark(codec.decode, tokens)
    assert samples.shape == (tokens.size * codec.samples_out_per_token,)
