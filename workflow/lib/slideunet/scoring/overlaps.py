"""Overlaps of ground truth and predicted cells in pixels: a sparse contingency table with one row per pair.

The table grows with the number of objects, not with the number of pixels. Tables of disjoint blocks of a
slide add up to the table of the slide. `scoring.matching` extends the rows in three stages, each with a dtype
of its own, so that no column is read before it is filled in.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

OVERLAP = np.dtype(
    [
        ("truth", np.uint32),  # ids; 0 is the background of either image
        ("cell", np.uint32),
        ("shared", np.int64),  # pixels with this pair of ids
        ("first", np.int64),  # the first of them in raster order: row * width of the slide + column
        ("truth_crowded", np.bool_),  # whether another object, or another cell, is near (`crowding`)
        ("cell_crowded", np.bool_),
        ("probability", np.int64),  # sum over these pixels, in 1 / 255
    ]
)
"""A pair of ids in a block, a slide or a part of it."""
MEASURED = np.dtype([*OVERLAP.descr, ("cell_area", np.int64)])
"""A pair whose cell is complete. Areas are in pixels, 0 for background; probability: of the whole cell."""
RANKED = np.dtype([*MEASURED.descr, ("truth_area", np.int64), ("pieces", np.uint32), ("best", np.bool_)])
"""A pair whose object is complete. pieces: cells inside the object; best: its row with the highest IoU."""
MATCHED = np.dtype([*RANKED.descr, ("matched", np.bool_)])
"""matched: object and cell are a match, with an IoU >= 0.5."""
Rows = NDArray[np.void]
"""An array (n,) of one of these dtypes."""


def count_overlaps(
    truth: ArrayLike,
    cells: ArrayLike,
    origin: tuple[int, int] = (0, 0),
    width: int | None = None,
    probability: ArrayLike | None = None,
) -> Rows:
    """Compare two label images (y, x) of the same shape; 0 is background, ids are below 2^32.

    Parameters
    ----------
    truth, cells : array_like of integers, (y, x)
        A slide or one block of it.
    origin : (int, int)
        Row and column of the first pixel in the slide.
    width : int, optional
        Width of the slide in pixels, by default that of the arrays.
    probability : array_like of uint8, (y, x), optional
        Foreground probability times 255; 0 by default.

    Returns
    -------
    Rows of OVERLAP
        One per pair of ids, sorted by truth, then cell; without the pair of both backgrounds.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    truth, cells = np.asarray(truth), np.asarray(cells)
    if truth.shape != cells.shape:
        raise ValueError(f"truth has shape {truth.shape}, cells {cells.shape}; they must be equal")
    # Adjacent pixels mostly have the same pair: there are some 20 times fewer runs to sort than pixels.
    true, found = truth.ravel(), cells.ravel()
    changed = np.ones(true.size, bool)
    changed[1:] = (true[1:] != true[:-1]) | (found[1:] != found[:-1])
    starts = np.flatnonzero(changed)
    runs = np.zeros(len(starts), OVERLAP)
    runs["truth"], runs["cell"] = true[starts], found[starts]
    runs["shared"] = np.diff(starts, append=true.size)
    row, column = np.divmod(starts, max(truth.shape[1], 1))
    runs["first"] = (row + origin[0]) * (width or truth.shape[1]) + column + origin[1]
    if probability is not None and true.size:
        runs["probability"] = np.add.reduceat(np.asarray(probability).ravel(), starts, dtype=np.int64)
    return add_overlaps([runs[(runs["truth"] > 0) | (runs["cell"] > 0)]])


def add_overlaps(tables: Iterable[Rows]) -> Rows:
    """Add the tables of disjoint blocks of a slide, with the same ids in all of them."""
    rows = np.concatenate([np.empty(0, OVERLAP), *tables])
    rows = rows[np.lexsort((rows["cell"], rows["truth"]))]
    changed = (np.diff(rows["truth"]) != 0) | (np.diff(rows["cell"]) != 0)
    starts = np.flatnonzero(np.concatenate(([len(rows) > 0], changed)))
    total = rows[starts]
    for name in ("shared", "probability"):
        total[name] = np.add.reduceat(rows[name], starts)
    total["first"] = np.minimum.reduceat(rows["first"], starts)
    for name in ("truth_crowded", "cell_crowded"):
        total[name] = np.logical_or.reduceat(rows[name], starts)
    return total


def extended(rows: Rows, dtype: np.dtype, **columns: ArrayLike) -> Rows:
    """Return the rows with more columns, as the next stage's dtype."""
    result = np.empty(len(rows), dtype)
    for name in rows.dtype.names or ():
        result[name] = rows[name]
    for name, values in columns.items():
        result[name] = values
    return result
