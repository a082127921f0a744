"""Distillation of a teacher's features: ``distill_encoder`` and ``distill_decoded``."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from train.losses.probe import Probe


def distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the distance of features from a teacher's.

    d = 1 - mean cos(output, target) + 0.5 smooth_l1(output, target)

    Parameters
    ----------
    output, target : torch.Tensor
        (batch, rows, width).
    """
    angle = 1 - functional.cosine_similarity(output, target, dim=-1).mean()
    return angle + 0.5 * functional.smooth_l1_loss(output, target, beta=0.5)


class TeacherDistillation(nn.Module):
    """Heads that predict teacher features from the encoder's and from decoded features.

    Parameters
    ----------
    encoder_width : int
        Columns of the encoder's features.
    token_width : int
        Columns of a token's decoded features.
    teacher_width : int
        Columns of the teacher's features.
    """

    def __init__(self, encoder_width: int, token_width: int, teacher_width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(encoder_width, teacher_width)
        self.decoded = Probe(token_width, teacher_width)

    def encoder_distance(self, features: Tensor, teacher: Tensor) -> Tensor:
        """Return ``distill_encoder`` of (batch, rows, encoder_width)."""
        return distance(self.encoder(features).float(), teacher)

    def decoded_distance(self, rows: Tensor, teacher: Tensor) -> Tensor:
        """Return ``distill_decoded`` of (batch, rows, token_width)."""
        return distance(self.decoded(rows), teacher)
