"""Several processes, one for each core, that take the same step by averaged gradients.

On two cores two processes with one thread are faster than one process with two threads: threads
wait for each other after each small product.
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
    rendezvous = folder.resolve() / f"workers-{os.getpid()}"
    rendezvous.unlink(missing_ok=True)
    try:
        multiprocessing.spawn(_start, (n, str(rendezvous), function, arguments), n)
    finally:
        rendezvous.unlink(missing_ok=True)


def _start(
    index: int, n: int, rendezvous: str, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{rendezvous}", rank=index, world_size=n)
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
        own = tensors[source::n]
        flat = torch.cat([t.flatten() for t in own])
        distributed.broadcast(flat, source)
        _put(flat, own)


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
    averaged = list(tensors)
    if not averaged:
        return
    flat = torch.cat([t.flatten() for t in averaged])
    distributed.all_reduce(flat)
    _put(flat / n, averaged)
