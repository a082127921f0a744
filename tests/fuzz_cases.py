"""Seeded mutations of files, and the loop that reads them: each must work or raise one FcsError.

A case depends on its kind, the seed and its number only. The environment variables run more:

    FCS_EDGE_FUZZ_TIMES=20 FCS_EDGE_FUZZ_SEED=1 pytest tests -k fuzz
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcs_edge.errors import FcsError

SEED = int(os.environ.get("FCS_EDGE_FUZZ_SEED", "0"))
TIMES = int(os.environ.get("FCS_EDGE_FUZZ_TIMES", "1"))

NUMBERS = [
    *(0, 1, -1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 64, 255, 256, 1000, 8192, 65535, 65536, 65537),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64 - 1, 10**22, 10**400, -(2**63)),
    *(0.5, -0.0, 1e-320, 1e30, 1e38, 1e308, math.nan, math.inf, -math.inf, True, False),
]
TEXTS = ["", "F16", "F32", "F64", "BF16", "I8", "U8", "I64", "\x00", "\x1b[2J", "\ud800", "[/x]"]

_DEEP = 5000
_MEASURED = 50
"""Of so many cases one is measured: tracing memory is slow."""


def run(
    kind: str,
    n_cases: int,
    make: Callable[[random.Random], bytes],
    read: Callable[[bytes], str],
    memory: int,
) -> Counter[str]:
    """Read mutated files, and return how often each outcome came up.

    Parameters
    ----------
    kind : str
        The name of the cases.
    n_cases : int
        How many, times FCS_EDGE_FUZZ_TIMES.
    make : callable
        Returns the bytes of a case.
    read : callable
        Reads them, and returns the outcome.
    memory : int
        Bytes that reading may take at its peak, beside 40 for each byte of the file.
    """
    outcomes: Counter[str] = Counter()
    for number in range(n_cases * TIMES):
        label = f"fuzz case {kind}, seed {SEED}, number {number}"
        data = make(random.Random(f"{kind} {SEED} {number}"))
        measured = number % _MEASURED == 0
        if measured:
            tracemalloc.start()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                outcome = read(data)
        except FcsError as error:
            text = str(error)
            assert text.isprintable(), f"{label}: {text!r}"
            assert 0 < len(text) < 1000, f"{label}: {text!r}"
            outcome = "refused"
        except BaseException as error:
            raise AssertionError(f"{label}: {type(error).__name__}: {error}") from error
        finally:
            peak = tracemalloc.get_traced_memory()[1] if measured else 0
            tracemalloc.stop()
        assert not caught, f"{label}: {caught[0].message}"
        assert peak < memory + 40 * len(data), f"{label}: {peak} bytes for {len(data)}"
        outcomes[outcome] += 1
    print(f"{kind}: seed {SEED}, {dict(outcomes)}")
    return outcomes


def put(path: Path, data: bytes) -> None:
    """Replace the contents of a file; some file systems wait for the disk where it is cut first."""
    with path.open("r+b" if path.exists() else "xb") as file:
        file.write(data)
        file.truncate()


def value(rng: random.Random) -> Any:
    """Return any JSON value; extreme numbers and odd texts come up most."""
    kind = rng.randrange(12)
    if kind < 6:
        return rng.choice(NUMBERS)
    if kind < 8:
        return rng.choice(TEXTS)
    if kind == 8:
        return [rng.choice(NUMBERS)] * rng.choice([0, 1, 3, 33, 65, 500])
    if kind == 9:
        return {rng.choice(TEXTS): rng.choice(NUMBERS)}
    return rng.choice([None, [], {}, [[]], "x" * 3000])


def place(rng: random.Random, node: Any) -> tuple[Any, Any] | None:
    """Return a container in a parsed JSON text and one of its keys or indices; None if empty."""
    found = None
    while isinstance(node, dict | list) and node and (found is None or rng.random() < 0.85):
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        found = node, key
        node = node[key]
    return found


def mutate_json(rng: random.Random, node: Any) -> Any:
    """Return a copy with up to three values changed, removed, renamed or copied."""
    # Faster than a deep copy.
    node = json.loads(json.dumps(node))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at, other = place(rng, node), place(rng, node)
        if at is None or other is None:
            return value(rng)
        parent, key = at
        old = parent[key]
        kind = rng.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[rng.choice([*TEXTS, *parent])] = parent.pop(key)
        elif kind == 2:
            parent[key] = copy.deepcopy(other[0][other[1]])
        elif kind in (3, 4) and isinstance(old, int):
            parent[key] = (
                old + rng.choice([-8, -1, 1, 8]) if kind == 3 else old * rng.choice([0, 2])
            )
        else:
            parent[key] = value(rng)
    return node


def to_text(rng: random.Random, node: Any) -> bytes:
    """Write JSON; at times it has a key twice, is cut, or is nested too deeply."""
    text = json.dumps(node)
    kind = rng.randrange(20)
    if kind == 0 and len(text) > 2 and text.startswith("{"):
        text = f"{text[:-1]},{text[1:]}"
    elif kind == 1:
        text = text[: rng.randrange(len(text) + 1)]
    elif kind == 2:
        text = text.replace("0", rng.choice(["[", '{"a":']) * rng.choice([100, _DEEP]), 1)
    return text.encode("utf-8", "surrogatepass")


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip a bit, cut, remove, insert or overwrite, up to five times, mostly near the start."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        limit = len(out) if rng.random() < 0.4 else min(len(out), rng.choice([16, 300, 4000]))
        at = rng.randrange(limit + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + rng.choice([1, 8, 100])]
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.choice([1, 8, 100]))
        elif kind == 4:
            out[at : at + 4] = rng.choice([b"\x00", b"\xff", b"[", b'"', b"9"]) * 4
        else:
            out[at : at + 8] = (rng.getrandbits(64) >> rng.randrange(64)).to_bytes(8, "little")
    return bytes(out)
