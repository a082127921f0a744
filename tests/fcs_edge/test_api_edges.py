"""What public methods do with arguments of a wrong size, type, order or kind.

`tests/kernels/test_aot_library.py` runs this file again, in a process with compiled kernels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fcs_edge
from fcs_edge import Codec
from fcs_edge.arguments import as_matrix, as_signal, as_tokens
from fcs_edge.bitstream import BitstreamReader, BitstreamWriter, Header
from fcs_edge.codec import BLOCK_CHUNKS
from fcs_edge.streams.resumable import MAX_CHUNKS

FIXED = settings(max_examples=150, derandomize=True, deadline=None, database=None)
CHUNKS = 3
"""Of the streams here: steps of more are refused."""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return fcs_edge.load()


@pytest.fixture(scope="module")
def clip(speech: NDArray[np.float32], codec: Codec) -> NDArray[np.float32]:
    """Ten chunks of speech."""
    return speech[16000:][: 10 * codec.chunk_size]


def stored(values: NDArray[Any], how: str) -> Any:
    """Return the same values in another array object."""
    match how:
        case "strided":
            return np.repeat(values, 2)[::2]
        case "reversed":
            return values[::-1].copy()[::-1]
        case "read-only":
            copy = values.copy()
            copy.flags.writeable = False
            return copy
        case "misaligned":
            raw = bytearray(values.nbytes + 1)
            copy = np.frombuffer(raw, values.dtype, values.size, 1)
            copy[:] = values
            return copy
        case "swapped":
            return values.astype(values.dtype.newbyteorder())
        case "memory map":
            return values.copy().view(np.memmap)
        case "masked":
            return np.ma.masked_array(values, np.zeros(values.size, bool))
        case "list":
            return values.tolist()
        case "buffer":
            return memoryview(values.tobytes())
        case "row":
            return values[None].copy()
        case "column":
            return values[:, None].copy()
        case "longer type":
            return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        case "object":
            return values.astype(object)
        case _:
            return values.copy()


ACCEPTED = ("plain", "strided", "reversed", "misaligned", "memory map")
REFUSED = {
    "swapped": TypeError,
    "masked": TypeError,
    "list": TypeError,
    "buffer": TypeError,
    "longer type": TypeError,
    "object": TypeError,
    "row": ValueError,
    "column": ValueError,
}
KINDS = st.sampled_from([*ACCEPTED, "read-only", *REFUSED])
SIZES = st.sampled_from([0, 1, 2, 3, 4]) | st.integers(0, 12)
"""Chunks of a step; the last strategy reaches far beyond what a stream was created for."""


def problem(n_in: int, n_out: int, sizes: dict[int, int], kinds: tuple[str, str]) -> Any:
    """Return the exceptions that a step may raise for these arguments, None where it works."""
    found = {REFUSED[kind] for kind in kinds if kind in REFUSED}
    if sizes.get(n_in) != n_out or kinds[1] == "read-only":
        found.add(ValueError)
    return tuple(found)


class TestSteps:
    @FIXED
    @given(
        chunks=SIZES, more=st.sampled_from([0, 0, 0, 1, -1, 640]), more_tokens=st.integers(-2, 2),
        right=st.booleans(), kinds=st.tuples(KINDS, KINDS),
    )  # fmt: skip
    def test_encoder(
        self,
        codec: Codec,
        clip: NDArray[np.float32],
        chunks: int,
        more: int,
        more_tokens: int,
        right: bool,
        kinds: tuple[str, str],
    ) -> None:
        size, per_chunk = codec.chunk_size, codec.chunk_tokens
        n_in = max(chunks * size + more, 0)
        n_out = max(chunks * per_chunk + (0 if right else more_tokens), 0)
        signal = np.resize(clip, n_in).astype(np.float32)
        encoder = codec.stream_encoder(CHUNKS)
        sizes = {n * size: n * per_chunk for n in range(1, CHUNKS + 1)}
        tokens = stored(np.full(n_out, 7, np.uint16), kinds[1])
        wrong = problem(n_in, n_out, sizes, kinds)
        if wrong:
            with pytest.raises(wrong):
                encoder.step(stored(signal, kinds[0]), tokens)
            assert np.all(np.asarray(tokens if kinds[1] != "buffer" else 7) == 7)
            # As if it had not been called.
            expected = codec.stream_encoder().push(clip[: 2 * size])
            np.testing.assert_array_equal(encoder.push(clip[: 2 * size]), expected)
        else:
            encoder.step(stored(signal, kinds[0]), tokens)
            np.testing.assert_array_equal(tokens, codec.stream_encoder().push(signal))

    @FIXED
    @given(
        chunks=SIZES, more=st.sampled_from([0, 0, 0, 1, 3, -1]), more_samples=st.integers(-2, 2),
        right=st.booleans(), kinds=st.tuples(KINDS, KINDS),
    )  # fmt: skip
    def test_decoder(
        self,
        codec: Codec,
        chunks: int,
        more: int,
        more_samples: int,
        right: bool,
        kinds: tuple[str, str],
    ) -> None:
        per_chunk, per_token = codec.chunk_tokens, codec.samples_out_per_token
        n_in = max(chunks * per_chunk + more, 0)
        n_out = max(n_in * per_token + (0 if right else more_samples), 0)
        tokens = np.random.default_rng(chunks).integers(0, 1 << 16, n_in).astype(np.uint16)
        decoder = codec.stream_decoder(CHUNKS)
        whole = [n * per_chunk for n in range(1, CHUNKS + 1)]
        sizes = {n: n * per_token for n in (*range(1, per_chunk), *whole)}
        samples = stored(np.full(n_out, 7, np.float32), kinds[1])
        wrong = problem(n_in, n_out, sizes, kinds)
        if wrong:
            with pytest.raises(wrong):
                decoder.step(stored(tokens, kinds[0]), samples)
            assert np.all(np.asarray(samples if kinds[1] != "buffer" else 7) == 7)
            first = np.arange(2 * per_chunk)
            np.testing.assert_array_equal(decoder.push(first), codec.decode(first))
        else:
            decoder.step(stored(tokens, kinds[0]), samples)
            np.testing.assert_array_equal(samples, codec.decode(tokens))

    def test_output_may_lie_in_the_input(self, codec: Codec, clip: NDArray[np.float32]) -> None:
        """What is read is read before anything is written."""
        n, n_tokens = 2 * codec.chunk_size, 2 * codec.chunk_tokens
        expected = codec.encode(clip[:n])
        sound = codec.decode(expected)
        for at in (0, 2, 2 * n - 8, 4 * n - 2 * n_tokens):
            raw = clip[:n].copy()
            tokens = raw.view(np.uint16)[at // 2 :][:n_tokens]
            codec.stream_encoder(2).step(raw, tokens)
            np.testing.assert_array_equal(tokens, expected)
            samples = np.zeros(sound.size, np.float32)
            tokens = samples.view(np.uint16)[at // 2 :][:n_tokens]
            tokens[:] = expected
            codec.stream_decoder(2).step(tokens, samples)
            np.testing.assert_array_equal(samples, sound)

    def test_a_step_does_not_overtake_what_waits(self, codec: Codec) -> None:
        encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
        samples = np.zeros(codec.chunk_size, np.float32)
        tokens = np.zeros(codec.chunk_tokens, np.uint16)
        encoder.push([0.5])
        with pytest.raises(ValueError, match="1 samples wait"):
            encoder.step(samples, tokens)
        encoder.reset()
        encoder.step(samples, tokens)
        sound = np.zeros(codec.chunk_tokens * codec.samples_out_per_token, np.float32)
        decoder.push([3])
        with pytest.raises(ValueError, match="1 tokens wait"):
            decoder.step(tokens, sound)
        decoder.flush()
        decoder.step(tokens, sound)

    def test_a_partial_chunk_ends_the_stream(self, codec: Codec) -> None:
        decoder = codec.stream_decoder()
        tokens, sound = np.zeros(1, np.uint16), np.zeros(codec.samples_out_per_token, np.float32)
        decoder.step(tokens, sound)
        other = decoder.copy()
        for stream in (decoder, other):
            with pytest.raises(ValueError, match="has ended"):
                stream.step(tokens, sound)
            with pytest.raises(ValueError, match="has ended"):
                stream.push(tokens)
            stream.reset()
            stream.step(tokens, sound)

    def test_tokens_that_the_tiny_model_does_not_have(self, tiny: Codec) -> None:
        decoder = tiny.stream_decoder()
        tokens = np.full(tiny.chunk_tokens, 1 << tiny.bits_per_token, np.uint16)
        sound = np.zeros(tokens.size * tiny.samples_out_per_token, np.float32)
        with pytest.raises(ValueError, match="0 to 2047"):
            decoder.step(tokens, sound)


NOT_SIGNALS = {
    "masked": np.ma.masked_array([0.5, 0.25], [True, False]),
    "masked, nothing hidden": np.ma.masked_array([0.5]),
    "masked, empty": np.ma.masked_array(np.zeros(0)),
    "integers": np.zeros(4, np.int16),
    "booleans": np.zeros(4, bool),
    "complex": np.zeros(4, np.complex64),
    "objects": np.array([0.5, None]),
    "structured": np.zeros(4, [("x", "f4")]),
    "text": np.array(["0.5"]),
    "times": np.zeros(4, "m8[s]"),
    "bytes": b"1234",
    "none": None,
}
NOT_TOKENS = {
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "times": np.zeros(4, "m8[s]"),
    "plain times": np.zeros(4, "m8"),
    "dates": np.zeros(4, "M8[s]"),
    "booleans": np.zeros(4, bool),
    "floats": np.zeros(4),
    "complex": np.zeros(4, np.complex64),
    "objects": np.array([1, None]),
    "beyond integers": [1 << 70],
    "structured": np.zeros(4, [("x", "u2")]),
    "text": "1234",
}


@pytest.mark.parametrize("name", NOT_SIGNALS)
def test_what_is_no_signal(name: str, codec: Codec) -> None:
    encoder = codec.stream_encoder()
    for method in (codec.encode, codec.features, encoder.push):
        with pytest.raises(TypeError):
            method(NOT_SIGNALS[name])
    assert encoder.n_pending == 0


@pytest.mark.parametrize("name", NOT_TOKENS)
def test_what_is_no_row_of_tokens(name: str, codec: Codec) -> None:
    decoder = codec.stream_decoder()
    for method in (codec.decode, codec.codes, decoder.push):
        with pytest.raises(TypeError):
            method(NOT_TOKENS[name])
    assert decoder.n_pending == 0


@pytest.mark.parametrize(
    "tokens", [[-1], [1 << 16], np.array([1 << 63], np.uint64), [[1]], 3, np.int64(-(1 << 63))]
)
def test_tokens_out_of_range(tokens: Any, codec: Codec) -> None:
    for method in (codec.decode, codec.codes, codec.stream_decoder().push):
        with pytest.raises(ValueError, match=r"tokens of"):
            method(tokens)


def test_every_kind_of_number_gives_the_same(codec: Codec, clip: NDArray[np.float32]) -> None:
    """In any precision that holds the samples, order of bytes, and layout."""
    signal = (clip[:4000] * 512).round().astype(np.float32) / 512
    expected = codec.encode(signal)
    for dtype in ("f2", ">f2", ">f4", "f8", ">f8", np.longdouble):
        np.testing.assert_array_equal(codec.encode(signal.astype(dtype)), expected)
    for dtype in (">u2", "i4", ">i8", "u8"):
        np.testing.assert_array_equal(codec.codes(expected.astype(dtype)), codec.codes(expected))
    for how in (*ACCEPTED, "read-only", "swapped", "list", "longer type"):
        np.testing.assert_array_equal(codec.encode(stored(signal, how)), expected)
        np.testing.assert_array_equal(codec.stream_encoder().push(stored(signal, how)),
                                      expected[: 3 * codec.chunk_tokens])  # fmt: skip
        np.testing.assert_array_equal(codec.decode(stored(expected, how)), codec.decode(expected))


def test_conversions_say_nothing(codec: Codec) -> None:
    """Numbers beyond float32 become infinity, which counts as 0; NumPy shows no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "2 samples are NaN", fcs_edge.AudioWarning)
        np.testing.assert_array_equal(codec.encode([1e300, np.nan]), codec.encode([0.0, 0.0]))
        codec.quantize(np.full((1, codec.bits_per_token), 1e300))


NOT_COUNTS: dict[str, tuple[Any, type[Exception]]] = {
    "none": (0, ValueError),
    "negative": (-1, ValueError),
    "one too many": (MAX_CHUNKS + 1, ValueError),
    "huge": (1 << 70, ValueError),
    "largest of 64 bits": (np.uint64((1 << 64) - 1), ValueError),
    "true": (True, TypeError),
    "true of NumPy": (np.True_, TypeError),
    "float": (1.0, TypeError),
    "text": ("1", TypeError),
    "absent": (None, TypeError),
    "array": (np.array([1]), TypeError),
}


@pytest.mark.parametrize("name", NOT_COUNTS)
def test_counts_of_chunks_are_refused_at_once(name: str, codec: Codec) -> None:
    count, error = NOT_COUNTS[name]
    for create in (codec.stream_encoder, codec.stream_decoder):
        with pytest.raises(error, match="max_chunks must be"):
            create(count)


def test_counts_of_any_integer_type(codec: Codec) -> None:
    for count in (1, np.int64(2), np.uint8(3), np.array(4)):
        assert codec.stream_encoder(count).push([0.0]).size == 0
    assert codec.output_length(np.uint8(200)) == 300
    assert codec.output_length(np.int64(1 << 60)) == 3 << 59
    with pytest.raises(ValueError, match="n_samples must be at least 0"):
        codec.output_length(-1)
    for wrong in (1.0, True, "1", None):
        with pytest.raises(TypeError, match="n_samples must be an integer"):
            codec.output_length(wrong)


def stages(codec: Codec) -> list[tuple[Callable[[Any], Any], int, int, int]]:
    """Stages that take a matrix: the method, its columns, rows that belong together, row type."""
    config = codec.model.config
    return [
        (codec.latents, config.encoder.dim, config.frames_per_token, 2),
        (codec.quantize, codec.bits_per_token, 1, 1),
        (codec.decompress, codec.bits_per_token, 1, 2),
        (codec.synthesize, config.decoder.input_dim, 1, 1),
    ]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf, 3e38, 1e-42])
def test_stages_take_any_number_of_rows_of_any_value(codec: Codec, value: float) -> None:
    for stage, columns, multiple, n_dim in stages(codec):
        for rows in (0, 1, BLOCK_CHUNKS - 1, BLOCK_CHUNKS * 4 + 3):
            result = stage(np.full((rows * multiple, columns), value, np.float32))
            assert result.ndim == n_dim
            assert bool(len(result)) == bool(rows)
            if stage == codec.synthesize and abs(value) < 1:
                assert np.abs(result).max(initial=0) <= 1


def test_stages_refuse_what_is_no_matrix(codec: Codec) -> None:
    for stage, columns, _, _ in stages(codec):
        good = np.zeros((8, columns), np.float32)
        for wrong in (good[0], good[None], good[:, :-1], np.zeros((0, columns + 1)), [], 1.0):
            with pytest.raises(ValueError, match=rf"of shape \(n, {columns}\) are expected"):
                stage(wrong)
        kinds = [good.astype(kind) for kind in (complex, bool, str, object)]
        times = np.zeros((8, columns), "m8[s]")
        for other in (np.ma.masked_array(good), *kinds, times, None):
            with pytest.raises(TypeError):
                stage(other)
        expected = stage(good + np.float32(0.5))
        for same in (
            good.astype(">f4") + 0.5,
            np.asfortranarray(good) + 0.5,
            (good + 0.5).tolist(),
        ):
            np.testing.assert_array_equal(stage(same), expected)
        np.testing.assert_array_equal(stage(good.astype(np.int8)), stage(good))


@given(st.integers(0, 3), st.integers(0, 5), st.sampled_from("?bhilqBHILQefdgFDmMOSUV"))
@FIXED
def test_any_array_is_taken_or_refused_in_the_documented_way(
    n_dim: int, size: int, letter: str
) -> None:
    name = {"m": "m8[s]", "M": "M8[s]", "S": "S8", "U": "U8", "V": "V8"}.get(letter, letter)
    array = np.zeros((size,) * n_dim, name)
    for check in (as_signal, lambda a: as_tokens(a, 16), lambda a: as_matrix(a, 3, "rows")):
        try:
            result = check(array)
        except (TypeError, ValueError):
            continue
        assert result.dtype in (np.float32, np.uint16)
        assert result.flags.carray


FIELDS: dict[str, Any] = {
    "bits": 11, "samples_per_token": 320, "input_rate": 16000, "output_rate": 24000,
    "fingerprint": b"8 bytes!", "prior": 7, "settings": 1065,
}  # fmt: skip


class TestBitstream:
    @pytest.mark.parametrize("wrong", [True, 11.0, "11", None, np.float32(11)])
    def test_fields_of_a_header(self, wrong: Any) -> None:
        for name in FIELDS:
            with pytest.raises(TypeError, match=f"{name} must be"):
                Header(**{**FIELDS, name: wrong})

    def test_integers_of_numpy(self) -> None:
        fields = {k: np.int64(v) if k != "fingerprint" else v for k, v in FIELDS.items()}
        header = Header(**fields)
        assert header == Header(**FIELDS)
        assert header.to_bytes() == Header(**FIELDS).to_bytes()
        file = io.BytesIO()
        BitstreamWriter(file, header).close(np.int64(320), np.ones(1, np.uint8))
        assert BitstreamReader().feed(file.getvalue())[-1].n_samples == 320

    @pytest.mark.parametrize("wrong", [1.0, True, "1", None])
    def test_a_count_of_samples_that_is_none(self, wrong: Any) -> None:
        file = io.BytesIO()
        writer = BitstreamWriter(file, Header(**FIELDS))
        with pytest.raises(TypeError, match="n_samples"):
            writer.close(wrong, np.ones(10, np.uint16))
        assert file.getvalue() == Header(**FIELDS).to_bytes()
        writer.close(320, np.ones(10, np.uint16))

    @pytest.mark.parametrize("name", NOT_TOKENS)
    def test_what_is_no_row_of_tokens(self, name: str) -> None:
        file = io.BytesIO()
        writer = BitstreamWriter(file, Header(**FIELDS))
        with pytest.raises(ValueError, match="tokens must"):
            writer.write(NOT_TOKENS[name])
        assert writer.n_tokens == 0

    @pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2]])
    def test_what_are_no_bytes(self, wrong: Any) -> None:
        reader = BitstreamReader()
        with pytest.raises(TypeError):
            reader.feed(wrong)
        (event,) = reader.feed(Header(**FIELDS).to_bytes())
        assert event.header.bits == 11
