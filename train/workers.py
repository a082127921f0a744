"""Several processes, a core each, that take the same step: gradients are averaged.

On two cores two processes of one thread are faster than one of two: threads that meet after each
small product wait for each other, and for whatever else the machine does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing


def run(function: Callable[..., None], n: int, folder: Path, *arguments: Any) -> None:
    """Call ``function(index, *arguments)`` in n processes that can `average`."""
    if n == 1:
        function(0, *arguments)
        return
    # A URL takes the first part of a relative path for the name of a host.
    meeting = folder.resolve() / f"workers-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    try:
        multiprocessing.spawn(_start, (n, str(meeting), function, arguments), n)
    finally:
        meeting.unlink(missing_ok=True)


def _start(
    index: int, n: int, meeting: str, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting}", rank=index, world_size=n)
    try:
        function(index, *arguments)
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Return how many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def index() -> int:
    """Return which process this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@torch.no_grad()
def share(tensors: Sequence[Tensor]) -> None:
    """Give each process tensor i as process ``i % count()`` has it, float32, in place."""
    n = count()
    if n == 1:
        return
    for source in range(min(n, len(tensors))):
        found = tensors[source::n]
        flat = torch.cat([t.flatten() for t in found])
        distributed.broadcast(flat, source)
        _put(flat, found)


def _put(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    at = 0
    for t in tensors:
        t.copy_(flat[at : at + t.numel()].view_as(t))
        at += t.numel()


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Give each process the mean of all processes' tensors, float32, in place."""
    n = count()
    if n == 1:
        return
    found = list(tensors)
    if not found:
        return
    flat = torch.cat([t.flatten() for t in found])
    distributed.all_reduce(flat)
    _put(flat / n, found)
