"""Confidence intervals by a cluster bootstrap: groups (patients) are resampled, not slides.

Slides of one group are similar. A bootstrap over slides would treat them as independent, and its intervals
would be too narrow (Field & Welsh 2007).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_GROUPS = 3
RESAMPLES = 2000
LEVEL = 0.95


def interval_of_mean(values: ArrayLike, groups: Sequence[str], seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean over slides (n,); see `interval_of_ratio`."""
    return interval_of_ratio(values, np.ones_like(values, np.float64), groups, seed)


def interval_of_ratio(
    numerators: ArrayLike, denominators: ArrayLike, groups: Sequence[str], seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the ratio of two sums over slides, e.g. of the pooled Dice.

    Parameters
    ----------
    numerators, denominators : array_like (n,)
        Of each slide; 0 / 0 is 1.
    groups : sequence of str, (n,)
        The group of each slide.
    seed : int
        Seed of the 2000 resamples.

    Returns
    -------
    (low, high) or None
        None for fewer than 3 groups: too few to estimate a spread.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None
    # A fifth of what a report would import, and one without truth has no interval.
    from scipy.stats import bootstrap

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
    return float(low), float(high)


def _ratio_of_sums(numerators: NDArray, denominators: NDArray, axis: int = -1) -> NDArray:
    above, below = numerators.sum(axis=axis), denominators.sum(axis=axis)
    return np.divide(above, below, out=np.ones_like(above), where=below > 0)
