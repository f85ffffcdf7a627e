"""Differences of every metric between a run and the first, with intervals, and the verdict on a margin."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from slideunet.comparison.pairing import PairedSlide
from slideunet.comparison.runs import ComparedRun
from slideunet.errors import InputError
from slideunet.scoring.intervals import interval_of_mean

BASELINE = "otsu_"
"""Metrics of a threshold on the same images and ground truth: no run changes them."""
LOWER_IS_BETTER = (
    "hd95", "hausdorff", "distance", "error", "ece", "brier", "false", "fp", "fn", "splits", "merges",
)  # fmt: skip
"""Words of the names of metrics that are better when they are lower; all others are better when higher."""
SIGNED = "error"
"""Word of the names of metrics that are best at 0, as `count_error`: their absolute value is compared."""
ROUNDING = 1e-9
"""Differences up to this are rounding: 0.89 - 0.90 is below -0.01 in floating point."""


@dataclass(frozen=True)
class Difference:
    """One metric of a run minus that of the first run, over the slides that have it in both.

    Attributes
    ----------
    run, metric : str
    n_slides, n_groups : int
    first, other : float
        Means over these slides.
    difference : float
        `other` - `first`.
    interval : (low, high) or None
        95 % interval of the difference over groups; None with fewer than 3 groups.
    better, worse : int
        Slides on which the run is better, or worse, than the first.
    """

    run: str
    metric: str
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

    `least_gain` is the lower end of the interval of the gain, or the mean gain if there is no interval; gains
    are differences, with the sign changed where lower is better.
    """

    run: str
    metric: str
    margin: float
    least_gain: float
    judged_by: Literal["interval", "mean"]
    passed: bool


def sign_of(metric: str) -> int:
    """Return 1 for a metric that is better when higher, -1 for one that is better when lower."""
    return -1 if set(metric.split("_")) & set(LOWER_IS_BETTER) else 1


def compared_metrics(pairs: Sequence[PairedSlide]) -> tuple[list[str], dict[str, list[int]]]:
    """Return the metrics that all runs have, and of all others the numbers of the runs that lack them."""
    n_runs = len(pairs[0].slides)
    names = [{name: None for pair in pairs for name in pair.slides[run].values} for run in range(n_runs)]
    every = dict.fromkeys(name for known in names for name in known if not name.startswith(BASELINE))
    lacking = {name: [run for run in range(n_runs) if name not in names[run]] for name in every}
    return [name for name in every if not lacking[name]], {n: runs for n, runs in lacking.items() if runs}


def check_metric(metric: str, known: Sequence[str], lacking: Mapping[str, Sequence[int]]) -> None:
    """Raise InputError if a metric cannot be compared, with the reason."""
    if metric in known:
        return
    if metric in lacking:
        runs = " and ".join(chr(ord("A") + number) for number in lacking[metric])
        raise InputError(
            f"METRIC={metric}: the scores of run {runs} lack it. An older version of slideunet wrote them: "
            "run this version of the workflow in that folder, or choose another metric."
        )
    near = difflib.get_close_matches(metric, known, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        f"METRIC={metric}: no run has this metric. {meant}The runs have {', '.join(known) or 'none'}."
    )


def paired_values(pairs: Sequence[PairedSlide], metric: str, run: int) -> np.ndarray:
    """Return a metric of every slide in one run (n,), NaN where the slide lacks it.

    Of a metric that is best at 0 it is the absolute value.
    """
    values = np.array([pair.slides[run].values.get(metric, np.nan) for pair in pairs], dtype=float)
    return np.abs(values) if SIGNED in metric.split("_") else values


def differences_of(
    pairs: Sequence[PairedSlide], runs: Sequence[ComparedRun], metrics: Sequence[str], seed: int = 0
) -> list[Difference]:
    """Compare every run after the first with the first, for every metric.

    The interval is that of the mean of the slides' differences, with whole groups resampled: a paired
    bootstrap, in which both runs always have the same slides.
    """
    groups = np.array([pair.group for pair in pairs])
    found = []
    for number, run in enumerate(runs[1:], start=1):
        for metric in metrics:
            first, other = paired_values(pairs, metric, 0), paired_values(pairs, metric, number)
            both = np.isfinite(first) & np.isfinite(other)
            if not both.any():
                continue
            gap = (other - first)[both]
            gain = sign_of(metric) * gap
            found.append(
                Difference(
                    run=run.name,
                    metric=metric,
                    n_slides=int(both.sum()),
                    n_groups=len(set(groups[both])),
                    first=float(first[both].mean()),
                    other=float(other[both].mean()),
                    difference=float(gap.mean()),
                    interval=interval_of_mean(gap, groups[both].tolist(), seed),
                    better=int((gain > ROUNDING).sum()),
                    worse=int((gain < -ROUNDING).sum()),
                )
            )
    return found


def judge(difference: Difference, margin: float) -> Verdict:
    """Judge whether a run is not worse by more than a margin: by the interval, or by the mean without one."""
    sign = sign_of(difference.metric)
    least = min(sign * end for end in difference.interval or (difference.difference,))
    return Verdict(
        run=difference.run,
        metric=difference.metric,
        margin=margin,
        least_gain=least,
        judged_by="interval" if difference.interval else "mean",
        passed=least >= -margin - ROUNDING,
    )


def by_gain(pairs: Sequence[PairedSlide], metric: str, run: int) -> list[tuple[PairedSlide, float]]:
    """Return the slides that have a metric in both runs with their gain, the largest loss first."""
    gains = sign_of(metric) * (paired_values(pairs, metric, run) - paired_values(pairs, metric, 0))
    known = [(pair, float(gain)) for pair, gain in zip(pairs, gains, strict=True) if np.isfinite(gain)]
    return sorted(known, key=lambda entry: (entry[1], entry[0].slide))


def seeds_of(runs: Sequence[ComparedRun], split: str) -> list[dict[str, Any]]:
    """Compare networks that were trained with several seeds.

    Returns
    -------
    list of dict
        For each measure that a run has of several seeds: "measure"; "runs", by the name of the run the
        "seeds" (seed to value), their "mean" and sample standard "deviation", and "joined", the value of the
        ensemble; "differences", by the name of each later run the "difference" of the means from the first
        run and its 95 % "interval" over seeds (Welch 1947), where both runs have at least two.
    """
    rows = [(run.name, row) for run in runs for row in run.summary.get("seeds", ()) if row["split"] == split]
    found = []
    for measure in dict.fromkeys(row["measure"] for _, row in rows):
        own = {name: row for name, row in rows if row["measure"] == measure}
        first = own.get(runs[0].name)
        differences = {name: _between(first, row) for name, row in own.items() if first and row is not first}
        kept = ("seeds", "mean", "deviation", "joined")
        spreads = {name: {key: row[key] for key in kept} for name, row in own.items()}
        found.append({"measure": measure, "runs": spreads, "differences": differences})
    return found


def _between(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    from scipy.stats import ttest_ind

    a, b = list(first["seeds"].values()), list(other["seeds"].values())
    interval = None
    # Equal values of all seeds have no spread to estimate.
    if min(len(a), len(b)) > 1 and np.ptp(a) + np.ptp(b) > 0:
        low, high = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        interval = (float(low), float(high))
    return {"difference": float(np.mean(b) - np.mean(a)), "interval": interval}
