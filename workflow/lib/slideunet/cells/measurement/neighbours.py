"""How many cells lie around each cell."""

import numpy as np
from scipy.spatial import KDTree

RADIUS_UM = 25.0
"""Micrometres between two centres up to which cells are neighbours: about three nuclei away."""
RADIUS_PIXELS = 50.0
"""Pixels of the working grid, where their size is not known: the same at 0.5 micrometres per pixel."""

# Centres are taken to whole 1/256 px. All arithmetic of the tree is then exact, so whether two cells at just
# this distance are neighbours does not depend on the other cells of the tree.
_PER_PIXEL = 256


def radius(mpp: float | None) -> float:
    """Return how far neighbours may be, in pixels of the working grid of this pixel size."""
    return RADIUS_PIXELS if mpp is None else RADIUS_UM / mpp


def count_neighbours(centres: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """Count the cells whose centre is at most `reach` from that of each cell, itself not counted.

    Parameters
    ----------
    centres : ndarray (n, 2) of float64
        Of the cells that are asked for, in pixels.
    others : ndarray (m, 2) of float64
        Of all other cells that may be near one.
    reach : float
        In pixels.

    Returns
    -------
    ndarray (n,) of int64
    """
    if not len(centres):
        return np.zeros(0, np.int64)
    own, rest = (np.rint(places * _PER_PIXEL) for places in (centres, others))
    origin = own.min(axis=0)
    tree = KDTree(np.concatenate([own, rest]) - origin)
    return tree.query_ball_point(own - origin, reach * _PER_PIXEL, return_length=True).astype(np.int64) - 1
