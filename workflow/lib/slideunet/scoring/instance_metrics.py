"""Instance metrics: which cells were found, missed, invented, split or merged.

All of them come from the matched rows of `slideunet.scoring.matching`, part by part.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slideunet.scoring.matching import ious, is_pair, total_of, unions
from slideunet.scoring.overlaps import Rows
from slideunet.scoring.pixel_metrics import ratio

TWENTIETHS = tuple(range(10, 20))
THRESHOLDS = tuple(k / 20 for k in TWENTIETHS)
"""0.50, 0.55 ... 0.95 (DSB 2018, COCO)."""
IOU_STEPS = 2.0**26
"""IoUs are rounded to multiples of 2^-26: float64 adds 10^8 such without error, in whatever order."""


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
        Sum of the IoU of the matches at 0.5, each rounded to a multiple of 2^-26.
    aji_intersection, aji_union : int
        Numerator and denominator of the aggregated Jaccard index, in pixels.
    splits : int
        True objects in which two or more cells lie by more than half of their own area each
        (over-segmentation, Hoover et al. 1996, IEEE TPAMI 18:673).
    merges : int
        Cells in which two or more true objects lie by more than half of their own area each
        (under-segmentation; what Matula et al. 2015, PLoS ONE 10:e0144959, count as splits to be made).
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


def count_instances(matched: Rows) -> InstanceCounts:
    """Count what all instance metrics are derived from, in one part of `matching.match`; parts add up.

    Every cell counts in the part that it is in, every true object in the part that its best row is in.
    """
    rows = matched
    best, found = rows[rows["best"]], rows[rows["matched"]]
    _, lead = np.unique(rows["cell"], return_index=True)
    lead = lead[rows["cell"][lead] > 0]  # one row of every cell
    inside = is_pair(rows) & (2 * rows["shared"] > rows["truth_area"])
    # Kumar et al. 2017, IEEE TMI 36:1550, algorithm 1: a cell may be the best of several objects.
    unchosen = lead[total_of(rows["cell"], rows["best"])[lead] == 0]
    return InstanceCounts(
        n_true=len(best),
        n_pred=len(lead),
        tp=tuple(int(np.count_nonzero(20 * found["shared"] >= k * unions(found))) for k in TWENTIETHS),
        sum_iou_50=float(np.rint(ious(found) * IOU_STEPS).sum() / IOU_STEPS),
        aji_intersection=int(best["shared"][is_pair(best)].sum()),
        aji_union=int(unions(best).sum() + rows["cell_area"][unchosen].sum()),
        splits=int(np.count_nonzero(best["pieces"] > 1)),
        merges=int(np.count_nonzero(total_of(rows["cell"], inside)[lead] > 1)),
    )
