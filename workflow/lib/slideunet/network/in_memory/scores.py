"""Scores of a prediction, averaged over sources with equal weight. Without torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import foreground_cut, separate
from slideunet.scoring.instance_metrics import InstanceCounts, count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.truth.ignore_label import foreground_and_valid


@dataclass(frozen=True)
class ImageScore:
    """Counts of one or more images; they can be added.

    Attributes
    ----------
    found, true, both : int
        Foreground pixels of the prediction, of the ground truth and of both.
    cells : InstanceCounts
    """

    found: int = 0
    true: int = 0
    both: int = 0
    cells: InstanceCounts = field(default_factory=InstanceCounts)

    def __add__(self, other: "ImageScore") -> "ImageScore":
        return ImageScore(
            self.found + other.found,
            self.true + other.true,
            self.both + other.both,
            self.cells + other.cells,
        )

    @property
    def dice(self) -> float:
        """Dice of all pixels together; 1 where neither truth nor prediction has foreground."""
        return 2 * self.both / (self.found + self.true) if self.found + self.true else 1.0

    def row(self) -> dict[str, float]:
        """Return the scores for the log and `model.json`."""
        hundred = 100 / max(self.cells.n_true, 1)
        return {
            "dice": self.dice,
            "ap50": self.cells.ap[0],
            "mean_ap": self.cells.mean_ap,
            "pq": self.cells.pq,
            "divided_per_100": self.cells.splits * hundred,
            "merged_per_100": self.cells.merges * hundred,
            "true": self.cells.n_true,
            "found": self.cells.n_pred,
        }


def score_image(truth: np.ndarray, maps: Mapping[str, np.ndarray], decoding: Decoding) -> ImageScore:
    """Score the maps (y, x) uint8 of an image against its ground truth (y, x) uint32."""
    true, valid = foreground_and_valid(truth)
    found = (maps["foreground"] >= foreground_cut(decoding.threshold)) & valid
    cells = count_instances(match_arrays(count_overlaps(truth, separate(maps, decoding))))
    return ImageScore(int(found.sum()), int(true.sum()), int((found & true).sum()), cells)


def by_source(scores: Iterable[tuple[str, ImageScore]]) -> dict[str, ImageScore]:
    """Return the sum of the scores of each source."""
    sums: dict[str, ImageScore] = {}
    for source, score in scores:
        sums[source] = sums.get(source, ImageScore()) + score
    return sums


def means(sums: Mapping[str, ImageScore]) -> dict[str, float]:
    """Return the means over sources of Dice, AP@0.5 and mean AP."""
    rows = [score.row() for score in sums.values()]
    return {name: float(np.mean([row[name] for row in rows])) for name in ("dice", "ap50", "mean_ap")}
