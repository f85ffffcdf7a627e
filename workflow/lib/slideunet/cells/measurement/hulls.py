"""Pixel counts of the convex hulls of all cells, computed for all cells at once in whole numbers.

As in `skimage.morphology.convex_hull_image`, a pixel is a diamond with its corners half a pixel from its
centre, and the hull contains the pixels whose centre is inside or on its edge. In half rows and half columns
all corners are whole numbers, so every comparison is exact:

    half row 0      .        corner above the pixel of row 0
    half row 1    < # >      centre of row 0, with the left and the right corner
    half row 2      .        corner below row 0, and above row 1: the outer one of the two counts
    half row 3    < # >      centre of row 1
    half row 4      .

A cell of h rows has 2 h + 1 half rows. Half rows are numbered through all cells, cell by cell.
"""

import numpy as np

from slideunet.cells.measurement.regions import Regions

_EMPTY = np.iinfo(np.int64).max  # half row of a cell without a corner


def hull_areas(regions: Regions) -> np.ndarray:
    """Count the pixels (n,) of the convex hull of each cell."""
    is_first = np.diff(regions.rows, prepend=-1) != 0
    is_first[regions.start] = True
    first = np.flatnonzero(is_first)  # the first pixel of each row of each cell
    last = np.append(first, len(is_first))[1:] - 1
    size = 2 * (regions.box[:, 2] - regions.box[:, 0]) + 1
    start = np.cumsum(size) - size
    cell = np.repeat(np.arange(len(size)), size)
    centre = start[regions.index[first]] + 2 * regions.rows[first] + 1
    # One hull row for each row of the box, also where the cell itself has no pixel.
    hull_row = np.flatnonzero((np.arange(len(cell)) - start[cell]) % 2)
    left = _left_columns(centre, regions.columns[first], cell, hull_row)
    right = -_left_columns(centre, -regions.columns[last], cell, hull_row)
    width = right - left + 1
    return np.bincount(cell[hull_row], weights=width, minlength=len(size)).astype(np.int64)


def _left_columns(
    centre: np.ndarray, column: np.ndarray, cell: np.ndarray, hull_row: np.ndarray
) -> np.ndarray:
    """Return the first column of the hull in each row.

    Parameters
    ----------
    centre, column : ndarray (r,) of int64
        Half row of the centre, and first column, of each row that has pixels.
    cell : ndarray (half rows,) of int64
    hull_row : ndarray (k,) of int64
        Half rows whose hull column is returned.
    """
    left = np.full(len(cell), _EMPTY)
    left[centre] = 2 * column - 1
    for half_row in (centre - 1, centre + 1):
        left[half_row] = np.minimum(left[half_row], 2 * column)
    y = np.flatnonzero(left != _EMPTY)
    y, x = _vertices(cell[y], y, left[y])
    edge = np.searchsorted(y, hull_row, side="right") - 1
    dy, dx = y[edge + 1] - y[edge], x[edge + 1] - x[edge]
    # Rounded up to a whole column: the first one on the edge or to the right of it.
    return -((-(x[edge] * dy + dx * (hull_row - y[edge]))) // (2 * dy))


def _vertices(cell: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop corners that are not vertices of the left chain of their cell's hull.

    A corner on or to the right of the line between its two neighbours is no vertex, so all such corners can
    be dropped at once; a chain that turns the same way at all remaining corners is convex.
    """
    while True:
        dy, dx = np.diff(y), np.diff(x)
        convex = np.ones(len(y), bool)
        convex[1:-1] = (dx[:-1] * dy[1:] < dx[1:] * dy[:-1]) | (cell[:-2] != cell[2:])
        if convex.all():
            return y, x
        cell, y, x = cell[convex], y[convex], x[convex]
