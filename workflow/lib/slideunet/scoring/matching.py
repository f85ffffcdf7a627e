"""Matches between ground truth and cells, from their overlaps, in memory that does not grow with the slide.

An object and a cell match if their intersection over union (IoU) is >= 0.5, as in StarDist; the comparison is
exact, in integers. Matches are unique (Kirillov et al. 2019, Panoptic Segmentation) except for an object that
is split into two exact halves, with an IoU of 0.5 each, or two such objects in one cell. Then the lower id is
the match and the other half an error. Such halves overlap nothing else, so this is a maximum matching.

IoU needs the areas of both partners, whose pixels may be spread over many blocks. Hence three stages, with
the rows regrouped in between (`scoring.external_grouping`): areas of complete cells, the best row of each
complete object, matches of complete cells.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slideunet.scoring.external_grouping import Regroup, in_memory
from slideunet.scoring.overlaps import MATCHED, MEASURED, OVERLAP, RANKED, Rows, add_overlaps, extended
from slideunet.truth.ignore_label import IGNORE_LABEL


def match(tables: Iterable[Rows], regroup: Regroup = in_memory) -> Iterator[Rows]:
    """Match the objects and the cells of a slide one to one.

    Parameters
    ----------
    tables : iterable of Rows of OVERLAP
        From `count_overlaps`, of disjoint blocks that cover the slide.
    regroup : callable
        Groups rows by object or cell; does not change the result.

    Yields
    ------
    Rows of MATCHED
        All rows of a cell are in one part. The rows of an object may be in several parts, its `best` row is
        in one.
    """
    measured = map(_measure_cells, regroup(tables, "cell", OVERLAP))
    ranked = map(_rank_cells, regroup(measured, "truth", MEASURED))
    return map(_match, regroup(ranked, "cell", RANKED))


def match_arrays(rows: Rows) -> Rows:
    """Match the rows of a single table, as `match` does."""
    return np.concatenate([np.empty(0, MATCHED), *match([rows])])


def unions(rows: Rows) -> NDArray[np.int64]:
    """Return the pixels in the union of object and cell (n,); if one is background, the area of the other."""
    return rows["truth_area"] + rows["cell_area"] - np.where(is_pair(rows), rows["shared"], 0)


def ious(rows: Rows) -> NDArray[np.float64]:
    """Return the intersection over union of object and cell (n,); 0 if one is background."""
    return np.where(is_pair(rows), rows["shared"], 0) / np.maximum(unions(rows), 1)


def is_pair(rows: Rows) -> NDArray[np.bool_]:
    """Return whether neither the object nor the cell of a row is background (n,)."""
    return (rows["truth"] > 0) & (rows["cell"] > 0)


def total_of(ids: NDArray[np.uint32], values: ArrayLike) -> NDArray[np.int64]:
    """Sum values (n,) over the rows with the same id, and return each row's sum (n,); 0 for id 0."""
    _, index = np.unique(ids, return_inverse=True)
    # float64 is exact for integers up to 2^53, more than the pixels of any slide.
    sums = np.bincount(index, weights=np.asarray(values, np.float64)).astype(np.int64)
    return np.where(ids > 0, sums[index], 0)


def _measure_cells(rows: Rows) -> Rows:
    """Add up the rows of complete cells and measure them, without pixels of the ignore label.

    A cell with more than half of its pixels under the ignore label is removed: its other pixels become
    background.
    """
    ignored = rows["truth"] == IGNORE_LABEL
    if ignored.any():
        rows = rows.copy()
        area, ignored_area = (total_of(rows["cell"], rows["shared"] * part) for part in (1, ignored))
        rows["cell"][2 * ignored_area > area] = 0
        rows = rows[~ignored & ((rows["truth"] > 0) | (rows["cell"] > 0))]
    rows = add_overlaps([rows])
    rows["probability"] = total_of(rows["cell"], rows["probability"])
    rows["cell_crowded"] = total_of(rows["cell"], rows["cell_crowded"]) > 0
    return extended(rows, MEASURED, cell_area=total_of(rows["cell"], rows["shared"]))


def _rank_cells(rows: Rows) -> Rows:
    """Measure complete objects, count the cells inside each and select its best row.

    Ties in IoU go to the lower cell id. The best row of an object without cells is that with the background.
    """
    inside = is_pair(rows) & (2 * rows["shared"] > rows["cell_area"])
    rows = extended(
        rows,
        RANKED,
        truth_area=total_of(rows["truth"], rows["shared"]),
        pieces=total_of(rows["truth"], inside),
        best=False,
    )
    rows["truth_crowded"] = total_of(rows["truth"], rows["truth_crowded"]) > 0
    rows["best"][first_of_each(rows["truth"], rows["cell"], -ious(rows))] = True
    rows["best"] &= rows["truth"] > 0
    return rows


def _match(rows: Rows) -> Rows:
    """Match complete cells with the object that has them as best cell with IoU >= 0.5; ties: the lower id."""
    rows = extended(rows, MATCHED, matched=False)
    candidates = np.flatnonzero(rows["best"] & is_pair(rows) & (2 * rows["shared"] >= unions(rows)))
    chosen = first_of_each(rows["cell"][candidates], rows["truth"][candidates])
    rows["matched"][candidates[chosen]] = True
    return rows


def first_of_each(ids: NDArray, *keys: NDArray) -> NDArray[np.intp]:
    """Return the index of the first row of each id, ordered by the last key, then the one before."""
    order = np.lexsort((*keys, ids))
    return order[np.unique(ids[order], return_index=True)[1]]
