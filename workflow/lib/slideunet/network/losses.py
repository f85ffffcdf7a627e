"""Losses of foreground logits, and weighted sums of them, from MONAI and torch."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import nn

_TERMS = {
    "bce": lambda: nn.BCEWithLogitsLoss(),
    # Per patch: pooled over the batch, large and bright cells would drown the dim images.
    "dice": lambda: DiceLoss(sigmoid=True),
    "focal": lambda: FocalLoss(gamma=2.0),
}


class WeightedLoss(nn.Module):
    """The weighted mean of several losses of the same logits and targets (n, 1, y, x)."""

    def __init__(self, terms: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.weights = [weight / sum(weights) for weight in weights]

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar."""
        weighted = [
            weight * term(logits, target) for weight, term in zip(self.weights, self.terms, strict=True)
        ]
        return torch.stack(weighted).sum()


def build_loss(name: str, weights: Sequence[float] | None = None) -> WeightedLoss:
    """Build a loss by name: "bce", "dice", "focal", or several joined by "_" such as "bce_dice".

    Parameters
    ----------
    name : str
        Dice: Milletari et al. 2016 (arXiv:1606.04797), soft, the mean over patches. Focal: Lin et al. 2017
        (arXiv:1708.02002), gamma 2.
    weights : sequence of float, optional
        One per part of the name; equal when not given.

    Raises
    ------
    ValueError
        On an unknown part, or when the number of weights is not the number of parts.
    """
    parts = name.split("_")
    unknown = [part for part in parts if part not in _TERMS]
    if unknown:
        raise ValueError(f"unknown loss {', '.join(unknown)}; choose from {', '.join(_TERMS)}")
    weights = weights or [1.0] * len(parts)
    if len(weights) != len(parts):
        raise ValueError(f"loss {name} has {len(parts)} parts but {len(weights)} weights are given")
    return WeightedLoss([_TERMS[part]() for part in parts], weights)
