"""What turns gradients into steps: AdamW, and Muon for matrices, shared among workers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from train import workers
from train.config import Stage
from train.engine.muon import Together

_LEAST_MATRIX = 32
_HEAD_SCALE = 0.05
"""Of the learning rate, for the layer whose outputs are samples."""
_SEARCH_SCALE = 4.0
"""Of the learning rate, for the small networks that codes are searched by."""


class Optimizers:
    """AdamW, and Muon (arXiv 2502.16982) for the codec's matrices if the stage wants it.

    The refiner's matrices are left to AdamW: orthogonalising them would cost more than all others
    together. So is the decoder's last layer, at a lower rate: samples are small, its weights with
    them, and steps as large as elsewhere would shake them. What codes are searched by has to follow
    them: its rate is higher.

    Each worker orthogonalises its share of the matrices, and all get them: that takes a fifth of
    a step on a CPU if each does them all.

    Parameters
    ----------
    whole : torch.nn.Module
        What is trained; the codec's parameters are named ``codec.``.
    stage : Stage
        Its optimizer, rate and decay.
    """

    def __init__(self, whole: nn.Module, stage: Stage) -> None:
        trained = {name: p for name, p in whole.named_parameters() if p.requires_grad}
        matrices = {
            name: p
            for name, p in trained.items()
            if stage.optimizer == "muon"
            and name.startswith("codec.")
            and p.ndim == 2
            and min(p.shape) >= _LEAST_MATRIX
            and "refiner" not in name
            and "decoder.head" not in name
            and ".search." not in name
        }
        head = {name: p for name, p in trained.items() if "decoder.head" in name}
        search = {name: p for name, p in trained.items() if ".search." in name}
        apart = matrices.keys() | head.keys() | search.keys()
        others = [p for name, p in trained.items() if name not in apart]
        first = adam(others, stage.learning_rate, stage.weight_decay, 0.98)
        if head:
            group = {"params": list(head.values()), "weight_decay": 0.0, "scale": _HEAD_SCALE}
            first.add_param_group(group)
        if search:
            first.add_param_group({"params": list(search.values()), "scale": _SEARCH_SCALE})
        self.all: list[torch.optim.Optimizer] = [first]
        # The largest first, so that workers have about as much to do.
        self.matrices = sorted(matrices.values(), key=torch.numel, reverse=True)
        if matrices:
            muon = Together(
                list(matrices.values()),
                lr=stage.learning_rate,
                weight_decay=stage.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            self.all.append(muon)

    def step(self, rate: float) -> None:
        """Take a step at a learning rate, by gradients that all workers have."""
        for i, matrix in enumerate(self.matrices):
            if i % workers.count() != workers.index():
                matrix.grad = None
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimizer.step()
        workers.share(self.matrices)

    def state(self) -> list[dict[str, Any]]:
        """Return all that going on needs; all workers call it at once."""
        momenta = []
        for matrix in self.matrices:
            state = self.all[-1].state[matrix]
            momenta.append(state.setdefault("momentum_buffer", torch.zeros_like(matrix)))
        workers.share(momenta)
        return [optimizer.state_dict() for optimizer in self.all]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Go on from `state`."""
        for optimizer, saved in zip(self.all, state, strict=True):
            optimizer.load_state_dict(saved)


def adam(
    parameters: list[nn.Parameter], rate: float, decay: float, beta: float
) -> torch.optim.AdamW:
    """Return AdamW, without decay of what is no matrix."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.8 if beta < 0.97 else 0.9, beta), fused=True)
