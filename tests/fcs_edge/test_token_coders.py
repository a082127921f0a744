"""Coders of tokens: the same bytes as plain integers give, any bytes decode, nothing overflows."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import prior_cases
import pytest
import token_coder_reference as reference

from fcs_edge.codec import Codec
from fcs_edge.entropy import Prior, TokenCoder, neutral_coder
from fcs_edge.entropy.prior import specs
from fcs_edge.entropy.probabilities import probabilities
from fcs_edge.tokens.fcs import fcs_writer
from fcs_edge.tokens.fcs_options import FcsOptions

U16 = np.ndarray[Any, np.dtype[np.uint16]]


@dataclass(frozen=True)
class Pair:
    """A coder, and what makes its reference for one block."""

    coder: TokenCoder
    model: Callable[[], Any]


def neutral(bits: int) -> Pair:
    return Pair(neutral_coder(bits), lambda: reference.Neutral(bits))


def trained(prior: Prior) -> Pair:
    return Pair(prior.coder(), lambda: reference.Network(prior))


def pair(kind: str, bits: int, hidden: int = 9) -> Pair:
    return neutral(bits) if kind == "neutral" else trained(prior_cases.drawn(bits, hidden, bits))


def spoken(count: int, bits: int, seed: int) -> U16:
    """Return tokens whose bits last for a while, as those of speech do."""
    random_numbers = np.random.default_rng(seed)
    flips = random_numbers.random((count, bits)) < 0.2
    return ((np.cumsum(flips, 0) % 2) @ (1 << np.arange(bits))).astype(np.uint16)


def check_equal(pair: Pair, tokens: U16) -> None:
    data = pair.coder.encode(tokens)
    assert data == reference.encode(pair.model(), tokens.tolist())
    assert np.array_equal(pair.coder.decode(data, tokens.size), tokens)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_bytes_are_those_of_plain_integers(kind: str, bits: int) -> None:
    check_equal(pair(kind, bits), spoken(21, bits, bits))
    drawn = np.random.default_rng(bits).integers(0, 1 << bits, 15)
    check_equal(pair(kind, bits), drawn.astype(np.uint16))


@pytest.mark.parametrize("hidden", [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 512])
def test_any_number_of_hidden_values(hidden: int) -> None:
    check_equal(pair("prior", 5, hidden), spoken(11, 5, hidden))


@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_a_long_block(kind: str) -> None:
    """Longer than any history; rates and averages settle."""
    check_equal(pair(kind, 3, 3), spoken(700, 3, 0))


@pytest.mark.parametrize("value", [127, -127])
@pytest.mark.parametrize("token", [0, 0xFFFF, 0x5555])
def test_extreme_weights_do_not_overflow(value: int, token: int) -> None:
    """The reference asserts that each sum fits its 16 or 32 bits."""
    prior = prior_cases.filled(16, 512, value)
    check_equal(trained(prior), np.full(9, token, np.uint16))


def test_biases_and_skips_at_their_limits() -> None:
    arrays = dict(prior_cases.filled(16, 3, -127).arrays())
    room = 32767 - prior_cases.filled(16, 3, -127).largest_sum
    arrays["bias"] = np.array([room, -room, 0], np.int16)
    for name, value in (("context_skip", 32767), ("bias_skip", -32768), ("step_skip", -32768)):
        arrays[name] = np.full(arrays[name].shape, value, np.int16)
    prior = Prior(**arrays)
    assert prior.largest_sum == 32767
    for token in (0, 0xFFFF):
        check_equal(trained(prior), np.full(10, token, np.uint16))
    arrays["bias"] = np.array([room + 1, 0, 0], np.int16)
    with pytest.raises(ValueError, match="a sum could be 32768, beyond 32767"):
        Prior(**arrays)


@pytest.mark.parametrize("token", [0, 1, 2])
def test_the_neutral_weights_do_not_overflow(token: int) -> None:
    """The longest block of one token, and of two that alternate, both of them surely known."""
    tokens = np.full(0xFFFF, token, np.uint16)
    tokens[1::2] = 3 - token if token else 0
    coder = neutral_coder(2)
    data = coder.encode(tokens)
    assert len(data) < 200
    assert np.array_equal(coder.decode(data, tokens.size), tokens)


@pytest.mark.parametrize("kind", ["neutral", "prior"])
@pytest.mark.parametrize("bits", [1, 7, 16])
def test_any_bytes_decode(kind: str, bits: int) -> None:
    """What they decode to gives the same bytes, but for those that do not matter."""
    case, random_numbers = pair(kind, bits), np.random.default_rng(bits)
    for n in (0, 1, 2, 3, 4, 5, 9, 40, 300):
        data = random_numbers.bytes(n)
        tokens = case.coder.decode(data, 20)
        assert tokens.tolist() == reference.decode(case.model(), data, 20)
        assert tokens.max() < 1 << bits
        assert np.array_equal(case.coder.decode(case.coder.encode(tokens), 20), tokens)
    for byte in (b"\0", b"\xff"):
        assert case.coder.decode(byte * 99, 20).tolist() == reference.decode(
            case.model(), byte * 99, 20
        )


@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_the_code_has_no_spare_byte(kind: str) -> None:
    """Zeros after it change nothing; without its last byte it decodes to other tokens."""
    case = pair(kind, 6)
    for seed in range(20):
        tokens = spoken(seed + 1, 6, seed)
        data = case.coder.encode(tokens)
        assert np.array_equal(case.coder.decode(data + bytes(9), tokens.size), tokens)
        if data != b"\0":
            assert data[-1] != 0
            assert not np.array_equal(case.coder.decode(data[:-1], tokens.size), tokens)


@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_known_tokens_are_not_coded(kind: str) -> None:
    case, tokens = pair(kind, 8), spoken(40, 8, 1)
    for seed in range(6):
        known = np.random.default_rng(seed).random(40) < seed / 5
        data = case.coder.encode(tokens, known)
        assert data == reference.encode(case.model(), tokens.tolist(), known.tolist())
        given = np.where(known, tokens.astype(np.int32), -1)
        assert np.array_equal(case.coder.decode(data, 40, given), tokens)
        assert reference.decode(case.model(), data, 40, given.tolist()) == tokens.tolist()
    assert case.coder.encode(tokens, np.ones(40, bool)) == b""


@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_fit_is_the_most_that_fits(kind: str) -> None:
    coder, tokens = pair(kind, 11).coder, spoken(60, 11, 2)
    sizes = [0] + [len(coder.encode(tokens[:n])) for n in range(1, 61)]
    assert sizes == sorted(sizes)
    for limit in range(sizes[-1] + 2):
        fitting = coder.fit(tokens, limit)
        assert sizes[fitting] <= limit
        assert fitting == 60 or sizes[fitting + 1] > limit
    assert coder.fit(tokens, -1) == 0
    assert coder.fit(tokens[:0], 5) == 0


@pytest.mark.parametrize("kind", ["neutral", "prior"])
def test_blocks_do_not_depend_on_those_before(kind: str) -> None:
    """A coder that has coded and decoded other blocks gives the bytes of a new one."""
    used, tokens = pair(kind, 9).coder, spoken(30, 9, 3)
    used.encode(spoken(50, 9, 4))
    used.decode(bytes(range(200)), 99)
    used.fit(spoken(50, 9, 5), 9)
    assert used.encode(tokens) == pair(kind, 9).coder.encode(tokens)
    assert used.encode(tokens[:0]) == b""
    assert used.decode(b"", 0).shape == (0,)


def test_constant_tokens_take_few_bytes_and_drawn_ones_few_more_than_raw() -> None:
    coder = neutral_coder(16)
    assert len(coder.encode(np.zeros(100, np.uint16))) < 25
    drawn = np.random.default_rng(0).integers(0, 1 << 16, 100).astype(np.uint16)
    assert 200 <= len(coder.encode(drawn)) < 225


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.encode(np.array([16], np.uint16)), "tokens of this model are 0 to 15"),
        (lambda c: c.encode(np.zeros((1, 1), np.uint16)), "shape"),
        (lambda c: c.encode(np.zeros(65536, np.uint16)), "at most 65535 tokens"),
        (lambda c: c.encode(np.zeros(2, np.uint16), np.zeros(3, bool)), "known must be bool"),
        (lambda c: c.encode(np.zeros(2, np.uint16), np.zeros(2, int)), "known must be bool"),
        (lambda c: c.decode(b"", 65536), "0..65535 tokens"),
        (lambda c: c.decode(b"", -1), "0..65535 tokens"),
        (lambda c: c.decode(b"", 2, np.array([-1])), "shape"),
        (lambda c: c.decode(b"", 1, np.array([16])), "tokens of this model are 0 to 15"),
    ],
)
def test_wrong_calls(call: Callable[[TokenCoder], Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        call(neutral_coder(4))


@pytest.mark.parametrize("bits", [0, 17])
def test_bits_out_of_range(bits: int) -> None:
    with pytest.raises(ValueError, match=r"bits per token must be 1\.\.16"):
        neutral_coder(bits)


def test_the_table_is_the_rounded_function() -> None:
    table = probabilities()
    assert table.tolist() == reference.TABLE
    assert zlib.crc32(table.astype("<u2").tobytes()) == 0x6C8F45EB
    assert np.array_equal(table[1:] + table[:0:-1], np.full(4095, 0))  # 65536 in 16 bits


def test_each_prior_has_its_own_check() -> None:
    prior = prior_cases.drawn(4, 8, 0)
    head = bytes([1, 4, 8, 0, 8, 4, 2, 4])
    order = ("context", "bias", "step", "output", "context_skip", "bias_skip", "step_skip")
    stored = b"".join(
        getattr(prior, name).astype(specs(4, 8)[name][0].newbyteorder("<")).tobytes()
        for name in order
    )
    assert prior.check == zlib.crc32(head + stored)
    assert prior.coder().check == prior.check
    assert neutral_coder(4).check == 0
    for name, array in prior.arrays():
        changed = array.copy()
        changed.flat[-1] ^= 1
        assert Prior(**{**dict(prior.arrays()), name: changed}).check != prior.check
    assert prior_cases.drawn(4, 8, 0).check == prior.check


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("output", np.zeros((17, 8), np.int8), r"1\.\.16 bits and 1\.\.512 hidden"),
        ("output", np.zeros((4, 513), np.int8), "not 4 and 513"),
        ("context", np.zeros((43, 8), np.int8), r"context is int8 \(43, 8\)"),
        ("context", np.full((44, 8), -128, np.int8), "context has -128"),
        ("bias", np.zeros(8, np.int32), "bias is int32"),
    ],
)
def test_priors_that_cannot_be(name: str, array: np.ndarray, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Prior(**{**dict(prior_cases.drawn(4, 8, 0).arrays()), name: array})


def test_a_prior_does_not_change_with_its_arrays() -> None:
    arrays = {name: array.copy() for name, array in prior_cases.drawn(4, 8, 0).arrays()}
    prior = Prior(**arrays)
    arrays["context"][:] = 0
    assert prior.context.any()
    with pytest.raises(ValueError, match="read-only"):
        prior.context[:] = 0


def test_a_file_s_coder_is_ready_before_sound_comes(
    tiny: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(TokenCoder, "warm_up", lambda coder: used.append(coder.check))
    fcs_writer(io.BytesIO(), tiny, FcsOptions(raw=True))
    assert used == []
    fcs_writer(io.BytesIO(), tiny)
    assert used == [0]


def test_examples_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/entropy-coding.md").read_text()
    arrays, at = {}, 0
    for name, (dtype, shape) in specs(4, 3).items():
        size = int(np.prod(shape))
        arrays[name] = ((37 * np.arange(at, at + size) % 101) - 50).astype(dtype).reshape(shape)
        at += size
    prior, tokens = Prior(**arrays), np.array([3, 3, 7, 15, 0, 9], np.uint16)
    known = (tokens == 7) | (tokens == 15)
    coders = neutral_coder(4), prior.coder()
    stated = [f"{prior.check:08x}", coders[1].encode(tokens, known).hex(" ")]
    stated += [coder.encode(tokens).hex(" ") for coder in coders]
    assert [text for text in stated if f"`{text}`" not in page] == []
    for coder in coders:
        decoded = coder.decode(bytes.fromhex("de ad be ef"), 6)
        assert f"to {', '.join(map(str, decoded))}\n" in page
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["table"] == probabilities().tolist()
