"""Instance metrics: which cells were found, missed, invented, split or merged.

All of them come from one `Overlaps` table. A true object and a cell match at threshold t when their
intersection over union is >= t (as in StarDist; the comparison is made in integers, hence exact).
From t = 0.5 on a match is unique but for one case (Kirillov et al. 2019, Panoptic Segmentation): an
object divided into two exact halves has an IoU of 0.5 with both. Then the lower id is the match, and
the other half is a false positive (or, with the roles exchanged, a missed object). Such halves overlap
nothing else, so this rule is a maximum matching.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.overlaps import Overlaps
from slideunet.scoring.pixels import ratio

TWENTIETHS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)
"""0.50, 0.55 ... 0.95 (DSB 2018, COCO)."""


@dataclass(frozen=True)
class InstanceCounts:
    """What the instance metrics of one or more slides are derived from; addable over slides.

    Attributes
    ----------
    n_true, n_pred : int
        True objects and predicted cells.
    tp : tuple[int, ...]
        Matches at each of `THRESHOLDS`.
    sum_iou_50 : float
        Sum of the IoU of the matches at 0.5.
    aji_intersection, aji_union : int
        Numerator and denominator of the aggregated Jaccard index, in pixels.
    splits : int
        True objects in which two or more cells lie by more than half of their own area each.
    merges : int
        Cells in which two or more true objects lie by more than half of their own area each.
    """

    n_true: int = 0
    n_pred: int = 0
    tp: tuple[int, ...] = (0,) * len(THRESHOLDS)
    sum_iou_50: float = 0.0
    aji_intersection: int = 0
    aji_union: int = 0
    splits: int = 0
    merges: int = 0

    def __add__(self, other: "InstanceCounts") -> "InstanceCounts":
        sums = {name: getattr(self, name) + getattr(other, name) for name in asdict(self) if name != "tp"}
        return InstanceCounts(**sums, tp=tuple(a + b for a, b in zip(self.tp, other.tp, strict=True)))

    @property
    def empty(self) -> bool:
        """Whether there is neither an object nor a cell: every metric is 1."""
        return self.n_true + self.n_pred == 0

    @property
    def fp(self) -> tuple[int, ...]:
        """Cells without a match, at each threshold."""
        return tuple(self.n_pred - tp for tp in self.tp)

    @property
    def fn(self) -> tuple[int, ...]:
        """True objects without a match, at each threshold."""
        return tuple(self.n_true - tp for tp in self.tp)

    @property
    def ap(self) -> tuple[float, ...]:
        """Average precision as in the Data Science Bowl 2018, tp / (tp + fp + fn), at each threshold."""
        return tuple(ratio(tp, self.n_true + self.n_pred - tp, empty=self.empty) for tp in self.tp)

    @property
    def mean_ap(self) -> float:
        """Mean of `ap` over the thresholds 0.50 to 0.95."""
        return float(np.mean(self.ap))

    @property
    def f1(self) -> tuple[float, ...]:
        """2 tp / (2 tp + fp + fn), at each threshold."""
        return tuple(ratio(2 * tp, self.n_true + self.n_pred, empty=self.empty) for tp in self.tp)

    @property
    def sq(self) -> float:
        """Segmentation quality: mean IoU of the matches at 0.5 (Kirillov et al. 2019)."""
        return ratio(self.sum_iou_50, self.tp[0], empty=self.empty)

    @property
    def rq(self) -> float:
        """Recognition quality: F1 at 0.5 (Kirillov et al. 2019)."""
        return self.f1[0]

    @property
    def pq(self) -> float:
        """Panoptic quality of one class, sq * rq (Kirillov et al. 2019)."""
        return self.sq * self.rq

    @property
    def aji(self) -> float:
        """Aggregated Jaccard index (Kumar et al. 2017)."""
        return ratio(self.aji_intersection, self.aji_union, empty=self.empty)

    def to_json(self) -> dict[str, Any]:
        """Everything that was counted, with fp and fn written out for the reader."""
        return {**asdict(self), "tp": list(self.tp), "fp": list(self.fp), "fn": list(self.fn)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "InstanceCounts":
        """Read what `to_json` wrote."""
        fields = {name: values[name] for name in asdict(InstanceCounts()) if name != "tp"}
        return InstanceCounts(**fields, tp=tuple(values["tp"]))


@dataclass(frozen=True)
class Matches:
    """Matched objects at one threshold: indices into the truths and cells of a table, and their IoU, (m,)."""

    truth: NDArray[np.int64]
    cell: NDArray[np.int64]
    iou: NDArray[np.float64]


def match(overlaps: Overlaps, twentieths: int = 10) -> Matches:
    """Match truths and cells one to one where intersection / union >= twentieths / 20.

    Parameters
    ----------
    overlaps : Overlaps
    twentieths : int
        The threshold times 20, from 10 (IoU 0.5) to 20 (identical).
    """
    pairs, unions = overlaps.pairs, overlaps.unions
    candidates = np.flatnonzero(20 * pairs.shared >= twentieths * unions)
    for side in (pairs.truth, pairs.cell):  # ties of exact halves: the lower id stays
        _, first = np.unique(side[candidates], return_index=True)
        candidates = candidates[np.sort(first)]
    return Matches(
        pairs.truth[candidates], pairs.cell[candidates], pairs.shared[candidates] / unions[candidates]
    )


def count_instances(overlaps: Overlaps) -> InstanceCounts:
    """Count what all instance metrics of one slide are derived from."""
    at_half = match(overlaps)
    intersection, union = _aggregate_jaccard(overlaps)
    pairs = overlaps.pairs
    inside_truth = 2 * pairs.shared > overlaps.cells.areas[pairs.cell]
    inside_cell = 2 * pairs.shared > overlaps.truths.areas[pairs.truth]
    return InstanceCounts(
        n_true=len(overlaps.truths),
        n_pred=len(overlaps.cells),
        tp=tuple(len(match(overlaps, k).iou) for k in TWENTIETHS),
        sum_iou_50=float(at_half.iou.sum()),
        aji_intersection=intersection,
        aji_union=union,
        splits=int(np.count_nonzero(np.bincount(pairs.truth[inside_truth]) > 1)),
        merges=int(np.count_nonzero(np.bincount(pairs.cell[inside_cell]) > 1)),
    )


def _aggregate_jaccard(overlaps: Overlaps) -> tuple[int, int]:
    """Sum intersections and unions of every truth with its best cell, and add what nobody chose.

    Kumar et al. 2017, IEEE TMI 36:1550, algorithm 1: a cell may be the best of several truths; of equal
    IoUs the cell with the lowest id counts.
    """
    pairs, unions = overlaps.pairs, overlaps.unions
    by_truth_then_iou = np.lexsort((pairs.cell, -pairs.shared / unions, pairs.truth))
    _, first = np.unique(pairs.truth[by_truth_then_iou], return_index=True)
    best = by_truth_then_iou[first]
    untouched = np.delete(overlaps.truths.areas, pairs.truth[best])
    unchosen = np.delete(overlaps.cells.areas, pairs.cell[best])
    return int(pairs.shared[best].sum()), int(unions[best].sum() + untouched.sum() + unchosen.sum())
