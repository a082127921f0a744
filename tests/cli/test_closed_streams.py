"""Commands that read no sound, without standard streams: the result is whole or there is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from fcs_edge.whole_files import write_fcs
from forked_commands import Case, run_cases

SUBSETS = [c for n in range(4) for c in itertools.combinations((0, 1, 2), n)]
COMMANDS: dict[str, tuple[Sequence[str], bool]] = {
    "info": (("info", "IN"), True),
    "models": (("models",), True),
    "key": (("key", "a.key"), False),
    "encode": (("encode", "-m", "MODEL", "in.npy", "OUT.FCS"), False),
    "decode": (("decode", "-m", "MODEL", "IN", "OUT.NPZ"), False),
    "convert": (("convert", "CHECKPOINT", "out.safetensors"), False),
}
"""Arguments, and whether the result goes to standard output."""


@pytest.fixture(scope="module")
def outcomes(golden: Callable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """How each command ends, by its name, for each subset."""
    folder = tmp_path_factory.mktemp("closed")
    codec, tokens = golden("tiny").codec, np.zeros(8, np.uint16)
    write_fcs(folder / "in.fcs", tokens, 2560, codec)
    values = {
        "MODEL": str(golden("tiny").model),
        "CHECKPOINT": str(golden("tiny").checkpoint),
        "IN": f"{folder}/in.fcs",
    }
    # The first case names the model that is loaded for all.
    order = sorted(COMMANDS, key=lambda name: "-m" not in COMMANDS[name][0])
    cases = []
    for name, closed in itertools.product(order, SUBSETS):
        own = folder / f"{name}{''.join(map(str, closed))}"
        own.mkdir()
        np.save(own / "in.npy", tokens)
        arguments = [values.get(part, part) for part in COMMANDS[name][0]]
        cases.append(Case(str(own), arguments, closed=closed))
    found = iter(run_cases(cases))
    return {name: [next(found) for _ in SUBSETS] for name in order}


@pytest.mark.parametrize("command", COMMANDS)
def test_closed_streams(command: str, outcomes: dict[str, list[Any]]) -> None:
    whole, *others = outcomes[command]
    assert whole.status == 0, whole
    for closed, outcome in zip(SUBSETS[1:], others, strict=True):
        label = f"{closed}: {outcome}"
        assert "Traceback" not in outcome.err, label
        assert "internal error" not in outcome.err, label
        assert outcome.files == whole.files, label
        fails = COMMANDS[command][1] and 1 in closed
        assert outcome.status == (1 if fails else 0), label
        assert outcome.out == (b"" if 1 in closed else whole.out), label
