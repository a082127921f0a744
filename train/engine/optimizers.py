"""The optimizers of a stage: AdamW, and Muon for matrices, shared among workers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from train import workers
from train.config import TrainingStage
from train.engine.muon import BatchedMuon

_MIN_MATRIX = 32
_HEAD_SCALE = 0.05
"""Factor on the learning rate of the layer whose outputs are samples."""
_SEARCH_SCALE = 4.0
"""Factor on the learning rate of the search's networks."""


class Optimizers:
    """AdamW, and Muon (arXiv 2502.16982) for the codec's matrices if the stage sets it.

    AdamW trains three exceptions. The refiner's matrices would cost Muon more than all others. The
    decoder's last layer has small weights and gets a lower rate. The search's networks follow the
    codes and get a higher rate.

    Each worker orthogonalises its share of the matrices and sends them to the others. If each did
    all of them, that would take a fifth of a step on a CPU.

    Parameters
    ----------
    model : torch.nn.Module
        The trained model. Names of the codec's parameters begin with ``codec.``.
    stage : TrainingStage
        Its optimizer, learning rate and decay.
    """

    def __init__(self, model: nn.Module, stage: TrainingStage) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        matrices = {
            name: p
            for name, p in trained.items()
            if stage.optimizer == "muon"
            and name.startswith("codec.")
            and p.ndim == 2
            and min(p.shape) >= _MIN_MATRIX
            and "refiner" not in name
            and "decoder.head" not in name
            and ".search." not in name
        }
        head = {name: p for name, p in trained.items() if "decoder.head" in name}
        search = {name: p for name, p in trained.items() if ".search." in name}
        separate = matrices.keys() | head.keys() | search.keys()
        others = [p for name, p in trained.items() if name not in separate]
        first = adam(others, stage.learning_rate, stage.weight_decay, 0.98)
        if head:
            group = {"params": list(head.values()), "weight_decay": 0.0, "scale": _HEAD_SCALE}
            first.add_param_group(group)
        if search:
            first.add_param_group({"params": list(search.values()), "scale": _SEARCH_SCALE})
        self.all: list[torch.optim.Optimizer] = [first]
        # The largest come first, so that workers have about the same work.
        self.matrices = sorted(matrices.values(), key=torch.numel, reverse=True)
        if matrices:
            muon = BatchedMuon(
                list(matrices.values()),
                lr=stage.learning_rate,
                weight_decay=stage.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            self.all.append(muon)

    def step(self, rate: float) -> None:
        """Take a step at a learning rate. All workers have the same gradients."""
        for i, matrix in enumerate(self.matrices):
            if i % workers.count() != workers.index():
                matrix.grad = None
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimizer.step()
        workers.share(self.matrices)

    def state(self) -> list[dict[str, Any]]:
        """Return the state of a run. All workers must call it at the same time."""
        momenta = []
        for matrix in self.matrices:
            state = self.all[-1].state[matrix]
            momenta.append(state.setdefault("momentum_buffer", torch.zeros_like(matrix)))
        workers.share(momenta)
        return [optimizer.state_dict() for optimizer in self.all]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Continue from `state`."""
        for optimizer, saved in zip(self.all, state, strict=True):
            optimizer.load_state_dict(saved)


def adam(
    parameters: list[nn.Parameter], rate: float, decay: float, beta: float
) -> torch.optim.AdamW:
    """Return AdamW with weight decay for matrices only."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.8 if beta < 0.97 else 0.9, beta), fused=True)
