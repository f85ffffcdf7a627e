"""Instance metrics (AP, F1, PQ, AJI, splits, merges), from the matched rows of `scoring.matching`."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slideunet.scoring.counts import Counts, ratio
from slideunet.scoring.matching import ious, is_pair, total_of, unions
from slideunet.scoring.overlaps import Rows

TWENTIETHS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)
"""0.50, 0.55 ... 0.95 (DSB 2018, COCO)."""
IOU_STEPS = 2.0**26
"""IoUs are rounded to multiples of 2^-26: float64 adds 10^8 of these exactly, in any order."""


@dataclass(frozen=True)
class InstanceCounts(Counts):
    """Counts of one or more slides, from which the instance metrics are derived; can be added.

    Attributes
    ----------
    n_true, n_pred : int
        Ground-truth objects and predicted cells.
    tp : tuple[int, ...]
        Matches at each of `THRESHOLDS`.
    sum_iou_50 : float
        Sum of the IoUs of the matches at 0.5, each rounded to a multiple of 2^-26.
    aji_intersection, aji_union : int
        Numerator and denominator of the aggregated Jaccard index, in pixels.
    splits : int
        Over-segmentation: objects that contain more than half of each of two or more cells (Hoover et al.
        1996, IEEE TPAMI 18:673).
    merges : int
        Under-segmentation: cells that contain more than half of each of two or more objects (the splits
        needed for correction in Matula et al. 2015, PLoS ONE 10:e0144959).
    """

    n_true: int = 0
    n_pred: int = 0
    tp: tuple[int, ...] = (0,) * len(THRESHOLDS)
    sum_iou_50: float = 0.0
    aji_intersection: int = 0
    aji_union: int = 0
    splits: int = 0
    merges: int = 0

    @property
    def empty(self) -> bool:
        """Whether there are neither objects nor cells: every metric is 1."""
        return self.n_true + self.n_pred == 0

    @property
    def fp(self) -> tuple[int, ...]:
        """Cells without a match, at each threshold."""
        return tuple(self.n_pred - tp for tp in self.tp)

    @property
    def fn(self) -> tuple[int, ...]:
        """Objects without a match, at each threshold."""
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
        """All counts, and fp and fn for convenience."""
        return {**asdict(self), "fp": self.fp, "fn": self.fn}


def count_instances(rows: Rows) -> InstanceCounts:
    """Count the instances in one part of `matching.match`; the counts of all parts add up.

    A cell counts in the part with its rows, an object in the part with its best row.
    """
    best, matched = rows[rows["best"]], rows[rows["matched"]]
    _, cells = np.unique(rows["cell"], return_index=True)
    cells = cells[rows["cell"][cells] > 0]  # one row of each cell
    inside = is_pair(rows) & (2 * rows["shared"] > rows["truth_area"])
    # Kumar et al. 2017, IEEE TMI 36:1550, algorithm 1: a cell may be the best of several objects.
    unchosen = cells[total_of(rows["cell"], rows["best"])[cells] == 0]
    return InstanceCounts(
        n_true=len(best),
        n_pred=len(cells),
        tp=tuple(int(np.count_nonzero(20 * matched["shared"] >= k * unions(matched))) for k in TWENTIETHS),
        sum_iou_50=float(np.rint(ious(matched) * IOU_STEPS).sum() / IOU_STEPS),
        aji_intersection=int(best["shared"][is_pair(best)].sum()),
        aji_union=int(unions(best).sum() + rows["cell_area"][unchosen].sum()),
        splits=int(np.count_nonzero(best["pieces"] > 1)),
        merges=int(np.count_nonzero(total_of(rows["cell"], inside)[cells] > 1)),
    )
