"""Confidence intervals by a cluster bootstrap: groups (patients) are resampled, not slides.

Slides of one group are similar. A bootstrap over slides would treat them as independent, and its intervals
would be too narrow (Field & Welsh 2007).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_GROUPS = 3
RESAMPLES = 2000
LEVEL = 0.95

Derive = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Sums of counts (k, ...) to the values of a measure (...)."""


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
    return interval_of(_ratio_of_sums, np.stack([numerators, denominators], axis=-1), groups, seed)


def interval_of(
    derive: Derive, counts: ArrayLike, groups: Sequence[str], seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of anything that is derived from summed counts.

    Parameters
    ----------
    derive : callable
        Sums (k, ...) to values (...); NaN where undefined. Resamples without a value are left out.
    counts : array_like (n, k)
        Of each slide; they are summed over the slides of a resample.
    groups : sequence of str, (n,)
        The group of each slide.
    seed : int
        Seed of the 2000 resamples.

    Returns
    -------
    (low, high) or None
        None for fewer than 3 groups: too few to estimate a spread; and if no resample has a value.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None
    sums = [np.bincount(index, column) for column in np.asarray(counts, np.float64).T]
    resampled = derive(np.array(sums) @ _draws(len(names), seed))
    defined = resampled[np.isfinite(resampled)]
    if len(defined) == 0:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _draws(n_groups: int, seed: int) -> NDArray[np.float64]:
    """Return how often each resample draws each group (n_groups, 2000)."""
    drawn = np.random.default_rng(seed).integers(0, n_groups, (RESAMPLES, n_groups))
    places = drawn + np.arange(RESAMPLES)[:, None] * n_groups
    counts = np.bincount(places.ravel(), minlength=RESAMPLES * n_groups)
    return counts.reshape(RESAMPLES, n_groups).T.astype(np.float64)


def _ratio_of_sums(sums: NDArray) -> NDArray:
    return np.divide(sums[0], sums[1], out=np.ones_like(sums[0]), where=sums[1] > 0)
