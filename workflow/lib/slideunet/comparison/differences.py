"""Differences of every metric between a run and the first, with intervals, and the verdict on a margin."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from slideunet.comparison.metrics import OF_SLIDES, POOLED, POOLED_PREFIX, SIGNED, sign_of
from slideunet.comparison.pairing import PairedSlide
from slideunet.comparison.runs import ComparedRun
from slideunet.errors import InputError
from slideunet.report.measures import values_of
from slideunet.scoring.derived import derived_value
from slideunet.scoring.intervals import interval_of, interval_of_mean

ROUNDING = 1e-9
"""Differences up to this are rounding: 0.89 - 0.90 is below -0.01 in floating point."""


Averaging = Literal["mean_over_slides", "pooled"]
_Numbers = tuple[int, int, float, float, float, tuple[float, float] | None]
"""Fields of a difference from `n_slides` to `interval`."""


@dataclass(frozen=True)
class Difference:
    """One metric of a run minus that of the first run, over the slides that have it in both.

    Attributes
    ----------
    run, metric : str
        Names of pooled metrics begin with "pooled_".
    averaging : {"mean_over_slides", "pooled"}
        Mean of the slides' values, or value of the sums of the slides' counts.
    n_slides, n_groups : int
    first, other : float
        The metric over these slides in the first run and in this one.
    difference : float
        `other` - `first`.
    interval : (low, high) or None
        95 % interval of the difference over groups; None with fewer than 3 groups.
    better, worse : int
        Slides on which the run is better, or worse, than the first.
    """

    run: str
    metric: str
    averaging: Averaging
    n_slides: int
    n_groups: int
    first: float
    other: float
    difference: float
    interval: tuple[float, float] | None
    better: int
    worse: int


@dataclass(frozen=True)
class Verdict:
    """Whether a run is not worse than the first by more than a margin.

    `least_gain` is the lower end of the interval of the gain, or the gain if there is no interval; gains are
    differences, with the sign changed where lower is better.
    """

    run: str
    metric: str
    margin: float
    least_gain: float
    judged_by: Literal["interval", "difference"]
    passed: bool


def metrics_of_pairs(pairs: Sequence[PairedSlide]) -> list[str]:
    """Return the names of all metrics that a slide has in any run, then of the pooled ones."""
    of_slides = dict.fromkeys(name for pair in pairs for slide in pair.slides for name in slide.values)
    return [*of_slides, *(f"{POOLED_PREFIX}{name}" for name in POOLED)]


def slide_values(pairs: Sequence[PairedSlide], metric: str, run: int) -> NDArray[np.float64]:
    """Return a metric of every slide in one run (n,), NaN where the slide lacks it.

    A metric that is best at 0 is taken absolute; a pooled one is derived from each slide's counts.
    """
    slides = [pair.slides[run] for pair in pairs]
    if metric.startswith(POOLED_PREFIX):
        measure = POOLED[metric.removeprefix(POOLED_PREFIX)]
        return np.array(values_of(measure, [slide.result for slide in slides]), dtype=float)
    values = np.array([slide.values.get(metric) for slide in slides], dtype=float)
    return np.abs(values) if SIGNED in metric.split("_") else values


def differences_of(
    pairs: Sequence[PairedSlide], runs: Sequence[ComparedRun], metrics: Sequence[str], seed: int = 0
) -> list[Difference]:
    """Compare every run after the first with the first, for every metric that is defined in both.

    The intervals resample whole groups. Both runs have the same slides in each resample (a paired bootstrap):
    its difference is that of the means of the slides' values, or that of the values of the summed counts.
    """
    found = []
    for number, run in enumerate(runs[1:], start=1):
        for metric in metrics:
            pooled = metric.startswith(POOLED_PREFIX)
            numbers = (_pooled if pooled else _of_means)(pairs, metric, number, seed)
            if numbers is not None:
                averaging: Averaging = "pooled" if pooled else "mean_over_slides"
                changes = _changes(pairs, metric, number)
                found.append(Difference(run.name, metric, averaging, *numbers, *changes))
    return found


def _of_means(pairs: Sequence[PairedSlide], metric: str, number: int, seed: int) -> _Numbers | None:
    first, other = slide_values(pairs, metric, 0), slide_values(pairs, metric, number)
    both = np.isfinite(first) & np.isfinite(other)
    if not both.any():
        return None
    groups = [pair.group for pair, has in zip(pairs, both, strict=True) if has]
    gap = (other - first)[both]
    interval = interval_of_mean(gap, groups, seed)
    means = float(first[both].mean()), float(other[both].mean())
    return len(gap), len(set(groups)), *means, float(gap.mean()), interval


def _pooled(pairs: Sequence[PairedSlide], metric: str, number: int, seed: int) -> _Numbers | None:
    measure = POOLED[metric.removeprefix(POOLED_PREFIX)]
    counts = [[measure.counts(pair.slides[run].result) for run in (0, number)] for pair in pairs]
    known = [(*a, *b) for a, b in counts if a is not None and b is not None]
    if not known:
        return None
    groups = [pair.group for pair, own in zip(pairs, counts, strict=True) if None not in own]
    half, sums = len(known[0]) // 2, np.sum(known, axis=0)
    first, other = (derived_value(measure.derive, part) for part in (sums[:half], sums[half:]))
    if first is None or other is None:
        return None

    def gap(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return measure.derive(sums[half:]) - measure.derive(sums[:half])

    interval = interval_of(gap, known, groups, seed)
    return len(known), len(set(groups)), first, other, other - first, interval


def _changes(pairs: Sequence[PairedSlide], metric: str, number: int) -> tuple[int, int]:
    """Count the slides on which a run is better, and worse."""
    gains = _gains(pairs, metric, number)
    return int((gains > ROUNDING).sum()), int((gains < -ROUNDING).sum())


def _gains(pairs: Sequence[PairedSlide], metric: str, run: int) -> NDArray[np.float64]:
    return sign_of(metric) * (slide_values(pairs, metric, run) - slide_values(pairs, metric, 0))


def check_metric(metric: str, differences: Sequence[Difference], runs: int) -> None:
    """Raise InputError if a metric is not compared in all runs after the first, with the reason."""
    if sum(difference.metric == metric for difference in differences) == runs - 1:
        return
    if metric in OF_SLIDES or metric.removeprefix(POOLED_PREFIX) in POOLED:
        raise InputError(
            f"METRIC={metric}: it is not defined in all runs. It may need a pixel size, matched cells or "
            "cells of that kind, or is no mean over slides. Choose another metric."
        )
    known = dict.fromkeys(difference.metric for difference in differences)
    near = difflib.get_close_matches(metric, known, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    means = [name for name in known if not name.startswith(POOLED_PREFIX)]
    raise InputError(
        f"METRIC={metric}: no run has this metric. {meant}The runs have {', '.join(means)} as means over "
        f"slides, and pooled metrics, as {POOLED_PREFIX}dice."
    )


def judge(difference: Difference, margin: float) -> Verdict:
    """Judge by the interval, or the difference without one, if a run is not worse by more than a margin."""
    sign = sign_of(difference.metric)
    least = min(sign * end for end in difference.interval or (difference.difference,))
    return Verdict(
        run=difference.run,
        metric=difference.metric,
        margin=margin,
        least_gain=least,
        judged_by="interval" if difference.interval else "difference",
        passed=least >= -margin - ROUNDING,
    )


def by_gain(pairs: Sequence[PairedSlide], metric: str, run: int) -> list[tuple[PairedSlide, float]]:
    """Return the slides that have a metric in both runs with their gain, the largest loss first."""
    gains = _gains(pairs, metric, run)
    known = [(pair, float(gain)) for pair, gain in zip(pairs, gains, strict=True) if np.isfinite(gain)]
    return sorted(known, key=lambda entry: (entry[1], entry[0].slide))
