"""Some of the errors of a slide, to be looked at: each is known by its id and one of its pixels."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.matching import ious, is_pair, total_of
from slideunet.scoring.overlaps import Rows

Kind = Literal["missed", "false", "split", "merged"]
KINDS: tuple[Kind, ...] = ("missed", "false", "split", "merged")
KEPT = 8
"""Of each kind and slide."""


@dataclass(frozen=True)
class Example:
    """One error.

    Attributes
    ----------
    kind : str
        "split", a true object in which several cells lie, or "merged", a cell in which several true objects
        lie (see `InstanceCounts`); else "missed", a true object without a match, or "false", a cell without
        one. Pieces of a split and parts of a merge are not called missed or false.
    id : int
        Of the true object (missed, split) or of the cell (false, merged).
    y, x : int
        Row and column of one of its pixels, in the slide's working pixels.
    iou : float
        The highest with any object of the other side.
    pieces : int
        How many lie in it; 0 or 1 where it is missed or false.
    """

    kind: Kind
    id: int
    y: int
    x: int
    iou: float
    pieces: int

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)


def draw(examples: Iterable[Example], kept: int = KEPT) -> list[Example]:
    """Keep at most `kept` examples of each kind, evenly drawn; their order does not matter."""
    ordered = sorted(examples, key=lambda example: (_shuffled(example.id), example.id))
    return [e for kind in KINDS for e in [one for one in ordered if one.kind == kind][:kept]]


def find_examples(matched: Rows, width: int, kept: int = KEPT) -> Iterator[Example]:
    """Draw at most `kept` errors of each kind from one part of `matching.match`.

    Parameters
    ----------
    matched : Rows
        Of complete cells.
    width : int
        Of the slide, in pixels.
    """
    rows, iou = matched, ious(matched)
    inside = is_pair(rows) & (2 * rows["shared"] > rows["truth_area"])
    objects = total_of(rows["cell"], inside)  # that lie in the cell
    split, merged = rows["pieces"] > 1, objects > 1
    found = total_of(rows["cell"], rows["matched"]) > 0
    in_split = total_of(rows["cell"], split & (2 * rows["shared"] > rows["cell_area"])) > 0
    best_of_cell = _best_of_cell(rows, iou)
    chosen: dict[Kind, tuple[str, NDArray[np.bool_], NDArray]] = {
        "missed": ("truth", rows["best"] & ~rows["matched"] & ~split & ~(inside & merged), rows["pieces"]),
        "false": ("cell", best_of_cell & ~found & ~merged & ~in_split, objects),
        "split": ("truth", rows["best"] & split, rows["pieces"]),
        "merged": ("cell", best_of_cell & merged, objects),
    }
    for kind, (side, which, pieces) in chosen.items():
        places = np.flatnonzero(which)
        order = np.argsort(_shuffled(rows[side][places].astype(np.uint64)))
        for place in places[order[:kept]]:
            y, x = divmod(int(rows["first"][place]), width)
            yield Example(kind, int(rows[side][place]), y, x, float(iou[place]), int(pieces[place]))


def _best_of_cell(rows: Rows, iou: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Select of every cell the row with the highest IoU; of equal ones that of the lowest true id."""
    order = np.lexsort((rows["truth"], -iou, rows["cell"]))
    _, first = np.unique(rows["cell"][order], return_index=True)
    best = np.zeros(len(rows), bool)
    best[order[first]] = True
    return best & (rows["cell"] > 0)


def _shuffled(ids: Any) -> Any:  # noqa: ANN401 (a whole number or an array of uint64)
    """Order ids as if by chance (multiplicative hashing, Knuth, TAOCP 3, 6.4): a bijection below 2^32."""
    return ids * 2654435761 % 2**32
