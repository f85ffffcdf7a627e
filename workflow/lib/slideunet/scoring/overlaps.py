"""Which true object overlaps which predicted cell, and by how many pixels: a sparse table of rows.

The table grows with the number of objects, never with the number of pixels or with the product of the
numbers of objects. Tables of disjoint blocks of one slide add up to the table of the slide.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROW = np.dtype(
    [
        ("truth", np.uint32),  # ids; 0 is the background of either image
        ("cell", np.uint32),
        ("shared", np.int64),  # pixels with this pair of ids
        ("first", np.int64),  # the first of them in raster order: row * width of the slide + column
        # From here on filled in by `slideunet.scoring.matching`.
        ("truth_area", np.int64),  # pixels; 0 for background
        ("cell_area", np.int64),
        ("pieces", np.uint32),  # cells that lie in the true object
        ("best", np.bool_),  # the row of a true object with the highest IoU: one per object
        ("matched", np.bool_),  # the two are the same object, by IoU >= 0.5
    ]
)
Rows = NDArray[np.void]
"""An array (n,) of `ROW`."""


def count_overlaps(
    truth: ArrayLike, cells: ArrayLike, origin: tuple[int, int] = (0, 0), width: int | None = None
) -> Rows:
    """Compare two label images (y, x) of the same shape; 0 is background, ids below 2^32.

    Parameters
    ----------
    truth, cells : array_like of integers, (y, x)
        A whole slide, or one block of it.
    origin : (int, int)
        Row and column of the block's first pixel in the slide.
    width : int or None
        Of the slide, in pixels; None: that of the arrays.

    Returns
    -------
    Rows
        One per pair of ids that occurs, by truth, then cell; that of both backgrounds is left out.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    truth, cells = np.asarray(truth), np.asarray(cells)
    if truth.shape != cells.shape:
        raise ValueError(f"truth has shape {truth.shape}, cells {cells.shape}; they must be equal")
    keys = ((truth.astype(np.uint64) << np.uint64(32)) | cells.astype(np.uint64)).ravel()
    # Neighbouring pixels mostly carry the same pair: runs are some 20 times fewer to sort than pixels.
    starts = np.flatnonzero(np.concatenate(([keys.size > 0], keys[1:] != keys[:-1])))
    lengths = np.diff(starts, append=keys.size)
    runs = np.zeros(len(starts), ROW)
    runs["truth"], runs["cell"] = truth.ravel()[starts], cells.ravel()[starts]
    runs["shared"] = lengths
    row, column = np.divmod(starts, max(truth.shape[1], 1))
    runs["first"] = (row + origin[0]) * (width or truth.shape[1]) + column + origin[1]
    return add_overlaps([runs[keys[starts] > 0]])


def add_overlaps(tables: Iterable[Rows]) -> Rows:
    """Add the tables of disjoint blocks of one slide (ids must mean the same object in all of them)."""
    rows = np.concatenate([np.empty(0, ROW), *tables])
    rows = rows[np.lexsort((rows["cell"], rows["truth"]))]
    changed = (np.diff(rows["truth"]) != 0) | (np.diff(rows["cell"]) != 0)
    starts = np.flatnonzero(np.concatenate(([len(rows) > 0], changed)))
    total = rows[starts]
    total["shared"] = np.add.reduceat(rows["shared"], starts)
    total["first"] = np.minimum.reduceat(rows["first"], starts)
    return total
