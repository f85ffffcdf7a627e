"""Number of cells within a radius around each cell."""

import numpy as np
from scipy.spatial import KDTree

RADIUS_UM = 25.0
"""Largest distance between the centres of neighbours in micrometres: about three nuclei."""
RADIUS_PIXELS = 50.0
"""The same in pixels of the working grid, for slides of unknown pixel size: 25 um at 0.5 um per pixel."""

# Centres are rounded to 1/256 px, so that the tree computes exactly: whether two cells at exactly this
# distance are neighbours does not depend on the other cells in the tree.
_PER_PIXEL = 256


def radius(mpp: float | None) -> float:
    """Return the largest distance between neighbours in pixels of a working grid of this pixel size."""
    return RADIUS_PIXELS if mpp is None else RADIUS_UM / mpp


def count_neighbours(centres: np.ndarray, surrounding: np.ndarray, reach: float) -> np.ndarray:
    """Count the other cells whose centre is at most `reach` from the centre of each cell.

    Parameters
    ----------
    centres : ndarray (n, 2) of float64
        Cells whose neighbours are counted, in pixels.
    surrounding : ndarray (m, 2) of float64
        All other cells that may be within reach.
    reach : float
        In pixels.

    Returns
    -------
    ndarray (n,) of int64
    """
    if not len(centres):
        return np.zeros(0, np.int64)
    queries, rest = (np.rint(points * _PER_PIXEL) for points in (centres, surrounding))
    origin = queries.min(axis=0)
    tree = KDTree(np.concatenate([queries, rest]) - origin)
    counts = tree.query_ball_point(queries - origin, reach * _PER_PIXEL, return_length=True)
    return counts.astype(np.int64) - 1  # each cell finds itself, too
