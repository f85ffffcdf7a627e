"""Sizes and shapes of all cells at once, in pixels, as defined by `skimage.measure.regionprops`."""

import numpy as np

from slideunet.cells.measurement.hulls import hull_areas
from slideunet.cells.measurement.regions import Regions

# Perimeter estimator of Benkrid & Crookes, as in `skimage.measure.perimeter`: the length that a border pixel
# adds depends on 1 + 2 x (border neighbours at its sides) + 10 x (border neighbours at its corners).
_LENGTH_CLASS = np.zeros(50, np.int64)
_LENGTH_CLASS[[5, 7, 15, 17, 25, 27]] = 1
_LENGTH_CLASS[[21, 33]] = 2
_LENGTH_CLASS[[13, 23]] = 3
_LENGTHS = np.array([0, 1, np.sqrt(2), (1 + np.sqrt(2)) / 2])


def shapes(regions: Regions) -> dict[str, np.ndarray]:
    """Return all shape measurements by name: arrays (n,) of float64, orientation in radians."""
    return {
        "perimeter": perimeters(regions),
        "equivalent_diameter": np.sqrt(4 * regions.area / np.pi),
        **ellipses(regions),
        "solidity": regions.area / hull_areas(regions),
    }


def perimeters(regions: Regions) -> np.ndarray:
    """Estimate the perimeter (n,) of each cell from the neighbourhoods of its border pixels."""
    places, width = regions.places[regions.border], regions.width[regions.index[regions.border]]
    is_border = np.zeros(len(regions.boxed), bool)
    is_border[places] = True
    neighbourhood = np.ones(len(places), np.int64)
    for y, x in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        weight = 2 if 0 in (y, x) else 10
        neighbourhood += weight * is_border[places + y * width + x]
    # Integer counts per class: the sum does not depend on the order of pixels.
    classes = 4 * regions.index[regions.border] + _LENGTH_CLASS[neighbourhood]
    counts = np.bincount(classes, minlength=4 * len(regions.ids))
    return (counts.reshape(-1, 4) * _LENGTHS).sum(axis=1)


def ellipses(regions: Regions) -> dict[str, np.ndarray]:
    """Return axes, eccentricity and orientation of the ellipse with the second moments of each cell."""
    y, x = regions.centred(regions.rows), regions.centred(regions.columns)
    yy, xx, yx = regions.mean(y * y), regions.mean(x * x), regions.mean(y * x)
    middle, radius = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    largest, smallest = middle + radius, np.maximum(middle - radius, 0)
    ratio = np.divide(smallest, largest, out=np.ones_like(largest), where=largest > 0)
    if_symmetric = np.where(yx > 0, np.pi / 4, -np.pi / 4)
    return {
        "major_axis": 4 * np.sqrt(largest),
        "minor_axis": 4 * np.sqrt(smallest),
        "eccentricity": np.sqrt(1 - ratio),
        "orientation": np.where(yy == xx, if_symmetric, 0.5 * np.arctan2(2 * yx, yy - xx)),
    }
