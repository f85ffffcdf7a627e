"""Patches read from the pool, turned, zoomed and bent on the device: image, planes and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from slideunet.network.in_memory.draws import Draws
from slideunet.network.in_memory.pool import Pool


@dataclass(frozen=True)
class Warped:
    """n patches as they are read.

    Attributes
    ----------
    planes : tensor (n, c + 2, y, x) float32, channels last
        See `Prepared.levels`.
    labels : tensor (n, y, x) int64
        Rows of `Pool.cells`; 0 = background, -1 = nobody has judged, or beyond the image.
    places : tensor (n, y, x, 2) float32
        Where in the image a pixel comes from, (y, x) in px.
    zooms : tensor (n,)
    inverses : tensor (n, 2, 2)
        From px of the image to px of the patch.
    """

    planes: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor
    zooms: torch.Tensor
    inverses: torch.Tensor


def warp(pool: Pool, draws: Draws, side: int) -> Warped:
    """Read patches of `side` px: images with bilinear interpolation, labels from the nearest pixel.

    Beyond the border an image is mirrored and its labels are -1, as in `patches`.
    """
    device = pool.planes.device

    def moved(values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    images, levels = moved(draws.images), moved(draws.levels)
    places = _places(moved(draws.middles), moved(draws.matrices), moved(draws.bends), side)
    return Warped(
        planes=_bilinear(pool, images, levels, places),
        labels=_nearest(pool, images, places),
        places=places,
        zooms=moved(draws.zooms),
        inverses=moved(np.linalg.inv(draws.matrices)),
    )


def _places(
    middles: torch.Tensor, matrices: torch.Tensor, bends: torch.Tensor, side: int
) -> torch.Tensor:
    steps = torch.arange(side, dtype=torch.float32, device=middles.device) - (side - 1) / 2
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    places = torch.einsum("nij,yxj->nyxi", matrices, grid) + middles[:, None, None, :]
    bent = interpolate(bends, size=(side, side), mode="bicubic", align_corners=True)
    return places + bent.permute(0, 2, 3, 1)


def _bilinear(
    pool: Pool, images: torch.Tensor, levels: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    shrink = (2.0**levels)[:, None, None, None]
    at = (places + 0.5) / shrink - 0.5
    corner = at.floor()
    share = at - corner
    corner = corner.long()
    size = pool.sizes[images, levels][:, None, None, :]
    origin = pool.origins[images, levels][:, None, None]
    near, far = _mirrored(corner, size), _mirrored(corner + 1, size)
    found: torch.Tensor | float = 0.0
    for row, down in ((near[..., 0], 1 - share[..., 0]), (far[..., 0], share[..., 0])):
        for column, across in ((near[..., 1], 1 - share[..., 1]), (far[..., 1], share[..., 1])):
            pixels = origin + row * size[..., 1] + column
            values = pool.planes.index_select(0, pixels.reshape(-1)).view(*pixels.shape, -1)
            found = found + values.float() * (down * across)[..., None]
    assert isinstance(found, torch.Tensor)
    return found.permute(0, 3, 1, 2)


def _mirrored(at: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Return indices inside an axis that is mirrored at its ends, the last pixel twice."""
    at = at.remainder(2 * size)
    return torch.minimum(at, 2 * size - 1 - at)


def _nearest(pool: Pool, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    at = (places + 0.5).floor().long()
    size = pool.sizes[images, 0][:, None, None, :]
    inside = ((at >= 0) & (at < size)).all(dim=-1)
    at = torch.minimum(at.clamp(min=0), size - 1)
    pixels = pool.label_origins[images][:, None, None] + at[..., 0] * size[..., 1] + at[..., 1]
    labels = pool.labels.index_select(0, pixels.reshape(-1)).view(pixels.shape).long()
    return torch.where(inside, labels, -1)
