"""Losses of foreground logits, weighted sums of them, from MONAI and torch, and those of the heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss
from torch import nn
from torch.nn import functional

from slideunet.network.maps import OFFSET_UNIT, OFFSETS
from slideunet.network.targets import UNJUDGED_TARGET

# Of false positives and false negatives: missed pixels are the graver error (Salehi et al. 2017).
_TVERSKY = {"alpha": 0.3, "beta": 0.7}


class CrossEntropyLoss(nn.Module):
    """Binary cross entropy of logits; pixels can be weighed."""

    def forward(
        self, logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean over all pixels, logits, targets and weights being (n, 1, y, x)."""
        return functional.binary_cross_entropy_with_logits(logits, target, weight=weight)


class FocalTverskyLoss(nn.Module):
    """The Tversky loss of each patch to the power 3/4, so that patches that are nearly right still count."""

    def __init__(self) -> None:
        super().__init__()
        self.tversky = TverskyLoss(sigmoid=True, reduction="none", **_TVERSKY)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over patches of logits and targets (n, 1, y, x)."""
        # The slope of the power is infinite at 0.
        return (self.tversky(logits, target).clamp(min=1e-6) ** 0.75).mean()


class LovaszHingeLoss(nn.Module):
    """The Lovász extension of the Jaccard loss (1 - IoU) on hinge errors, algorithm 1 of the paper."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over patches of logits and targets (n, 1, y, x)."""
        errors = (1.0 - logits * (2.0 * target - 1.0)).flatten(1)
        errors, order = errors.sort(dim=1, descending=True)
        truth = target.flatten(1).gather(1, order)
        n_true = truth.sum(dim=1, keepdim=True)
        union = n_true + (1.0 - truth).cumsum(dim=1)
        jaccard = 1.0 - (n_true - truth.cumsum(dim=1)) / union.clamp(min=1.0)
        steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
        return (errors.relu() * steps).sum(dim=1).mean()


_TERMS: dict[str, Callable[[], nn.Module]] = {
    "bce": CrossEntropyLoss,
    # Per patch: pooled over the batch, large and bright cells would drown the dim images.
    "dice": lambda: DiceLoss(sigmoid=True),
    "focal": lambda: FocalLoss(gamma=2.0),
    "tversky": lambda: TverskyLoss(sigmoid=True, **_TVERSKY),
    "focaltversky": FocalTverskyLoss,
    "lovasz": LovaszHingeLoss,
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
        """Return a scalar; `pixels` (n, 1, y, x) weighs those of the cross entropy."""
        terms = [
            term(logits, target, pixels) if isinstance(term, CrossEntropyLoss) else term(logits, target)
            for term in self.terms
        ]
        return torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()


def build_loss(name: str, weights: Sequence[float] | None = None) -> WeightedLoss:
    """Build a loss by name: one of those below, or several joined by "_" such as "bce_dice".

    Parameters
    ----------
    name : str
        bce: cross entropy. dice: Milletari et al. 2016 (arXiv:1606.04797), soft, the mean over patches.
        focal: Lin et al. 2017 (arXiv:1708.02002), gamma 2. tversky: Salehi et al. 2017 (arXiv:1706.05721),
        alpha 0.3, beta 0.7. focaltversky: Abraham & Khan 2019 (arXiv:1810.07842), gamma 4/3. lovasz: Berman
        et al. 2018 (arXiv:1705.08790), the hinge, per patch.
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


CERTAINLY_NOT = -20.0
"""A logit whose error against 0 is nothing, 2e-9."""


class CellsLoss(nn.Module):
    """The loss of the foreground, and those of the heads on top of it.

    Attributes
    ----------
    foreground : WeightedLoss
    maps : sequence of str
        Of the network; see `UNetSpec.maps`.
    border : float
        How much more an error of foreground or distance counts where two cells meet; see
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
            From `targets.cell_targets`. Where nobody has judged, the network is right whatever it says.
        """
        n_maps = len(self.maps)
        unjudged = target[:, :1] == UNJUDGED_TARGET
        # To ask a GPU whether there is any would stop it.
        if unjudged.is_cuda or unjudged.any():
            right = [0.0 if name in OFFSETS else CERTAINLY_NOT for name in self.maps]
            output = torch.where(unjudged, output.new_tensor(right)[:, None, None], output)
            target = torch.where(unjudged, 0.0, target)
        pixels = 1.0 + self.border * target[:, -1:] if self.border else None
        terms = [self.foreground(output[:, :1], target[:, :1], pixels)]
        if n_maps > 1:
            inside, per_radius = target[:, 0], target[:, n_maps]
            own = _Weights(inside, per_radius, pixels[:, 0] if pixels is not None else 1.0)
            for i, name in enumerate(self.maps[1:], start=1):
                terms.append(_HEADS[name](output[:, i], target[:, i], own))
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class _Weights:
    """What errors of the heads are weighed by, each (n, y, x)."""

    inside: torch.Tensor
    per_radius: torch.Tensor
    border: torch.Tensor | float


def _distance(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Cross entropy, three times as heavy inside cells."""
    return functional.binary_cross_entropy_with_logits(
        output, target, weight=(1.0 + 2.0 * weights.inside) * weights.border
    )


def _centre(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Squared error, ten times as heavy at the centres, which are few pixels."""
    del weights
    return 5.0 * ((1.0 + 9.0 * target) * (output.sigmoid() - target) ** 2).mean()


def _offset(output: torch.Tensor, target: torch.Tensor, weights: _Weights) -> torch.Tensor:
    """Absolute error in radii of the cell, the mean over all pixels of cells."""
    error = (OFFSET_UNIT * output - target).abs() * weights.per_radius
    return 0.3 * error.sum() / weights.inside.sum().clamp(min=1.0)


# The weights are those of a first study on DSB2018, in which all heads were learned well beside each other.
_HEADS = {"distance": _distance, "centre": _centre, "dy": _offset, "dx": _offset}
