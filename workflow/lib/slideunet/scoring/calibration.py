"""Calibration: whether a probability of 0.8 is right in 80 of 100 cases, of pixels and of cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.class_counts import objects_and_cells
from slideunet.scoring.counts import Counts
from slideunet.scoring.overlaps import Rows

LEVELS = 256
"""Probabilities are in steps of 1 / 255, as they are stored."""
BINS = 15
"""Equal widths, as in Guo et al. 2017 (ICML); each has 17 of the 255 steps, the last one 18."""


@dataclass(frozen=True)
class CalibrationCounts(Counts):
    """Probabilities and what came true.

    Attributes
    ----------
    n : tuple[int, ...]
        Pixels or cells in each of `BINS` bins of their probability.
    positive : tuple[int, ...]
        Those of them that are foreground in the truth, or cells with a match at IoU 0.5.
    probability : tuple[int, ...]
        Sum of the probabilities in each bin, in 1 / 255.
    squared_error : int
        Sum of (p - y)^2 in 1 / 255^2, where y is 1 if positive and 0 if not.
    """

    n: tuple[int, ...] = (0,) * BINS
    positive: tuple[int, ...] = (0,) * BINS
    probability: tuple[int, ...] = (0,) * BINS
    squared_error: int = 0


NOTHING_PROBABLE = CalibrationCounts()
"""Of no case."""


def histogram(probability: NDArray[np.uint8], positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the cases (n,) at each level, not positive and positive: (2, 256)."""
    everything, true = (np.bincount(part, minlength=LEVELS) for part in (probability, probability[positive]))
    return np.stack([everything - true, true])


def calibration_of(counts: NDArray[np.int64]) -> CalibrationCounts:
    """Bin a `histogram` (2, 256)."""
    level = np.arange(LEVELS)
    binned = np.minimum(level * BINS // (LEVELS - 1), BINS - 1)
    total = counts.sum(axis=0)

    def sums(values: NDArray[np.int64]) -> tuple[int, ...]:
        # float64 is exact for integers up to 2^53.
        return tuple(np.bincount(binned, values, BINS).astype(np.int64).tolist())

    error = counts[0] * level**2 + counts[1] * (level - LEVELS + 1) ** 2
    return CalibrationCounts(sums(total), sums(counts[1]), sums(total * level), int(error.sum()))


def count_cell_calibration(rows: Rows) -> CalibrationCounts:
    """Count the cells of one part of `matching.match` by their mean probability, rounded to 1 / 255."""
    _, cells = objects_and_cells(rows)
    mean = np.rint(cells["probability"] / cells["cell_area"]).astype(np.uint8)
    return calibration_of(histogram(mean, cells["matched"]))
