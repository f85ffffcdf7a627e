"""Training targets of the foreground and the heads, computed from a label image.

distance        distance of a pixel to the edge of its cell, 1 at the cell's innermost pixel
centre          Gaussian around the centre of the cell, cut at its edge
dy, dx          pixels down and right to the centre of the cell

A touching neighbour is background to a cell. Its centre is the mean of its pixels. Centres and offsets are
those of Panoptic-DeepLab (Cheng et al. 2020, arXiv:1911.10194).

Two more planes are weights: 1 / radius inside cells, for offsets; and the border weights between cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage as ndi

IGNORE_TARGET = -1.0

# Sigma of the Gaussian around a centre: a fraction of the radius, within two bounds in pixels.
SIGMA, LEAST_SIGMA, MOST_SIGMA = 0.3, 1.5, 6.0
BORDER_SIGMA = 5.0  # px, as in the U-Net paper.
BORDER_REACH = 16  # px; farther away a border weight is below 1 % of its maximum.


def cell_targets(labels: np.ndarray, maps: Sequence[str], *, border: bool = False) -> np.ndarray:
    """Return the target of a network with these maps.

    Parameters
    ----------
    labels : ndarray (y, x) of integers
        0 = background, -1 = ignored. A cell is cut at the border of the patch and at ignored pixels, and
        neither counts as its edge.
    maps : sequence of str
        `UNetSpec.maps`.
    border : bool
        Whether to add `border_weights`.

    Returns
    -------
    ndarray (maps, y, x) float32; with more maps than the foreground one more: 1 / radius inside cells
    (1 / px); with `border` one more, last. At ignored pixels the foreground is `IGNORE_TARGET`.
    """
    ids = compact(labels)
    ignored = ids < 0
    ids[ignored] = 0
    weights = [border_weights(ids)] if border else []
    if len(maps) == 1:
        target = [(ids > 0).astype(np.float32)]
    else:
        cells = _cells(ids, ignored)
        target = [*(_TARGETS[name](cells) for name in maps), _inside(cells, 1.0 / cells.radius)]
    target[0][ignored] = IGNORE_TARGET
    return np.stack([*target, *weights])


def compact(labels: np.ndarray) -> np.ndarray:
    """Return labels (y, x) as int64 ids 0..n in the order of their first pixels, 0 and below as they are."""
    # A hash table: sorting the pixels of a patch took longer than all other preparation.
    codes, values = pd.factorize(labels.ravel())
    new = np.where(values > 0, np.cumsum(values > 0), values.astype(np.int64))
    return new[codes].reshape(labels.shape)


def border_weights(ids: np.ndarray) -> np.ndarray:
    """Return the border weight map of the U-Net paper, without its factor.

    exp(-(d1 + d2)^2 / (2 sigma^2)), d1 and d2 the distances (px) to the nearest and the second nearest cell,
    sigma 5 px (Ronneberger et al. 2015, eq. 2). Inside a cell d1 is 0, so pixels along a contact have weight
    too.

    Parameters
    ----------
    ids : ndarray (y, x) of int
        0 = background, cells 1..n.

    Returns
    -------
    ndarray (y, x) float32, 0 to 1; 0 where the second nearest cell is farther than 16 px.
    """
    nearest, second = nearest_cells(ids, BORDER_REACH)
    weights = np.exp(-((nearest + second) ** 2) / (2 * BORDER_SIGMA**2))
    return np.where(second <= BORDER_REACH, weights, 0.0).astype(np.float32)


def nearest_cells(ids: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances (y, x) in px to the nearest and to the second nearest cell, 0 inside of it.

    Those above `reach` may be too large, or infinite.
    """
    nearest = np.full(ids.shape, np.inf)
    second = nearest.copy()
    for number, window in _windows(ids, margin=reach):
        away = ndi.distance_transform_edt(ids[window] != number)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], away))
        nearest[window] = np.minimum(nearest[window], away)
    return nearest, second


@dataclass(frozen=True)
class _Cells:
    """A label image (y, x) with ids 0..n, the radius of each id and the offset of each pixel."""

    ids: np.ndarray
    ignored: np.ndarray
    radius: np.ndarray
    dy: np.ndarray
    dx: np.ndarray


def _cells(ids: np.ndarray, ignored: np.ndarray) -> _Cells:
    flat = ids.ravel()
    area = np.maximum(np.bincount(flat), 1)
    inside = np.flatnonzero(flat)
    owners = flat[inside]
    offsets = []
    for places in np.unravel_index(inside, ids.shape):
        centre = np.bincount(owners, weights=places, minlength=len(area)) / area
        offset = np.zeros(ids.shape)
        offset.flat[inside] = centre[owners] - places
        offsets.append(offset)
    return _Cells(ids, ignored, np.sqrt(area / np.pi), *offsets)


def _inside(cells: _Cells, value: np.ndarray) -> np.ndarray:
    """Spread a value per id over the pixels of the cells; 0 in the background."""
    return np.where(cells.ids > 0, value[cells.ids], 0.0).astype(np.float32)


def _foreground(cells: _Cells) -> np.ndarray:
    return (cells.ids > 0).astype(np.float32)


def _distance(cells: _Cells) -> np.ndarray:
    """Return the distance to the nearest valid pixel outside of the cell, divided by its maximum.

    It is limited to the box around the cell, which matters only beside ignored pixels.
    """
    distance = np.zeros(cells.ids.shape, np.float32)
    for _, window, depth in cell_depths(cells.ids, cells.ignored):
        distance[window] += depth / depth.max()
    return distance


def cell_depths(ids: np.ndarray, ignored: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
    """Yield the id of every cell, a window around it, and the depth of its pixels there, 0 outside of it.

    The depth is the distance in px to the nearest valid pixel outside of the cell, within the window.

    Parameters
    ----------
    ids : ndarray (y, x) of int
        0 = background, cells 1..n.
    ignored : ndarray (y, x) of bool
    """
    for number, window in _windows(ids, margin=1):
        cell = ids[window] == number
        inside = cell | ignored[window]
        # Without any edge, SciPy's result would be arbitrary.
        yield (
            number,
            window,
            cell if inside.all() else np.where(cell, ndi.distance_transform_edt(inside), 0.0),
        )


def _windows(ids: np.ndarray, margin: int) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield every id and its bounding box with a margin in pixels."""
    for number, box in enumerate(ndi.find_objects(ids), start=1):
        yield number, tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)


def _centre(cells: _Cells) -> np.ndarray:
    sigma = np.clip(SIGMA * cells.radius, LEAST_SIGMA, MOST_SIGMA)[cells.ids]
    value = np.exp(-(cells.dy**2 + cells.dx**2) / (2 * sigma**2))
    return np.where(cells.ids > 0, value, 0.0).astype(np.float32)


_TARGETS: dict[str, Callable[[_Cells], np.ndarray]] = {
    "foreground": _foreground,
    "distance": _distance,
    "centre": _centre,
    "dy": lambda cells: cells.dy.astype(np.float32),
    "dx": lambda cells: cells.dx.astype(np.float32),
}
