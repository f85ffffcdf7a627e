"""Losses of foreground logits, weighted sums of them, from MONAI and torch, and those of the heads."""

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import nn
from torch.nn import functional

from slideunet.network.maps import OFFSET_UNIT

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


class CellsLoss(nn.Module):
    """The loss of the foreground, and those of the heads on top of it.

    Attributes
    ----------
    foreground : WeightedLoss
    maps : sequence of str
        Of the network; see `UNetSpec.maps`.
    """

    def __init__(self, foreground: WeightedLoss, maps: Sequence[str]) -> None:
        super().__init__()
        self.foreground = foreground
        self.maps = tuple(maps)

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar.

        Parameters
        ----------
        output : tensor (n, maps, y, x)
            Of the network.
        target : tensor (n, maps or one more, y, x)
            From `targets.cell_targets`.
        """
        inside, weight = target[:, 0], target[:, -1]
        terms = [self.foreground(output[:, :1], target[:, :1])]
        for i, name in enumerate(self.maps[1:], start=1):
            terms.append(_HEADS[name](output[:, i], target[:, i], inside, weight))
        return torch.stack(terms).sum()


def _distance(
    output: torch.Tensor, target: torch.Tensor, inside: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Cross entropy, three times as heavy inside cells."""
    del weight
    return functional.binary_cross_entropy_with_logits(output, target, weight=1.0 + 2.0 * inside)


def _centre(
    output: torch.Tensor, target: torch.Tensor, inside: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Squared error, ten times as heavy at the centres, which are few pixels."""
    del inside, weight
    return 5.0 * ((1.0 + 9.0 * target) * (output.sigmoid() - target) ** 2).mean()


def _offset(
    output: torch.Tensor, target: torch.Tensor, inside: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Absolute error in radii of the cell, the mean over all pixels of cells."""
    error = (OFFSET_UNIT * output - target).abs() * weight
    return 0.3 * error.sum() / inside.sum().clamp(min=1.0)


# The weights are those of a first study on DSB2018, in which all heads were learned well beside each other.
_HEADS = {"distance": _distance, "centre": _centre, "dy": _offset, "dx": _offset}
