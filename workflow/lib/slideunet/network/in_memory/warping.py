"""Patches read from the pool, rotated, zoomed and deformed on the device: image, planes and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from slideunet.network.in_memory.draws import Draws
from slideunet.network.in_memory.pool import Pool


@dataclass(frozen=True)
class Warped:
    """n patches as read from the pool.

    Attributes
    ----------
    planes : tensor (n, c + 2, y, x) float32, channels last
        See `Prepared.levels`.
    labels : tensor (n, y, x) int32
        Rows of `Pool.cells`; 0 = background, -1 = ignored or beyond the image.
    places : tensor (n, y, x, 2) float32
        Position (y, x) in the image of each pixel, in px.
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


def _places(middles: torch.Tensor, matrices: torch.Tensor, bends: torch.Tensor, side: int) -> torch.Tensor:
    steps = torch.arange(side, dtype=torch.float32, device=middles.device) - (side - 1) / 2
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    places = torch.einsum("nij,yxj->nyxi", matrices, grid) + middles[:, None, None, :]
    bent = interpolate(bends, size=(side, side), mode="bicubic", align_corners=True)
    return places + bent.permute(0, 2, 3, 1)


def _bilinear(pool: Pool, images: torch.Tensor, levels: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    shrink = (2.0**levels)[:, None, None]
    size = pool.sizes[images, levels].int()
    origin = pool.origins[images, levels].int()[:, None, None]
    (up, down, below), (left, right, beside) = (
        _neighbours((places[..., axis] + 0.5) / shrink - 0.5, size[:, axis, None, None]) for axis in (0, 1)
    )
    width = size[:, 1, None, None]
    up, down = origin + up * width, origin + down * width
    above, under = (_between(pool.planes, row + left, row + right, beside) for row in (up, down))
    return torch.lerp(above, under, below[..., None]).permute(0, 3, 1, 2)


def _between(
    planes: torch.Tensor, left: torch.Tensor, right: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Return planes (n, y, x, c) interpolated between two pixels, given by their rows (n, y, x)."""
    first, last = (planes.index_select(0, at.reshape(-1)).view(*at.shape, -1).float() for at in (left, right))
    return torch.lerp(first, last, share[..., None])


def _neighbours(at: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the pixels before and after a position on an axis, and its fraction between them."""
    before = at.floor()
    first = before.int()
    return _mirrored(first, size), _mirrored(first + 1, size), at - before


def _mirrored(at: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Return indices inside an axis that is mirrored once at each end, the edge pixel repeated."""
    inside = torch.where(at < 0, -1 - at, at)
    return torch.minimum(inside, 2 * size - 1 - inside).clamp(min=0)


def _nearest(pool: Pool, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    size = pool.sizes[images, 0].int()
    height, width = (size[:, axis, None, None] for axis in (0, 1))
    row, column = ((places[..., axis] + 0.5).floor().int() for axis in (0, 1))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    first = pool.label_origins[images].int()[:, None, None]
    pixels = torch.where(inside, first + row * width + column, 0)
    labels = pool.labels.index_select(0, pixels.reshape(-1)).view(pixels.shape)
    return torch.where(inside, labels, -1)
