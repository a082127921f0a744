"""Steps that a GPU plays again from a recording: CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from train.data.batches import Batch

Passes = Callable[[Batch, int], dict[str, Tensor]]


class Recorded:
    """Gradients of a batch, recorded once and played again.

    Thousands of small kernels take longer to launch than to run. What a step draws on the CPU,
    resolutions and discriminators, is drawn once for each recording; steps take them in turn.

    Parameters
    ----------
    passes : callable
        Leaves gradients at the parameters for a batch and a number that it draws by, and returns
        losses; it must wait for nothing that the GPU gives.
    parameters : list of torch.nn.Parameter
        All that it leaves gradients at.
    n : int
        How many recordings.
    """

    def __init__(self, passes: Passes, parameters: Sequence[nn.Parameter], n: int = 8) -> None:
        self.passes, self.parameters, self.n = passes, parameters, n
        self.batch: Batch | None = None
        self.takes: list[tuple[torch.cuda.CUDAGraph, list[Tensor | None], dict[str, Tensor]]] = []

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave a batch's gradients at the parameters; return its losses until the next call."""
        if self.batch is None:
            self.batch = self._record(batch)
        for own, new in zip(vars(self.batch).values(), vars(batch).values(), strict=True):
            own.copy_(new, non_blocking=True)
        graph, gradients, losses = self.takes[step % self.n]
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        graph.replay()
        return losses

    def _record(self, batch: Batch) -> Batch:
        own = Batch(*(t.clone() for t in vars(batch).values()))
        # What is compiled, measured or kept at first must be so before it is recorded.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for i in range(self.n):
                torch.manual_seed(i)
                self.passes(own, i)
        torch.cuda.current_stream().wait_stream(aside)
        pool = torch.cuda.graph_pool_handle()
        for i in range(self.n):
            for p in self.parameters:
                p.grad = None
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            torch.manual_seed(i)
            # Another thread pins batches meanwhile.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                losses = self.passes(own, i)
            self.takes.append((graph, [p.grad for p in self.parameters], losses))
        return own
