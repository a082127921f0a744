"""Concealment: without loss nothing changes; a loss keeps time and continuity."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from fcs_edge import Codec, load
from fcs_edge.link.conceal import FADE_CHUNKS, FULL_CHUNKS, RAMP_SECONDS, Concealer

SILENT = FULL_CHUNKS + FADE_CHUNKS


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load()


@pytest.fixture(scope="module")
def chunks(codec: Codec, speech: NDArray[np.float32]) -> NDArray[np.uint16]:
    tokens = codec.encode(speech)
    return tokens.reshape(-1, codec.chunk_tokens)


def receive(
    concealer: Concealer, chunks: NDArray[np.uint16], lost: set[int]
) -> NDArray[np.float32]:
    """Return the samples of each chunk, (chunks, samples)."""
    return np.stack(
        [concealer.conceal() if i in lost else concealer.play(t) for i, t in enumerate(chunks)]
    )


def test_without_loss_nothing_changes(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    assert np.array_equal(
        receive(Concealer(codec), chunks, set()).ravel(), codec.decode(chunks.ravel())
    )


@pytest.mark.parametrize("name", ["tiny", "noisy"])
def test_another_model(name: str, request: pytest.FixtureRequest) -> None:
    """Rows of concealment have noise and numbers of their own."""
    other: Codec = request.getfixturevalue(name)
    concealer = Concealer(other)
    tokens = np.arange(other.chunk_tokens)
    size = other.chunk_tokens * other.samples_out_per_token
    parts = [concealer.play(tokens), concealer.conceal(), concealer.play(tokens)]
    for part in parts:
        assert part.shape == (size,)
        assert part.dtype == np.float32
    again = np.full_like(tokens, tokens[-1])
    expected = other.decode(np.concatenate([tokens, again, tokens]))
    assert np.array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("seed", range(3))
def test_any_loss_keeps_length_and_stays_finite(
    seed: int, codec: Codec, chunks: NDArray[np.uint16]
) -> None:
    lost = set(np.flatnonzero(np.random.default_rng(seed).random(len(chunks)) < 0.4).tolist())
    sound = receive(Concealer(codec), chunks, lost)
    assert sound.dtype == np.float32
    assert sound.shape == (len(chunks), codec.chunk_tokens * codec.samples_out_per_token)
    assert np.abs(sound).max() <= 1


def test_loss_at_the_start_is_silence(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    sound = receive(Concealer(codec), chunks[:8], {0, 1})
    assert not sound[:2].any()
    expected = codec.decode(chunks[2:8].ravel())
    ramp = round(RAMP_SECONDS * codec.sample_rate_out)
    assert sound[2, 0] == 0
    assert np.array_equal(sound[2:].ravel()[ramp:], expected[ramp:])


def test_long_loss_fades_to_silence(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    concealer = Concealer(codec)
    receive(concealer, chunks[:20], set())
    sound = np.stack([concealer.conceal() for _ in range(500)])
    held = np.full((SILENT, codec.chunk_tokens), chunks[19, -1])
    full = codec.decode(np.concatenate([chunks[:20], held]).ravel()).reshape(20 + SILENT, -1)[20:]
    assert np.array_equal(sound[:FULL_CHUNKS], full[:FULL_CHUNKS])
    assert np.all(np.abs(sound[:SILENT]) <= np.abs(full))
    assert sound[SILENT - 1].any()
    assert not sound[SILENT:].any()
    back = concealer.play(chunks[20])
    assert back[0] == 0
    assert back.any()


def test_nothing_clicks(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    size = codec.chunk_tokens * codec.samples_out_per_token
    undisturbed = np.abs(np.diff(codec.decode(chunks.ravel()))).max()
    for n in (1, 2, 5, SILENT + 1):
        for start in range(10, 120, 11):
            stop = start + n
            sound = receive(Concealer(codec), chunks[: stop + 2], set(range(start, stop)))
            steps = np.abs(np.diff(sound[start - 1 :].ravel()))
            assert steps.max() < 1.5 * undisturbed
            assert steps[[size - 1, (n + 1) * size - 1]].max() < 0.25 * undisturbed


def test_time_stays_in_step(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    whole = codec.decode(chunks.ravel()).reshape(len(chunks), -1)
    sound = receive(Concealer(codec), chunks, {30, 31})
    assert np.array_equal(sound[:30], whole[:30])
    error = np.square(sound - whole).sum(axis=1)
    assert error[33:].max() < error[30:32].max()
    # The decoder's history ends some chunks later, and with it the difference.
    assert np.array_equal(sound[80:], whole[80:])


def test_a_loss_ends_where_a_chunk_comes(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    lost = {10, *range(12, 13 + SILENT)}
    concealer = Concealer(codec)
    sound = receive(concealer, chunks[: 14 + SILENT], lost)
    assert sound[12].any()
    assert not sound[12 + SILENT].any()
    concealer.conceal()
    concealer.reset()
    assert np.array_equal(receive(concealer, chunks[: 14 + SILENT], lost), sound)


def test_memory_is_constant(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    concealer = Concealer(codec)
    lost = set(range(0, 40, 3)) | set(range(20, 35))
    sound = receive(concealer, chunks[:40], lost)[0]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            for i, tokens in enumerate(chunks[:40]):
                concealer.conceal() if i in lost else concealer.play(tokens)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1024
    assert peak - before < 8 * sound.nbytes


@pytest.mark.parametrize(
    ("tokens", "error"),
    [
        ([1, 2, 3], ValueError),
        ([1, 2, 3, 4] * 2, ValueError),
        ([[1, 2, 3, 4]], ValueError),
        ([1, 2, 3, 65536], ValueError),
        ([1.0, 2.0, 3.0, 4.0], TypeError),
    ],
)
def test_what_is_no_chunk_changes_nothing(
    tokens: list[int], error: type[Exception], codec: Codec, chunks: NDArray[np.uint16]
) -> None:
    concealer = Concealer(codec)
    first = receive(concealer, chunks[:3], {2})
    with pytest.raises(error):
        concealer.play(tokens)
    rest = receive(concealer, chunks[3:6], set())
    expected = receive(Concealer(codec), chunks[:6], {2})
    assert np.array_equal(np.concatenate([first, rest]), expected)


def test_the_level_of_each_lost_chunk(codec: Codec, chunks: NDArray[np.uint16]) -> None:
    """The first at full level, then linearly to zero over eight: silence after 720 ms."""
    concealer = Concealer(codec)
    receive(concealer, chunks[:20], set())
    sound = np.stack([concealer.conceal() for _ in range(10)])
    repeated = np.full((10, codec.chunk_tokens), chunks[19, -1])
    full = codec.decode(np.concatenate([chunks[:20], repeated]).ravel()).reshape(30, -1)[20:]
    at = np.arange(1, full.size + 1) / full.shape[1]
    level = np.clip(1 - (at - 1) / 8, 0, 1)
    np.testing.assert_allclose(sound.ravel(), full.ravel() * level, atol=1e-6)
    ends = [level[(i + 1) * full.shape[1] - 1] for i in range(10)]
    np.testing.assert_allclose(ends, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0, 0])
    assert SILENT * codec.latency == pytest.approx(0.72)
    assert RAMP_SECONDS == 0.01
