"""Options of encode that say how a bitstream is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fcs_edge
from fcs_edge.tokens.fcs_options import check_tags
from helpers import stream_tokens


@pytest.fixture
def encode(golden: Callable, wav: Path, tmp_path: Path, run: Callable) -> Callable:
    """Encode two seconds with the tiny model; return the facts of the bitstream."""

    def call(*options: str) -> dict:
        out = tmp_path / "out.fcs"
        done = run("encode", "-f", "-m", golden("tiny").model, *options, wav, out)
        assert done.code == 0, done.err
        return json.loads(run("info", "--json", out).out)

    return call


def test_blocks_decode_alone(encode: Callable, tiny: fcs_edge.Codec, tmp_path: Path) -> None:
    """Any length of a block, coded or raw, gives the same tokens."""
    numbers = {"0.02": 105, "0.5": 5, "1": 3, "2": 2, "4": 2}
    tokens = None
    for seconds, number in numbers.items():
        for options in ((), ("--raw-tokens",)):
            facts = encode("--block", seconds, *options)
            assert sum(facts["blocks"].values()) == number, seconds
            assert facts["tokens"] == 105
            found = stream_tokens(tmp_path / "out.fcs", tiny, strict=True)
            tokens = found if tokens is None else tokens
            assert np.array_equal(found, tokens)
        assert set(facts["blocks"]) == {"raw"}


def test_the_default_is_a_coded_block_of_two_seconds(encode: Callable) -> None:
    assert encode()["blocks"] == encode("--block", "2")["blocks"]


@pytest.mark.parametrize("value", ["0.01", "4.1", "80"])
def test_a_block_out_of_range(value: str, wav: Path, run: Callable) -> None:
    assert "is not in the range 0.02<=x<=4" in run("encode", "--block", value, wav, "o.fcs").failed(
        2
    )


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("title", "'title' has no =, as in title=Notes"),
        ("Title=a", "a key has 1 to 32 of a-z, 0-9, _ and -"),
        ("=a", "a key has 1 to 32 of a-z, 0-9, _ and -"),
        ("window=9", "the key window is for facts of the encoding"),
        ("time=noon", "time is 'noon', not a time of ISO 8601"),
        ("comment=" + "a" * 4090, "at most 4,096 are allowed"),
        ("comment=\udcff", "the value of comment is not UTF-8"),
    ],
)
def test_a_tag_that_is_refused(tag: str, message: str, wav: Path, run: Callable) -> None:
    assert message in run("encode", "--tag", tag, wav, "out.fcs").failed(2)


def test_tags_that_are_valid() -> None:
    check_tags({"time": "2026-07-01T12:00:00Z", "comment": "", "x_1-": "ä = b", "title": "a\nb"})
    with pytest.raises(ValueError, match="holds a zero byte"):
        check_tags({"comment": "a\0b"})


def test_of_a_repeated_key_the_last_value_holds(encode: Callable) -> None:
    assert encode("--tag", "title=a", "--tag", "title=b=c")["metadata"] == {"title": "b=c"}


@pytest.mark.parametrize("option", [("--block", "1"), ("--raw-tokens",), ("--tag", "title=a")])
def test_options_of_bitstreams_are_refused_for_arrays(
    option: tuple[str, ...], wav: Path, run: Callable
) -> None:
    line = run("encode", *option, wav, "out.npz").failed(2)
    assert f"{option[0]} is for an OUT that is a bitstream only" in line


def test_strict_and_salvage_exclude_each_other(run: Callable) -> None:
    line = run("decode", "--strict", "--salvage", "a.fcs", "a.wav").failed(2)
    assert "give one of them" in line
