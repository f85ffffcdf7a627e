"""From overlaps to matches: which cell is which true object, in memory that does not grow with the slide.

A true object and a cell match when their intersection over union is >= 0.5 (as in StarDist; the comparison
is made in integers, hence exact). Such a match is unique but for one case (Kirillov et al. 2019, Panoptic
Segmentation): an object divided into two exact halves has an IoU of 0.5 with both. Then the lower id is the
match, and the other half is a false positive (or, with the roles exchanged, a missed object). Such halves
overlap nothing else, so this rule is a maximum matching.

Who matches whom needs the areas of both, which may be spread over many blocks. Three steps, each of which
needs all rows of some objects and no other row: areas of cells, choices of true objects, matches of cells.
Between the steps the rows are grouped anew, by cell or by true object (`scoring.external_grouping`).
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slideunet.scoring.external_grouping import Deal, in_memory
from slideunet.scoring.overlaps import Rows, add_overlaps
from slideunet.truth.ignore_label import IGNORE_LABEL


def match(tables: Iterable[Rows], deal: Deal = in_memory) -> Iterator[Rows]:
    """Match the true objects and the cells of a slide, one to one.

    Parameters
    ----------
    tables : iterable of Rows
        Of disjoint blocks that cover the slide, from `count_overlaps`.
    deal : callable
        How rows of many blocks are brought together; the result does not depend on it.

    Yields
    ------
    Rows
        Complete rows, those of a cell together, in parts that have no cell in common. The rows of a true
        object may be in several parts; the one that is `best` is in one.
    """
    measured = map(_measure_cells, deal(tables, "cell"))
    chosen = map(_choose, deal(measured, "truth"))
    return map(_match, deal(chosen, "cell"))


def match_arrays(rows: Rows) -> Rows:
    """Match what is in one table: all parts of `match` together."""
    return np.concatenate([rows[:0], *match([rows])])


def unions(rows: Rows) -> NDArray[np.int64]:
    """Pixels in the union of true object and cell (n,); the area of the one where the other is background."""
    return rows["truth_area"] + rows["cell_area"] - np.where(is_pair(rows), rows["shared"], 0)


def ious(rows: Rows) -> NDArray[np.float64]:
    """Intersection over union of true object and cell (n,); 0 where one of them is background."""
    return np.where(is_pair(rows), rows["shared"], 0) / np.maximum(unions(rows), 1)


def is_pair(rows: Rows) -> NDArray[np.bool_]:
    """Whether a row is about a true object and a cell, not about what lies on background (n,)."""
    return (rows["truth"] > 0) & (rows["cell"] > 0)


def total_of(ids: NDArray[np.uint32], values: ArrayLike) -> NDArray[np.int64]:
    """Sum values (n,) over the rows of the same id and give each row its sum (n,); 0 for the id 0."""
    _, index = np.unique(ids, return_inverse=True)
    # float64 holds whole numbers exactly up to 2^53, more pixels than any slide has.
    sums = np.bincount(index, weights=np.asarray(values, np.float64)).astype(np.int64)
    return np.where(ids > 0, sums[index], 0)


def _measure_cells(rows: Rows) -> Rows:
    """Add up the rows of complete cells and fill in `cell_area`, without ignored pixels.

    A cell of which more than half is ignored is no cell here: what it shares with true objects, it leaves
    to the background.
    """
    ignored = rows["truth"] == IGNORE_LABEL
    if ignored.any():
        area, unknown = (total_of(rows["cell"], rows["shared"] * part) for part in (1, ignored))
        rows["cell"][2 * unknown > area] = 0
        rows = rows[~ignored & ((rows["truth"] > 0) | (rows["cell"] > 0))]
    rows = add_overlaps([rows])
    rows["cell_area"] = total_of(rows["cell"], rows["shared"])
    return rows


def _choose(rows: Rows) -> Rows:
    """Fill in what is known of complete true objects: `truth_area`, `pieces` and the `best` row.

    Of equal IoUs the cell with the lowest id is the best. An object without any cell has its row with the
    background, whose IoU is 0, as the best.
    """
    rows["truth_area"] = total_of(rows["truth"], rows["shared"])
    rows["pieces"] = total_of(rows["truth"], is_pair(rows) & (2 * rows["shared"] > rows["cell_area"]))
    order = np.lexsort((rows["cell"], -ious(rows), rows["truth"]))
    _, first = np.unique(rows["truth"][order], return_index=True)
    rows["best"][order[first]] = True
    rows["best"] &= rows["truth"] > 0
    return rows


def _match(rows: Rows) -> Rows:
    """Fill in `matched` of complete cells: of the objects that chose a cell by IoU >= 0.5 the lowest id."""
    wanted = np.flatnonzero(rows["best"] & is_pair(rows) & (2 * rows["shared"] >= unions(rows)))
    wanted = wanted[np.argsort(rows["truth"][wanted])]
    _, first = np.unique(rows["cell"][wanted], return_index=True)
    rows["matched"][wanted[first]] = True
    return rows
