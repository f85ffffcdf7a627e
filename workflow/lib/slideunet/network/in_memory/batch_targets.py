"""Targets of a batch of patches, from tables of whole cells: no distance transform of a patch is needed.

They differ from `network.patches.targets` in two points: a cell that the border of a patch cuts keeps the
centre and the depth of the whole cell, as in a prediction with context; and an elastic deformation moves
depths but does not measure them again.
"""

from collections.abc import Sequence

import torch

from slideunet.network.in_memory.pool import Pool
from slideunet.network.in_memory.prepared import BETWEEN, DEPTH
from slideunet.network.in_memory.warping import Warped
from slideunet.network.patches.targets import (
    BORDER_REACH,
    BORDER_SIGMA,
    IGNORE_TARGET,
    LEAST_SIGMA,
    MOST_SIGMA,
    SIGMA,
)


def batch_targets(pool: Pool, warped: Warped, maps: Sequence[str], *, border: bool = False) -> torch.Tensor:
    """Return the targets (n, planes, y, x) float32, in the order of `targets.cell_targets`.

    Parameters
    ----------
    pool : Pool
    warped : Warped
    maps : sequence of str
        `UNetSpec.maps`.
    border : bool
        Whether to add the weights of borders.
    """
    labels = warped.labels
    inside = (labels > 0).float()
    zooms = warped.zooms[:, None, None]
    planes = {"foreground": torch.where(labels < 0, IGNORE_TARGET, inside)}
    stacked = [planes["foreground"]]
    if len(maps) > 1:
        cells = pool.cells.index_select(0, labels.clamp(min=0).reshape(-1)).view(*labels.shape, 4)
        radius, deepest = (cells[..., i] * zooms for i in (2, 3))
        planes |= {"distance": inside * _distance(warped.planes[:, DEPTH], deepest, zooms)}
        way = torch.einsum("nij,nyxj->nyxi", warped.inverses, cells[..., :2] - warped.places)
        planes |= {"centre": inside * _centre(way, radius)}
        planes |= {name: inside * way[..., i] for i, name in enumerate(("dy", "dx"))}
        stacked = [*(planes[name] for name in maps), inside / radius.clamp(min=0.5)]
    if border:
        away = warped.planes[:, BETWEEN] * zooms
        near = torch.exp(-(away**2) / (2 * BORDER_SIGMA**2))
        stacked.append(torch.where(away <= BORDER_REACH, near, 0.0))
    return torch.stack(stacked, dim=1)


def _distance(depth: torch.Tensor, deepest: torch.Tensor, zooms: torch.Tensor) -> torch.Tensor:
    """Return the depth over the largest one, as if both were measured in pixels of the patch.

    Distances are to the middle of the nearest pixel outside, half a pixel beyond the edge: half a pixel of
    the image is subtracted and half a pixel of the patch added.
    """
    away = depth * deepest - 0.5 * zooms + 0.5
    return (away / (deepest - 0.5 * zooms + 0.5).clamp(min=0.5)).clamp(0.0, 1.0)


def _centre(way: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    sigma = (SIGMA * radius).clamp(LEAST_SIGMA, MOST_SIGMA)
    return torch.exp(-way.square().sum(dim=-1) / (2 * sigma**2))
