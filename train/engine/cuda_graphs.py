"""Training steps as CUDA graphs: captured once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from train.data.batches import Batch

Gradients = Callable[[Batch, int], dict[str, Tensor]]


class CudaGraphs:
    """Gradients of a batch by CUDA graphs that are captured once and replayed.

    Thousands of small kernels take longer to launch than to run. Draws on the CPU, such as those of
    resolutions and discriminators, are fixed in each graph. Steps use the graphs in turn.

    Parameters
    ----------
    gradients : callable
        Takes a batch and a seed of its draws, leaves gradients at the parameters, and returns
        losses. It must not wait for results of the GPU.
    parameters : list of torch.nn.Parameter
        All parameters that get gradients.
    n : int
        Number of graphs.
    """

    def __init__(
        self, gradients: Gradients, parameters: Sequence[nn.Parameter], n: int = 8
    ) -> None:
        self.gradients, self.parameters, self.n = gradients, parameters, n
        self.batch: Batch | None = None
        self.graphs: list[tuple[torch.cuda.CUDAGraph, list[Tensor | None], dict[str, Tensor]]] = []

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave a batch's gradients at the parameters; return losses, valid until the next call."""
        if self.batch is None:
            self.batch = self._capture(batch)
        for own, new in zip(vars(self.batch).values(), vars(batch).values(), strict=True):
            own.copy_(new, non_blocking=True)
        graph, gradients, losses = self.graphs[step % self.n]
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        graph.replay()
        return losses

    def _capture(self, batch: Batch) -> Batch:
        """Capture the graphs; return the batch whose memory they read."""
        own = Batch(*(t.clone() for t in vars(batch).values()))
        # Compilation, tuning and caches must be finished before the capture.
        warmup = torch.cuda.Stream()
        warmup.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warmup):
            for i in range(self.n):
                torch.manual_seed(i)
                self.gradients(own, i)
        torch.cuda.current_stream().wait_stream(warmup)
        pool = torch.cuda.graph_pool_handle()
        for i in range(self.n):
            for p in self.parameters:
                p.grad = None
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            torch.manual_seed(i)
            # Another thread pins batches at the same time.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                losses = self.gradients(own, i)
            self.graphs.append((graph, [p.grad for p in self.parameters], losses))
        return own
