"""A worker of a corpus that does what its items' names say, in place of what files might do to it.

A test starts it in place of `fcs_edge.corpus.worker`; see the fixture `hostile`.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcs_edge.corpus import worker
from fcs_edge.corpus.item_encoder import ItemEncoder
from fcs_edge.corpus.items import Item

MARKS = "FCS_EDGE_TEST_MARKS"
"""The environment's variable of a folder where a worker marks what it has done once."""
OUT = "FCS_EDGE_TEST_OUT"
"""The environment's variable of the dataset."""
START = "FCS_EDGE_TEST_START"
"""The environment's variable of what a worker does at its start."""


def command(module: str) -> list[str]:
    """Return the command of such a worker."""
    code = f"import sys; sys.path.append({os.path.dirname(__file__)!r}); "
    return [sys.executable, "-c", f"{code}from hostile_worker import main; main()"]


def main() -> None:
    """Do the jobs of standard input, and what names say."""
    if os.environ.get(START) == "dies":
        print("first words\nno luck today", file=sys.stderr)
        os._exit(3)
    _patch(ItemEncoder)
    worker.main()


def _patch(encoder: Any) -> None:
    row, encode = encoder.row, encoder._encode

    def hostile_row(self: Any, item: Item, *arguments: Any) -> Any:
        act = ACTS.get(_name(item))
        if act is not None:
            act(item)
        encoder._encode = _no_memory if _name(item) == "memory" else encode
        return row(self, item, *arguments)

    encoder.row = hostile_row


def _name(item: Item) -> str:
    """Return the part before the suffix: kill-always of one.kill-always.wav."""
    return item.id.split(".")[-2]


def _no_memory(*arguments: Any) -> None:
    raise MemoryError


def _first(item: Item) -> bool:
    """Return whether an item is met for the first time, by any worker."""
    mark = Path(os.environ[MARKS]) / item.id.replace("/", "-")
    is_first = not mark.exists()
    mark.touch()
    return is_first


def _kill(item: Item) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_once(item: Item) -> None:
    if _first(item):
        _kill(item)


def _hang(item: Item) -> None:
    time.sleep(1000)


def _stop(item: Item) -> None:
    _first(item)
    os.kill(os.getpid(), signal.SIGSTOP)


def _wait_for_mark(item: Item) -> None:
    """Say that the item has begun, and wait until the test says go."""
    _first(item)
    while not (Path(os.environ[MARKS]) / "go").exists():
        time.sleep(0.01)


def _bug(item: Item) -> None:
    raise KeyError("a fault of this package")


def _print(item: Item) -> None:
    print('{"totals": {}}', flush=True)
    os.write(1, b"\xff\n\n{")
    sys.stdin.read()


def _limit(item: Item) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def _remove(item: Item) -> None:
    shutil.rmtree(os.environ[OUT])


ACTS: dict[str, Callable[[Item], None]] = {
    "kill-always": _kill,
    "kill-once": _kill_once,
    "hang": _hang,
    "stop": _stop,
    "wait": _wait_for_mark,
    "bug": _bug,
    "print": _print,
    "limit": _limit,
    "remove": _remove,
}
