"""Both coders of tokens in plain integers of Python; docs/reference/entropy-coding.md in code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from fcs_edge.entropy.prior import Prior

TABLE = [math.floor(65536 / (1 + math.exp(-(at - 2048) / 256)) + 0.5) for at in range(4096)]

Decide = Callable[[int], int]
"""Codes a decision whose logit is given, and returns it."""


def table_probability(logit: int) -> int:
    return TABLE[min(max(logit, -2048), 2047) + 2048]


class Encoder:
    """Narrows one interval of unbounded integers: nothing is emitted before the end."""

    def __init__(self) -> None:
        self.low, self.high, self.settled = 0, 0xFFFFFFFF, bytearray()

    def code(self, bit: int, probability: int) -> None:
        middle = self.low + ((self.high - self.low) * probability >> 16)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            self.settled.append(self.low >> 24)
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, self.high << 8 & 0xFFFFFFFF | 0xFF

    def bytes(self) -> bytes:
        ends = [
            bytes(self.settled) + number.to_bytes(4, "big")[:n]
            for n in range(5)
            if (number := -(-self.low >> 8 * (4 - n)) << 8 * (4 - n)) <= self.high
        ]
        return ends[0].rstrip(b"\0") or b"\0"


class Decoder:
    def __init__(self, data: bytes) -> None:
        self.low, self.high, self.place = 0, 0xFFFFFFFF, 4
        self.data = data
        self.value = int.from_bytes((data + bytes(4))[:4], "big")

    def code(self, probability: int) -> int:
        middle = self.low + ((self.high - self.low) * probability >> 16)
        bit = int(self.value <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            following = self.data[self.place] if self.place < len(self.data) else 0
            self.value = self.value << 8 & 0xFFFFFFFF | following
            self.place += 1
            self.low, self.high = self.low << 8 & 0xFFFFFFFF, self.high << 8 & 0xFFFFFFFF | 0xFF
        return bit


def signs(token: int, bits: int) -> list[int]:
    return [1 if token >> (bits - 1 - j) & 1 else -1 for j in range(bits)]


class Network:
    """A prior's predictions in one block."""

    def __init__(self, prior: Prior) -> None:
        self.bits = prior.bits
        self.weights = {name: array.tolist() for name, array in prior.arrays()}
        self.past: list[list[int]] = []
        self.averages = [0] * prior.bits

    def token(self, decide: Decide) -> int:
        w, bits = self.weights, self.bits
        inputs: list[tuple[int, int, int]] = []
        for k, past in enumerate(self.past[:8]):
            inputs += [(k * bits + j, 64 * y, 0) for j, y in enumerate(past)]
        inputs.append((8 * bits + len(self.past) % 4, 64, 0))
        for j in range(bits):
            total = sum(past[j] for past in self.past)
            mean = int(64 * total / (len(self.past) + 8))
            inputs.append((8 * bits + 4 + j, mean, 32))
            inputs.append((9 * bits + 4 + j, self.averages[j] >> 6, 32))
        sums, logits = list(w["bias"]), list(w["bias_skip"])
        for row, scale, rounding in inputs:
            sums = add(sums, w["context"][row], scale, rounding)
            logits = add(logits, w["context_skip"][row], scale, rounding)
        token = 0
        for i in range(bits):
            assert max(map(abs, sums)) < 1 << 15
            active = [max(h, 0) for h in sums]
            dot = sum(h * v for h, v in zip(active, w["output"][i], strict=True))
            assert abs(dot) < 1 << 31
            bit = decide((dot >> 4) + logits[i])
            token = 2 * token + bit
            sums = add(sums, w["step"][i], 64 if bit else -64)
            logits = add(logits, w["step_skip"][i], 64 if bit else -64)
        return token

    def learn(self, token: int) -> None:
        self.past.insert(0, signs(token, self.bits))
        for j, y in enumerate(self.past[0]):
            self.averages[j] += (4096 * y - self.averages[j]) * 10 >> 6


def add(sums: Sequence[int], row: Sequence[int], scale: int, rounding: int = 0) -> list[int]:
    return [s + (scale * x + rounding >> 6) for s, x in zip(sums, row, strict=True)]


class Neutral:
    """The neutral predictor in one block."""

    def __init__(self, bits: int) -> None:
        self.bits, self.past = bits, [[0] * bits, [0] * bits]
        self.weights = [[0, 40960, 8192] + [0] * i for i in range(bits)]
        self.coded = 0

    def token(self, decide: Decide) -> int:
        rate = max(262144 // (self.coded + 28), 5120)
        own: list[int] = []
        for i, weights in enumerate(self.weights):
            inputs = [1, self.past[-1][i], self.past[-2][i], *own]
            logit = sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 8
            bit = decide(logit)
            change = (65536 * bit - table_probability(logit)) * rate >> 16
            for k, x in enumerate(inputs):
                weights[k] += x * (change if k < 3 else change >> 1)
            assert max(map(abs, weights)) < 1 << 31
            own.append(1 if bit else -1)
        self.coded += 1
        return sum(1 << (self.bits - 1 - i) for i, y in enumerate(own) if y > 0)

    def learn(self, token: int) -> None:
        self.past.append(signs(token, self.bits))


def encode(
    model: Network | Neutral, tokens: Sequence[int], known: Sequence[bool] | None = None
) -> bytes:
    encoder = Encoder()
    known = known or [False] * len(tokens)
    for token, is_known in zip(tokens, known, strict=True):
        bits = iter(f"{token:0{model.bits}b}")

        def decide(logit: int, bits: Iterator[str] = bits) -> int:
            bit = int(next(bits))
            encoder.code(bit, table_probability(logit))
            return bit

        if not is_known:
            model.token(decide)
        model.learn(token)
    return b"" if all(known) else encoder.bytes()


def decode(
    model: Network | Neutral, data: bytes, count: int, known: Sequence[int] | None = None
) -> list[int]:
    decoder, tokens = Decoder(data), []
    for given in known if known is not None else [-1] * count:
        token = given
        if given < 0:
            token = model.token(lambda logit: decoder.code(table_probability(logit)))
        model.learn(token)
        tokens.append(token)
    return tokens
