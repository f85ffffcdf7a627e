"""Measures beyond those of `Score.values`: each pooled, and as the mean over slides, with its intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from slideunet.report.results import SlideResult
from slideunet.scoring.boundaries import CLASSES
from slideunet.scoring.calibration import BINS, LEVELS
from slideunet.scoring.class_counts import CROWDING, SIZE_CLASSES
from slideunet.scoring.derived import (
    average_precision,
    calibration_error,
    derived_value,
    divided,
    f1_of_fractions,
)
from slideunet.scoring.instance_metrics import THRESHOLDS
from slideunet.scoring.intervals import Derive, interval_of, interval_of_mean
from slideunet.scoring.score_slide import Score


@dataclass(frozen=True)
class Measure:
    """A measure that is derived from counts.

    Attributes
    ----------
    label : str
        As printed.
    counts : callable
        The counts (k,) of a scored slide, which can be added; None where the slide does not say.
    derive : callable
        The measure of such counts or of their sums; NaN where undefined.
    """

    label: str
    counts: Callable[[SlideResult], Sequence[float] | None]
    derive: Derive = divided


def _of_score(counts: Callable[[Score], Sequence[float]]) -> Callable[[SlideResult], Sequence[float] | None]:
    return lambda result: counts(result.score) if result.score else None


def _recall(part: str, k: int) -> Callable[[SlideResult], Sequence[float] | None]:
    return _of_score(lambda score: (getattr(score, part).found[k], getattr(score, part).n_true[k]))


def _precision(part: str, k: int) -> Callable[[SlideResult], Sequence[float] | None]:
    return _of_score(lambda score: (getattr(score, part).correct[k], getattr(score, part).n_pred[k]))


def area_mm2(result: SlideResult) -> float | None:
    """Return the area that was scored, without ignored pixels, in mm2; None without a pixel size."""
    mpp = (result.facts or {}).get("mpp")
    if result.score is None or not mpp:
        return None
    pixel = result.score.pixel
    return float((pixel.tp + pixel.fp + pixel.fn + pixel.tn) * mpp**2 / 1e6)


def common_pixel_size(results: Sequence[SlideResult]) -> float | None:
    """Return the micrometres per working pixel of all slides; None if they differ or are unknown."""
    sizes = {(result.facts or {}).get("mpp") for result in results}
    return sizes.pop() if len(sizes) == 1 else None


def _false_per_area(result: SlideResult) -> Sequence[float] | None:
    area = area_mm2(result)
    return None if area is None or result.score is None else (result.score.instances.fp[0], area)


def _brier(part: str) -> Callable[[SlideResult], Sequence[float] | None]:
    unit = (LEVELS - 1) ** 2
    return _of_score(lambda s: (getattr(s, part).squared_error, sum(getattr(s, part).n) * unit))


def _bins(part: str) -> Callable[[SlideResult], Sequence[float] | None]:
    def counts(score: Score) -> Sequence[float]:
        bins = getattr(score, part)
        return (*bins.positive, *bins.probability, sum(bins.n))

    return _of_score(counts)


_distance = _of_score(lambda score: (score.boundaries.sum_hd95, score.boundaries.n))


def _distance_um(result: SlideResult) -> Sequence[float] | None:
    mpp, counts = (result.facts or {}).get("mpp"), _distance(result)
    return (counts[0] * mpp, counts[1]) if mpp and counts else None


def _outlines(result: SlideResult) -> Sequence[float] | None:
    b = result.score.boundaries if result.score else None
    return (b.true_near, b.true_outline, b.cell_near, b.cell_outline) if b else None


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        **{
            f"recall_{kind}": Measure(f"Recall of {kind} objects", _recall("crowding", k))
            for k, kind in enumerate(CROWDING)
        },
        **{
            f"precision_{kind}": Measure(f"Precision of {kind} cells", _precision("crowding", k))
            for k, kind in enumerate(CROWDING)
        },
        "false_per_mm2": Measure("False cells per mm²", _false_per_area),
        "foreground_ece": Measure("Calibration error of pixels", _bins("calibration"), calibration_error),
        "foreground_brier": Measure("Brier score of pixels", _brier("calibration")),
        "cell_ece": Measure("Calibration error of cells", _bins("cell_calibration"), calibration_error),
        "cell_brier": Measure("Brier score of cells", _brier("cell_calibration")),
        "hd95_px": Measure("95 % Hausdorff distance of matched cells, px", _distance),
        "hd95_um": Measure("95 % Hausdorff distance of matched cells, µm", _distance_um),
        "cell_boundary_f1": Measure(
            "Boundary F1 of matched cells", _of_score(lambda s: (s.boundaries.sum_f1, s.boundaries.n))
        ),
        "boundary_f1": Measure("Boundary F1 of all outlines", _outlines, f1_of_fractions),
    }
)
"""By their names in metrics.csv and summary.json."""


def values_of(measure: Measure, results: Sequence[SlideResult]) -> list[float | None]:
    """Return the value of every slide; None where it is undefined or unknown."""
    return [None if (c := measure.counts(r)) is None else derived_value(measure.derive, c) for r in results]


def summary_of_measure(measure: Measure, results: Sequence[SlideResult], seed: int = 0) -> dict[str, Any]:
    """Summarise a measure of scored slides.

    Returns
    -------
    dict
        "pooled" and "pooled_interval": of the counts of all slides that have them; "mean_over_slides" and
        "mean_over_slides_interval": of the "n_slides" slides whose own value is defined. None if undefined.
    """
    values = values_of(measure, results)
    defined = [(v, result.group) for v, result in zip(values, results, strict=True) if v is not None]
    known = [(c, result.group) for result in results if (c := measure.counts(result)) is not None]
    pooled = derived_value(measure.derive, np.sum([c for c, _ in known], axis=0)) if known else None
    return {
        "pooled": pooled,
        "pooled_interval": None if pooled is None else interval_of(measure.derive, *_apart(known), seed),
        "mean_over_slides": float(np.mean([v for v, _ in defined])) if defined else None,
        "mean_over_slides_interval": interval_of_mean(*_apart(defined), seed),
        "n_slides": len(defined),
    }


def measures_of(results: Sequence[SlideResult], seed: int = 0) -> dict[str, Any]:
    """Summarise every measure of `MEASURES`, by name."""
    return {name: summary_of_measure(measure, results, seed) for name, measure in MEASURES.items()}


def ap_curve(results: Sequence[SlideResult], seed: int = 0) -> list[dict[str, Any]]:
    """Summarise average precision at each IoU threshold ("iou"); a slide without objects and cells has 1."""

    def counts(k: int) -> Callable[[Score], Sequence[float]]:
        return lambda score: (score.instances.tp[k], score.instances.n_true + score.instances.n_pred)

    return [
        {
            "iou": iou,
            **summary_of_measure(Measure("", _of_score(counts(k)), average_precision), results, seed),
        }
        for k, iou in enumerate(THRESHOLDS)
    ]


def size_classes(results: Sequence[SlideResult], seed: int = 0) -> list[dict[str, Any]]:
    """Summarise pooled recall and precision of each class of areas (see `class_counts`) that is not empty."""
    rows = []
    for k in range(SIZE_CLASSES):
        totals = {
            name: sum(getattr(result.score.sizes, name)[k] for result in results if result.score)
            for name in ("n_true", "found", "n_pred", "correct")
        }
        if totals["n_true"] + totals["n_pred"]:
            row = {"least_area": 2**k, "below_area": 2 ** (k + 1) if k < SIZE_CLASSES - 1 else None, **totals}
            for name, counts in (("recall", _recall("sizes", k)), ("precision", _precision("sizes", k))):
                part = summary_of_measure(Measure("", counts), results, seed)
                row |= {f"{name}_{key}": part[key] for key in ("pooled", "pooled_interval")}
            rows.append(row)
    return rows


def boundary_curve(results: Sequence[SlideResult], seed: int = 0) -> list[dict[str, Any]]:
    """Summarise the fraction of matched cells whose Hausdorff distance is at most "distance_px", pooled."""
    rows = []
    for k in range(CLASSES - 1):
        found = summary_of_measure(Measure("", _within(k)), results, seed)
        rows.append({"distance_px": k / 2} | {key: found[key] for key in ("pooled", "pooled_interval")})
    return rows


def _within(k: int) -> Callable[[SlideResult], Sequence[float] | None]:
    return _of_score(lambda score: (sum(score.boundaries.hd95[: k + 1]), score.boundaries.n))


def _observed(part: str, k: int) -> Callable[[SlideResult], Sequence[float] | None]:
    return _of_score(lambda score: (getattr(score, part).positive[k], getattr(score, part).n[k]))


def reliability(results: Sequence[SlideResult], part: str, seed: int = 0) -> list[dict[str, Any]]:
    """Summarise each bin of `Score.calibration` or `Score.cell_calibration` that is not empty, pooled.

    Returns
    -------
    list of dict
        "from", "to": limits of the bin; "n": pixels or cells; "mean_probability"; "observed": fraction of
        positives; "observed_interval".
    """
    rows = []
    for k in range(BINS):
        n, _, probability = (
            sum(getattr(getattr(result.score, part), name)[k] for result in results if result.score)
            for name in ("n", "positive", "probability")
        )
        if n:
            found = summary_of_measure(Measure("", _observed(part, k)), results, seed)
            limits = {"from": k / BINS, "to": (k + 1) / BINS, "n": n}
            rows.append(
                limits
                | {"mean_probability": probability / n / (LEVELS - 1)}
                | {"observed": found["pooled"], "observed_interval": found["pooled_interval"]}
            )
    return rows


def _apart(pairs: Sequence[tuple[Any, str]]) -> tuple[list[Any], list[str]]:
    return [value for value, _ in pairs], [group for _, group in pairs]
