"""A random sample of the errors on a slide, for pictures: each with its id and the position of one pixel."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.matching import first_of_each, ious, is_pair, total_of
from slideunet.scoring.overlaps import Rows

ErrorKind = Literal["missed", "false", "split", "merged"]
KINDS: tuple[ErrorKind, ...] = ("missed", "false", "split", "merged")
PER_KIND = 8
"""Examples of each kind and slide."""


@dataclass(frozen=True)
class Example:
    """One error.

    Attributes
    ----------
    kind : str
        "split": an object with several cells inside; "merged": a cell with several objects inside (see
        `InstanceCounts`); else "missed": an object without a match; "false": a cell without a match. Pieces
        of a split and parts of a merge are neither missed nor false.
    id : int
        Of the object (missed, split) or of the cell (false, merged).
    y, x : int
        Row and column of one of its pixels, on the working grid.
    iou : float
        The highest IoU with any cell or object.
    pieces : int
        Number of cells or objects inside; 0 or 1 if missed or false.
    """

    kind: ErrorKind
    id: int
    y: int
    x: int
    iou: float
    pieces: int


def in_words(example: Example) -> str:
    """Return the highest IoU of an object, or the number of cells or objects inside it."""
    if example.kind == "split":
        return f"{example.pieces} cells in one true object"
    if example.kind == "merged":
        return f"{example.pieces} true objects in one cell"
    partner = "cell" if example.kind == "missed" else "true object"
    return f"highest IoU {example.iou:.2f}" if example.iou else f"no {partner} there"


def sample(examples: Iterable[Example], count: int = PER_KIND) -> list[Example]:
    """Choose up to `count` examples of each kind at random, independently of their order."""
    ordered = sorted(examples, key=lambda example: (_shuffled(example.id), example.id))
    return [e for kind in KINDS for e in [e for e in ordered if e.kind == kind][:count]]


def find_examples(rows: Rows, width: int, count: int = PER_KIND) -> Iterator[Example]:
    """Choose up to `count` errors of each kind from one part of `matching.match`.

    Parameters
    ----------
    rows : Rows of MATCHED
        Of complete cells.
    width : int
        Width of the slide in pixels.
    """
    iou = ious(rows)
    inside = is_pair(rows) & (2 * rows["shared"] > rows["truth_area"])
    objects = total_of(rows["cell"], inside)  # number of objects inside the cell
    split, merged = rows["pieces"] > 1, objects > 1
    matched = total_of(rows["cell"], rows["matched"]) > 0
    in_split = total_of(rows["cell"], split & (2 * rows["shared"] > rows["cell_area"])) > 0
    best_of_cell = np.zeros(len(rows), bool)
    best_of_cell[first_of_each(rows["cell"], rows["truth"], -iou)] = True
    best_of_cell &= rows["cell"] > 0
    errors: dict[ErrorKind, tuple[str, NDArray[np.bool_], NDArray]] = {
        "missed": ("truth", rows["best"] & ~rows["matched"] & ~split & ~(inside & merged), rows["pieces"]),
        "false": ("cell", best_of_cell & ~matched & ~merged & ~in_split, objects),
        "split": ("truth", rows["best"] & split, rows["pieces"]),
        "merged": ("cell", best_of_cell & merged, objects),
    }
    for kind, (column, is_error, n_inside) in errors.items():
        candidates = np.flatnonzero(is_error)
        order = np.argsort(_shuffled(rows[column][candidates].astype(np.uint64)))
        for i in candidates[order[:count]]:
            y, x = divmod(int(rows["first"][i]), width)
            yield Example(kind, int(rows[column][i]), y, x, float(iou[i]), int(n_inside[i]))


def _shuffled(ids: Any) -> Any:  # noqa: ANN401 (an int or an array of uint64)
    """Permute ids below 2^32 (multiplicative hashing, Knuth, TAOCP 3, 6.4)."""
    return ids * 2654435761 % 2**32
