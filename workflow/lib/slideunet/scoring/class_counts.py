"""Recall and precision at IoU 0.5 of classes of objects and cells: by size, and lone against crowded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.counts import Counts
from slideunet.scoring.matching import first_of_each
from slideunet.scoring.overlaps import Rows

SIZE_CLASSES = 21
"""Class k has areas of 2^k to 2^(k+1) - 1 pixels; the last one everything from 2^20 px on."""
CROWDING = ("lone", "crowded")


@dataclass(frozen=True)
class ClassCounts(Counts):
    """Objects and cells of each class (k,); the class of a match may differ between its object and its cell.

    Attributes
    ----------
    n_true, found : tuple[int, ...]
        Ground-truth objects, and those of them with a match at IoU 0.5.
    n_pred, correct : tuple[int, ...]
        Predicted cells, and those of them with a match.
    """

    n_true: tuple[int, ...] = ()
    found: tuple[int, ...] = ()
    n_pred: tuple[int, ...] = ()
    correct: tuple[int, ...] = ()

    @staticmethod
    def zeros(n_classes: int) -> "ClassCounts":
        """Return counts of nothing."""
        return ClassCounts(*[(0,) * n_classes] * 4)


NO_SIZES, NO_CROWDING = ClassCounts.zeros(SIZE_CLASSES), ClassCounts.zeros(len(CROWDING))


def count_sizes(rows: Rows) -> ClassCounts:
    """Count by the area of the object (found or missed) and of the cell (correct or false).

    Parameters
    ----------
    rows : Rows of MATCHED
        One part of `matching.match`; the counts of all parts add up.
    """
    objects, cells = objects_and_cells(rows)
    of_object, of_cell = size_class(objects["truth_area"]), size_class(cells["cell_area"])
    return _count(objects, cells, of_object, of_cell, SIZE_CLASSES)


def count_crowding(rows: Rows) -> ClassCounts:
    """Count objects near another object or not, and cells near another cell or not; as `count_sizes`."""
    objects, cells = objects_and_cells(rows)
    of_object, of_cell = objects["truth_crowded"].astype(int), cells["cell_crowded"].astype(int)
    return _count(objects, cells, of_object, of_cell, len(CROWDING))


def size_class(area: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the class (n,) of areas in pixels (n,), each at least 1: the rounded-down binary logarithm."""
    # The exponent of a float is exact, unlike its logarithm.
    return np.minimum(np.frexp(area)[1] - 1, SIZE_CLASSES - 1)


def objects_and_cells(rows: Rows) -> tuple[Rows, Rows]:
    """Return one row of each object and one of each cell, where `matched` says whether it has a match."""
    objects = rows[rows["best"]]
    cells = rows[first_of_each(rows["cell"], ~rows["matched"])]
    return objects, cells[cells["cell"] > 0]


def _count(objects: Rows, cells: Rows, of_object: NDArray, of_cell: NDArray, n_classes: int) -> ClassCounts:
    def sums(classes: NDArray, chosen: NDArray | slice = slice(None)) -> tuple[int, ...]:
        return tuple(np.bincount(classes[chosen], minlength=n_classes).tolist())

    return ClassCounts(
        sums(of_object), sums(of_object, objects["matched"]), sums(of_cell), sums(of_cell, cells["matched"])
    )
