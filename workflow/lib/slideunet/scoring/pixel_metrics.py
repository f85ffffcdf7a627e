"""Pixel metrics: counts of blocks, slides or groups are added without loss, ratios are derived last."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from slideunet.scoring.counts import Counts, ratio


@dataclass(frozen=True)
class PixelCounts(Counts):
    """The confusion matrix of two binary images, in pixels.

    Attributes
    ----------
    tp, fp, fn, tn : int
        Pixels that are foreground in both, in the prediction only, in the truth only, in neither.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @property
    def empty(self) -> bool:
        """Whether neither truth nor prediction has foreground: dice, iou, precision and recall are 1."""
        return self.tp + self.fp + self.fn == 0

    @property
    def accuracy(self) -> float:
        """(tp + tn) / all pixels; 1 for an image without pixels."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn, empty=True)

    @property
    def precision(self) -> float:
        """Positive predictive value, tp / (tp + fp)."""
        return ratio(self.tp, self.tp + self.fp, empty=self.empty)

    @property
    def recall(self) -> float:
        """Sensitivity, tp / (tp + fn)."""
        return ratio(self.tp, self.tp + self.fn, empty=self.empty)

    @property
    def dice(self) -> float:
        """Sørensen-Dice coefficient (Dice 1945), 2 tp / (2 tp + fp + fn)."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, empty=self.empty)

    @property
    def iou(self) -> float:
        """Intersection over union (Jaccard 1912), tp / (tp + fp + fn)."""
        return ratio(self.tp, self.tp + self.fp + self.fn, empty=self.empty)


def count_pixels(truth: ArrayLike, predicted: ArrayLike) -> PixelCounts:
    """Compare two binary images of the same shape.

    Parameters
    ----------
    truth, predicted : array_like of bool, any shape
        True is foreground.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    truth, predicted = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {predicted.shape}; they must be equal")
    tp = int(np.count_nonzero(truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return PixelCounts(tp, fp, fn, truth.size - tp - fp - fn)
