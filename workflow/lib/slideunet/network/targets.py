"""What the network learns of a labelled image besides its foreground, computed from the labels alone.

distance        distance of a pixel to the edge of its cell, 1 at the cell's innermost pixel
centre          Gaussian around the centre of the cell, cut at its edge
dy, dx          pixels down and right to the centre of the cell

Every cell is by itself: a neighbour that touches it is background to it. The centre is the mean of its
pixels. Centres and offsets are those of Panoptic-DeepLab (Cheng et al. 2020, arXiv:1911.10194).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

# Of the Gaussian around a centre: a share of the radius, between two bounds in pixels.
_SIGMA, _LEAST_SIGMA, _MOST_SIGMA = 0.3, 1.5, 6.0


def cell_targets(labels: np.ndarray, maps: Sequence[str]) -> np.ndarray:
    """Return what a network with these maps should give.

    Parameters
    ----------
    labels : ndarray (y, x) of integers
        0 = background. A cell that the border cuts is what is seen of it.
    maps : sequence of str
        `UNetSpec.maps`.

    Returns
    -------
    ndarray (maps, y, x) float32; with more maps than the foreground one more, last: 1 / radius inside cells
    (1 / px), by which errors of offsets are weighed.
    """
    if len(maps) == 1:
        return (labels > 0)[None].astype(np.float32)
    cells = _cells(labels)
    found = [_TARGETS[name](cells) for name in maps]
    return np.stack([*found, _inside(cells, 1.0 / cells.radius)])


@dataclass(frozen=True)
class _Cells:
    """A label image (y, x) with ids 0..n and per id its radius and, per pixel, the way to its centre."""

    ids: np.ndarray
    radius: np.ndarray
    dy: np.ndarray
    dx: np.ndarray


def _cells(labels: np.ndarray) -> _Cells:
    present, ids = np.unique(labels, return_inverse=True)
    ids = ids.reshape(labels.shape) + (0 if present[0] == 0 else 1)
    flat = ids.ravel()
    area = np.maximum(np.bincount(flat), 1)
    ways = []
    for places in np.indices(labels.shape):
        centre = np.bincount(flat, weights=places.ravel()) / area
        ways.append(np.where(ids > 0, centre[ids] - places, 0.0))
    return _Cells(ids, np.sqrt(area / np.pi), *ways)


def _inside(cells: _Cells, value: np.ndarray) -> np.ndarray:
    """Spread a value per id over the pixels of the cells; 0 in the background."""
    return np.where(cells.ids > 0, value[cells.ids], 0.0).astype(np.float32)


def _foreground(cells: _Cells) -> np.ndarray:
    return (cells.ids > 0).astype(np.float32)


def _distance(cells: _Cells) -> np.ndarray:
    """Return the distance to the cell's outermost pixels, counted from 1, over its largest value."""
    ids = cells.ids
    inner = ids > 0
    for axis in (0, 1):
        ahead = np.diff(ids, axis=axis) != 0
        inner &= ~np.pad(ahead, [(0, int(axis == 0)), (0, int(axis == 1))])
        inner &= ~np.pad(ahead, [(int(axis == 0), 0), (int(axis == 1), 0)])
    if inner.all():  # One cell and no edge: SciPy's answer would be arbitrary.
        return np.ones(ids.shape, np.float32)
    depth = ndi.distance_transform_edt(inner) + 1
    most = np.ones(int(ids.max()) + 1)
    np.maximum.at(most, ids.ravel(), depth.ravel())
    return np.where(ids > 0, depth / most[ids], 0.0).astype(np.float32)


def _centre(cells: _Cells) -> np.ndarray:
    sigma = np.clip(_SIGMA * cells.radius, _LEAST_SIGMA, _MOST_SIGMA)[cells.ids]
    value = np.exp(-(cells.dy**2 + cells.dx**2) / (2 * sigma**2))
    return np.where(cells.ids > 0, value, 0.0).astype(np.float32)


_TARGETS: dict[str, Callable[[_Cells], np.ndarray]] = {
    "foreground": _foreground,
    "distance": _distance,
    "centre": _centre,
    "dy": lambda cells: cells.dy.astype(np.float32),
    "dx": lambda cells: cells.dx.astype(np.float32),
}
