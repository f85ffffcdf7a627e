"""Confidence intervals by a cluster bootstrap: groups (patients) are resampled, not slides.

Slides of one group are similar. A bootstrap over slides would treat them as independent, and its intervals
would be too narrow (Field & Welsh 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

from slideunet.scoring.pixel_metrics import PixelCounts

FEWEST_GROUPS = 3
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A percentile confidence interval and the number of groups behind it."""

    low: float
    high: float
    n_groups: int


def interval_of_mean(values: ArrayLike, groups: Sequence[str], *, seed: int = 0) -> Interval | None:
    """Return the 95 % interval of the mean of a metric over slides.

    Parameters
    ----------
    values : array_like of float, (n,)
        The metric of each slide.
    groups : sequence of str, (n,)
        The group of each slide.
    seed : int
        Seed of the 2000 resamples.

    Returns
    -------
    Interval or None
        None for fewer than 3 groups: too few to estimate a spread.
    """
    values = np.asarray(values, dtype=np.float64)
    return _interval_of_ratio(values, np.ones_like(values), groups, seed=seed)


def interval_of_pooled_dice(
    counts: Sequence[PixelCounts], groups: Sequence[str], *, seed: int = 0
) -> Interval | None:
    """Return the 95 % interval of the Dice of all pixels together; None for fewer than 3 groups."""
    numerators = np.array([2.0 * count.tp for count in counts])
    denominators = np.array([2.0 * count.tp + count.fp + count.fn for count in counts])
    return _interval_of_ratio(numerators, denominators, groups, seed=seed)


def _interval_of_ratio(
    numerators: NDArray, denominators: NDArray, groups: Sequence[str], *, seed: int
) -> Interval | None:
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None
    result = bootstrap(
        (np.bincount(index, numerators), np.bincount(index, denominators)),
        _ratio_of_sums,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=seed,
    )
    low, high = result.confidence_interval
    return Interval(float(low), float(high), len(names))


def _ratio_of_sums(numerators: NDArray, denominators: NDArray, axis: int = -1) -> NDArray:
    above, below = numerators.sum(axis=axis), denominators.sum(axis=axis)
    return np.divide(above, below, out=np.ones_like(above), where=below > 0)  # empty against empty is 1
