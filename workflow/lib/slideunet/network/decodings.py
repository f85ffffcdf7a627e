"""How well each method of `slideunet.cells.methods` divides the cells of the validation slides."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from slideunet.cells.methods import Method, fitting_methods
from slideunet.cells.separation import MERGE_RATIOS, separate
from slideunet.images.blocks import block_at, block_count
from slideunet.images.stores import open_image_store, open_label_store
from slideunet.network.cores import predict_core
from slideunet.network.engines import Engine
from slideunet.network.patches import LabelledSlide
from slideunet.scoring.instances import InstanceCounts, count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps

MERGE_RATIOS_TRIED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_AS_GOOD = 0.005  # Of AP@0.5: less than what another seed changes.


def compare_methods(
    engine: Engine, slides: Sequence[LabelledSlide], threshold: float
) -> dict[Method, dict[str, float]]:
    """Separate the cells of validation slides by every method that the network allows, and score them.

    Of a slide of several blocks the middle one is looked at. For methods that join basins the merge ratio is
    tuned: of those in `MERGE_RATIOS_TRIED` that are as good as the best, the one nearest to the usual one.

    Parameters
    ----------
    engine : Engine
    slides : sequence of LabelledSlide
    threshold : float
        Foreground is probability >= threshold (0 to 1).

    Returns
    -------
    dict
        Of each method, the best in general first: "ap50" and "map", the average precision at IoU 0.5 and its
        mean over 0.50 to 0.95, of the counts of all slides together; "merge_ratio" where the method has one.
    """
    counts = {
        method: dict.fromkeys(_ratios(method), InstanceCounts())
        for method in fitting_methods(engine.spec.maps)
    }
    for slide in slides:
        truth, maps = middle_block(engine, slide)
        for method, tried in counts.items():
            for ratio in tried:
                tried[ratio] += score(truth, maps, threshold, method, ratio)
    found = {method: _tuned(method, tried) for method, tried in counts.items()}
    logging.info(_told(found))
    return found


def _ratios(method: Method) -> tuple[float | None, ...]:
    usual = MERGE_RATIOS.get(method)
    return (None,) if usual is None else tuple(sorted({*MERGE_RATIOS_TRIED, usual}))


def middle_block(engine: Engine, slide: LabelledSlide) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the truth and the predicted maps of a slide's middle block."""
    rows, columns = block_at(slide.shape, block_count(slide.shape) // 2)
    truth = open_label_store(slide.manifest, "truth")[rows, columns]
    core = ((rows.start, rows.stop), (columns.start, columns.stop))
    planes = predict_core(engine, open_image_store(slide.manifest), slide.normalisation, core)
    return truth, dict(zip(engine.spec.maps, planes, strict=True))


def _tuned(method: Method, tried: Mapping[float | None, InstanceCounts]) -> dict[str, float]:
    """Return the scores of a method with its best merge ratio; `_AS_GOOD` less is chance."""
    best = max(counts.ap[0] for counts in tried.values())
    good = [ratio for ratio, counts in tried.items() if counts.ap[0] >= best - _AS_GOOD]
    ratio = min(good, key=lambda ratio: abs((ratio or 0) - MERGE_RATIOS.get(method, 0)))
    found = {"ap50": tried[ratio].ap[0], "map": tried[ratio].mean_ap}
    return found if ratio is None else found | {"merge_ratio": ratio}


def score(
    truth: np.ndarray,
    maps: Mapping[str, np.ndarray],
    threshold: float,
    method: Method,
    merge_ratio: float | None = None,
) -> InstanceCounts:
    """Separate the cells of maps (y, x) uint8 by a method and count them against true labels (y, x)."""
    cells = separate(maps, threshold, method, merge_ratio=merge_ratio)
    return count_instances(match_arrays(count_overlaps(truth, cells)))


def _told(found: Mapping[Method, Mapping[str, float]]) -> str:
    scores = (f"{method} {values['ap50']:.3f}{_ratio_told(values)}" for method, values in found.items())
    return "Separation of the validation slides' cells, AP@0.5 (pooled): " + ", ".join(scores)


def _ratio_told(values: Mapping[str, float]) -> str:
    return f" (merge ratio {values['merge_ratio']})" if "merge_ratio" in values else ""
