"""The metrics that are compared: of each slide, and pooled over slides, by names that differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideunet.report.agreement import count_error, count_error_percent
from slideunet.report.measures import MEASURES, Measure, values_of
from slideunet.report.results import SlideResult
from slideunet.scoring.class_counts import SIZE_CLASSES
from slideunet.scoring.derived import divided
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.intervals import Derive
from slideunet.scoring.pixel_metrics import PixelCounts

POOLED_PREFIX = "pooled_"
"""Of the names of pooled metrics; the same name without it is the metric of a slide."""
BASELINE = "otsu_"
"""Metrics of a threshold on the same images and ground truth: no run changes them."""
LOWER_IS_BETTER = (
    "hd95", "hausdorff", "distance", "error", "ece", "brier", "false", "fp", "fn", "splits", "merges",
)  # fmt: skip
"""Words of the names of metrics that are better when they are lower; all others are better when higher."""
SIGNED = "error"
"""Word of the names of metrics that are best at 0, as `count_error`: their absolute value is compared."""


def sign_of(metric: str) -> int:
    """Return 1 for a metric that is better when higher, -1 for one that is better when lower."""
    return -1 if set(metric.split("_")) & set(LOWER_IS_BETTER) else 1


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide the first sum by the second; 0 / 0 is 1 if the third, which counts anything at all, is 0."""
    numerator, denominator, anything = sums
    empty = np.where(anything > 0, 0.0, 1.0)
    return np.divide(numerator, denominator, out=empty, where=denominator > 0)


def _mean_precision(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    *matches, both = sums
    return np.mean([_ratio(np.stack([tp, both - tp, both])) for tp in matches], axis=0)


def _in_hundred(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100 * divided(sums)


def _percent_off(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    predicted, true = sums
    either = predicted + true
    return np.divide(200 * np.abs(predicted - true), either, out=np.zeros_like(either), where=either > 0)


def _of_pixels(label: str, counts: Callable[[PixelCounts], tuple[int, int]], part: str = "pixel") -> Measure:
    def of(result: SlideResult) -> Sequence[float] | None:
        if result.score is None:
            return None
        pixels: PixelCounts = getattr(result.score, part)
        return (*counts(pixels), pixels.tp + pixels.fp + pixels.fn)

    return Measure(label, of, _ratio)


def _of_cells(
    label: str,
    counts: Callable[[InstanceCounts], Sequence[float]],
    derive: Derive = _ratio,
) -> Measure:
    return Measure(label, lambda result: counts(result.score.instances) if result.score else None, derive)


def _both(cells: InstanceCounts) -> int:
    return cells.n_true + cells.n_pred


def _precision_at(k: int) -> Callable[[InstanceCounts], Sequence[float]]:
    return lambda cells: (cells.tp[k], _both(cells) - cells.tp[k], _both(cells))


def _of_sizes() -> Iterator[tuple[str, Measure]]:
    """Yield recall and precision of every class of areas, by name."""

    def counts(of_class: str, part: str, k: int) -> Callable[[SlideResult], Sequence[float] | None]:
        def of(result: SlideResult) -> Sequence[float] | None:
            sizes = result.score.sizes if result.score else None
            return None if sizes is None else (getattr(sizes, part)[k], getattr(sizes, of_class)[k])

        return of

    for k in range(SIZE_CLASSES):
        last = k == SIZE_CLASSES - 1
        name = f"from_{2**k}" if last else f"{2**k}_to_{2 ** (k + 1) - 1}"
        text = f"{2**k} px and more" if last else f"{2**k} to {2 ** (k + 1) - 1} px"
        yield f"recall_{name}_px", Measure(f"Recall of objects of {text}", counts("n_true", "found", k))
        yield f"precision_{name}_px", Measure(f"Precision of cells of {text}", counts("n_pred", "correct", k))


POOLED: Mapping[str, Measure] = MappingProxyType(
    {
        "accuracy": _of_pixels("Pixel accuracy", lambda p: (p.tp + p.tn, p.tp + p.fp + p.fn + p.tn)),
        "precision": _of_pixels("Pixel precision", lambda p: (p.tp, p.tp + p.fp)),
        "recall": _of_pixels("Pixel recall", lambda p: (p.tp, p.tp + p.fn)),
        "dice": _of_pixels("Dice", lambda p: (2 * p.tp, 2 * p.tp + p.fp + p.fn)),
        "iou": _of_pixels("IoU", lambda p: (p.tp, p.tp + p.fp + p.fn)),
        "ap50": _of_cells("AP at IoU 0.5", _precision_at(0)),
        "ap75": _of_cells("AP at IoU 0.75", _precision_at(5)),
        "map": _of_cells("AP, mean of 0.50-0.95", lambda c: (*c.tp, _both(c)), _mean_precision),
        "f1_50": _of_cells("F1 of cells at IoU 0.5", lambda c: (2 * c.tp[0], _both(c), _both(c))),
        "pq": _of_cells("Panoptic quality", lambda c: (2 * c.sum_iou_50, _both(c), _both(c))),
        "sq": _of_cells("Segmentation quality", lambda c: (c.sum_iou_50, c.tp[0], _both(c))),
        "rq": _of_cells("Recognition quality", lambda c: (2 * c.tp[0], _both(c), _both(c))),
        "aji": _of_cells("Aggregated Jaccard index", lambda c: (c.aji_intersection, c.aji_union, _both(c))),
        "semantic_dice": _of_pixels(
            "Dice before separation", lambda p: (2 * p.tp, 2 * p.tp + p.fp + p.fn), "semantic"
        ),
        "splits_per_100": _of_cells(
            "Split objects in 100 objects", lambda c: (c.splits, c.n_true), _in_hundred
        ),
        "merges_per_100": _of_cells(
            "Merged cells in 100 objects", lambda c: (c.merges, c.n_true), _in_hundred
        ),
        "count_error_percent": _of_cells(
            "Count error in percent, absolute", lambda c: (c.n_pred, c.n_true), _percent_off
        ),
        **MEASURES,
        **dict(_of_sizes()),
    }
)
"""How each metric is made from counts that add up, by its name without `POOLED_PREFIX`."""

OF_CLASSES = frozenset(f"{POOLED_PREFIX}{name}" for name, _ in _of_sizes())
"""Names of the pooled metrics by size."""

OF_SLIDES = MappingProxyType(
    {
        "fp_50": "False cells of a slide",
        "fn_50": "Missed objects of a slide",
        "splits": "Split objects of a slide",
        "merges": "Merged cells of a slide",
        "count_error": "Count error of a slide, absolute",
    }
)
"""Labels of the metrics that are not pooled: sums would depend on the number of slides."""

NO_FRACTIONS = frozenset(OF_SLIDES) | {
    "count_error_percent", "splits_per_100", "merges_per_100", "false_per_mm2", "hd95_px", "hd95_um",
}  # fmt: skip
"""Names of the metrics that may be above 1."""


def label_of(metric: str) -> str:
    """Return a metric as printed; "pooled" stands in the label of a pooled one."""
    name = metric.removeprefix(POOLED_PREFIX)
    label = POOLED[name].label if name in POOLED else OF_SLIDES.get(name, name.replace("_", " "))
    return f"{label}, pooled" if name != metric else label


def metrics_of_slide(result: SlideResult, values: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that a scored slide has, by their names in metrics.csv.

    Parameters
    ----------
    result : SlideResult
        With its score.
    values : mapping
        `values` of its scores; None where undefined.
    """
    if result.score is None:
        return {}
    cells = result.score.instances
    own = {name: value for name, value in values.items() if not name.startswith(BASELINE)}
    own |= {"fp_50": cells.fp[0], "fn_50": cells.fn[0], "splits": cells.splits, "merges": cells.merges}
    own |= {"count_error": count_error(result), "count_error_percent": count_error_percent(result)}
    own |= {name: values_of(measure, [result])[0] for name, measure in MEASURES.items()}
    return {name: float(value) for name, value in own.items() if value is not None and np.isfinite(value)}
