"""How many pixels the convex hulls of all cells have, in whole numbers.

As in `skimage.morphology.convex_hull_image`, a pixel extends half a pixel up, down, left and right (a
diamond), and the hull of a cell has the pixels whose centre lies inside it or on its edge. Coordinates are
doubled, so that all corners are whole numbers and every comparison is exact.
"""

import numpy as np

from slideunet.cells.measurement.regions import Regions


def hull_areas(regions: Regions) -> np.ndarray:
    """Count the pixels (n,) of the convex hull of each cell."""
    new = np.diff(regions.rows, prepend=-1) != 0
    new[regions.start] = True
    first = np.flatnonzero(new)
    last = np.append(first, len(new))[1:] - 1
    cell, row = regions.index[first], regions.rows[first]
    height = regions.box[:, 2] - regions.box[:, 0]
    # One hull row for each row of the box, also where the cell has no pixel.
    of = np.repeat(np.arange(len(height)), height)
    line = np.arange(len(of)) - np.repeat(np.cumsum(height) - height, height)
    left = _left_ends(cell, row, regions.columns[first], of, line)
    right = -_left_ends(cell, row, -regions.columns[last], of, line)
    return np.bincount(of, weights=right - left + 1, minlength=len(height)).astype(np.int64)


def _left_ends(
    cell: np.ndarray, row: np.ndarray, left: np.ndarray, of: np.ndarray, line: np.ndarray
) -> np.ndarray:
    """Return the first hull column of wanted rows.

    Parameters
    ----------
    cell, row, left : ndarray (r,) of int64
        The rows that have pixels, ordered by cell and row, and the first column of each.
    of, line : ndarray (w,) of int64
        Cell and row of each wanted one.
    """
    # More than twice any row, so that cell and row make one ascending number; rows begin at -1/2.
    step = 2 * int(line.max(initial=0)) + 4
    y, x = _vertices(*_diamonds(cell, row, left, step))
    wanted = of * step + 2 * line + 1
    edge = np.searchsorted(y, wanted, side="right") - 1
    dy, dx = y[edge + 1] - y[edge], x[edge + 1] - x[edge]
    # Rounded up: the first column on or behind the edge.
    return -((-(x[edge] * dy + dx * (wanted - y[edge]))) // (2 * dy))


def _diamonds(
    cell: np.ndarray, row: np.ndarray, left: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the left corners of the rows' first diamonds, one for each half row: cell, cell and row, x."""
    follows = (np.diff(cell, prepend=-1) == 0) & (np.diff(row, prepend=-1) == 1)
    above = np.where(follows, np.minimum(left, np.roll(left, 1)), left)
    # The half row between two rows is listed by the lower one.
    ends = ~np.roll(follows, -1)  # the first row follows none
    key = cell * step + 2 * row + 1
    y = np.stack([key - 1, key, key + 1], axis=1)
    x = np.stack([2 * above, 2 * left - 1, 2 * left], axis=1)
    kept = np.stack([np.ones_like(ends), np.ones_like(ends), ends], axis=1)
    return np.stack([cell] * 3, axis=1)[kept], y[kept], x[kept]


def _vertices(cell: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the corners that are no vertices of the left side of their cell's hull.

    A corner on the line between two others, or to the right of it, is no vertex, so all such can be dropped
    at once; a side that turns the same way at every corner that is left is convex.
    """
    while True:
        dy, dx = np.diff(y), np.diff(x)
        kept = np.ones(len(y), bool)
        kept[1:-1] = (dx[:-1] * dy[1:] < dx[1:] * dy[:-1]) | (cell[:-2] != cell[2:])
        if kept.all():
            return y, x
        cell, y, x = cell[kept], y[kept], x[kept]
