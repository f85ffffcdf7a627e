"""Measures derived from sums of counts (k, ...), as `intervals.Derive` has it; NaN where undefined."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slideunet.scoring.calibration import BINS, LEVELS
from slideunet.scoring.intervals import Derive


def divided(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first count over the second; NaN where that is 0."""
    return np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)


def average_precision(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return TP / (TP + FP + FN) of TP and the number of objects and cells; 1 where there are none."""
    tp, both = sums
    return np.divide(tp, both - tp, out=np.ones_like(tp), where=both > 0)


def calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected calibration error of positives (15), probabilities (15) and number: (31, ...)."""
    gaps = np.abs(sums[:BINS] - sums[BINS:-1] / (LEVELS - 1)).sum(axis=0)
    return divided(np.stack([gaps, sums[-1]]))


def f1_of_fractions(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harmonic mean of two fractions, (part, whole, part, whole); NaN if a whole is 0."""
    recall, precision = divided(sums[:2]), divided(sums[2:])
    both = recall + precision
    return np.divide(2 * recall * precision, both, out=np.zeros_like(both) * both, where=both > 0)


def derived_value(derive: Derive, sums: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Return the value of one vector of sums (k,); None where undefined."""
    value = float(derive(np.asarray(sums, np.float64)[:, None])[0])
    return value if np.isfinite(value) else None
