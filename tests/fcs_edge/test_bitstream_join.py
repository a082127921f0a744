"""A reader that joins a stream gives the same events however the bytes are cut."""

from __future__ import annotations

import random

import pytest

from bitstream_cases import decode, encode, header_of, random_tokens
from helpers import merged

HEADER = header_of(16, 50)


@pytest.mark.parametrize("eager", [False, True])
def test_bytes_without_a_whole_record(eager: bool) -> None:
    rng = random.Random(0)
    for number in range(300):
        data = bytes(rng.choices([0xB1, 0xE5, 0, 1, 7], k=rng.randrange(1, 90)))
        data = data[:-1] + b"x" * rng.randrange(1, 6)
        whole = merged(decode(data, eager=eager, join=HEADER))
        for step in (1, 2, 5, 63):
            pieces = merged(decode(data, eager=eager, join=HEADER, step=step))
            assert pieces == whole, f"seed 0, number {number}, step {step}"


@pytest.mark.parametrize("eager", [False, True])
def test_the_middle_of_a_stream(eager: bool) -> None:
    data = encode(random_tokens(200, 16), HEADER)
    for start in (28, 29, 100, 133, 240, len(data) - 3):
        whole = merged(decode(data[start:], eager=eager, join=HEADER))
        for step in (1, 7):
            assert merged(decode(data[start:], eager=eager, join=HEADER, step=step)) == whole
