"""Losses of the foreground logits (MONAI, torch), weighted sums of them, and losses of the heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.losses import DiceLoss, FocalLoss
from torch import nn
from torch.nn import functional

from slideunet.network.architecture.output_maps import OFFSET_UNIT, OFFSETS
from slideunet.network.patches.targets import IGNORE_TARGET


class CrossEntropyLoss(nn.Module):
    """Binary cross entropy of logits with optional pixel weights."""

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean over all pixels, logits, targets and weights being (n, 1, y, x)."""
        return functional.binary_cross_entropy_with_logits(logits, target, weight=weight)


_TERMS: dict[str, Callable[[], nn.Module]] = {
    "bce": CrossEntropyLoss,
    # Per patch: pooled over the batch, large and bright cells would outweigh dim images.
    "dice": lambda: DiceLoss(sigmoid=True),
    "focal": lambda: FocalLoss(gamma=2.0),
}


class WeightedLoss(nn.Module):
    """The weighted mean of several losses of the same logits and targets (n, 1, y, x)."""

    def __init__(self, terms: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.weights = [weight / sum(weights) for weight in weights]

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, pixels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a scalar; `pixels` (n, 1, y, x) are weights of the cross entropy."""
        terms = [
            term(logits, target, pixels) if isinstance(term, CrossEntropyLoss) else term(logits, target)
            for term in self.terms
        ]
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()


def build_loss(name: str, weights: Sequence[float] | None = None) -> WeightedLoss:
    """Build a loss by name: one of those below, or several joined by "_", such as "bce_dice".

    Parameters
    ----------
    name : str
        bce: cross entropy. dice: Milletari et al. 2016 (arXiv:1606.04797), soft, the mean over patches.
        focal: Lin et al. 2017 (arXiv:1708.02002), gamma 2.
    weights : sequence of float, optional
        One per part of the name; equal by default.

    Raises
    ------
    ValueError
        For an unknown part, or another number of weights than of parts.
    """
    parts = name.split("_")
    unknown = [part for part in parts if part not in _TERMS]
    if unknown:
        raise ValueError(f"unknown loss {', '.join(unknown)}; choose from {', '.join(_TERMS)}")
    weights = weights or [1.0] * len(parts)
    if len(weights) != len(parts):
        raise ValueError(f"loss {name} has {len(parts)} parts but {len(weights)} weights are given")
    return WeightedLoss([_TERMS[part]() for part in parts], weights)


CERTAINLY_NOT = -20.0
"""A logit with a negligible error against 0, 2e-9."""


class CellsLoss(nn.Module):
    """The loss of the foreground plus the losses of the heads.

    Attributes
    ----------
    foreground : WeightedLoss
    maps : sequence of str
        Output maps of the network, see `UNetSpec.maps`.
    border : float
        Extra weight of errors of foreground or distance between touching cells, see
        `targets.border_weights`. With 0 the targets have no plane for it.
    """

    def __init__(self, foreground: WeightedLoss, maps: Sequence[str], border: float = 0.0) -> None:
        super().__init__()
        self.foreground = foreground
        self.maps = tuple(maps)
        self.border = border

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return a scalar.

        Parameters
        ----------
        output : tensor (n, maps, y, x)
            Of the network.
        target : tensor (n, planes, y, x)
            From `targets.cell_targets`. Ignored pixels add nothing to the loss.
        """
        n_maps = len(self.maps)
        ignored = target[:, :1] == IGNORE_TARGET
        # Asking a GPU whether there are any would stop it.
        if ignored.is_cuda or ignored.any():
            right = [0.0 if name in OFFSETS else CERTAINLY_NOT for name in self.maps]
            output = torch.where(ignored, output.new_tensor(right)[:, None, None], output)
            target = torch.where(ignored, 0.0, target)
        pixels = 1.0 + self.border * target[:, -1:] if self.border else None
        terms = [self.foreground(output[:, :1], target[:, :1], pixels)]
        if n_maps > 1:
            inside, per_radius = target[:, 0], target[:, n_maps]
            weights = _Weights(inside, per_radius, pixels[:, 0] if pixels is not None else 1.0)
            for i, name in enumerate(self.maps[1:], start=1):
                terms.append(_HEADS[name](output[:, i], target[:, i], weights))
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class _Weights:
    """Pixel weights of the heads, each (n, y, x)."""

    inside: torch.Tensor
    per_radius: torch.Tensor
    border: torch.Tensor | float


def _distance(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Cross entropy with a weight of 3 inside cells."""
    return functional.binary_cross_entropy_with_logits(
        output, target, weight=(1.0 + 2.0 * weights.inside) * weights.border
    )


def _centre(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Squared error with a weight of 10 at the centres, which are few pixels."""
    del weights
    return 5.0 * ((1.0 + 9.0 * target) * (output.sigmoid() - target) ** 2).mean()


def _offset(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Absolute error in radii of the cell, the mean over all pixels of cells."""
    error = (OFFSET_UNIT * output - target).abs() * weights.per_radius
    return 0.3 * error.sum() / weights.inside.sum().clamp(min=1.0)


# Weights from a first study on DSB2018, in which all heads were learned well together.
_HEADS = {"distance": _distance, "centre": _centre, "dy": _offset, "dx": _offset}
