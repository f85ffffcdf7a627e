"""How well each method of `slideunet.cells.methods` divides the cells of the validation slides."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from slideunet.cells.methods import Method, fitting_methods
from slideunet.cells.separation import separate
from slideunet.images.blocks import block_at, block_count
from slideunet.images.stores import open_image_store, open_label_store
from slideunet.network.cores import predict_core
from slideunet.network.engines import Engine
from slideunet.network.patches import LabelledSlide
from slideunet.scoring.instances import InstanceCounts, count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps


def compare_methods(
    engine: Engine, slides: Sequence[LabelledSlide], threshold: float
) -> dict[Method, dict[str, float]]:
    """Separate the cells of validation slides by every method that the network allows, and score them.

    Of a slide of several blocks the middle one is looked at.

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
        mean over 0.50 to 0.95, of the counts of all slides together.
    """
    counts = {method: InstanceCounts() for method in fitting_methods(engine.spec.maps)}
    for slide in slides:
        rows, columns = block_at(slide.shape, block_count(slide.shape) // 2)
        truth = open_label_store(slide.manifest, "truth")[rows, columns]
        core = ((rows.start, rows.stop), (columns.start, columns.stop))
        planes = predict_core(engine, open_image_store(slide.manifest), slide.normalisation, core)
        maps = dict(zip(engine.spec.maps, planes, strict=True))
        for method in counts:
            counts[method] += score(truth, maps, threshold, method)
    found = {method: {"ap50": own.ap[0], "map": own.mean_ap} for method, own in counts.items()}
    logging.info(_told(found))
    return found


def score(
    truth: np.ndarray, maps: Mapping[str, np.ndarray], threshold: float, method: Method
) -> InstanceCounts:
    """Separate the cells of maps (y, x) uint8 by a method and count them against true labels (y, x)."""
    return count_instances(match_arrays(count_overlaps(truth, separate(maps, threshold, method))))


def _told(found: Mapping[Method, Mapping[str, float]]) -> str:
    scores = ", ".join(f"{method} {values['ap50']:.3f}" for method, values in found.items())
    return f"Separation of the validation slides' cells, AP@0.5 (pooled): {scores}"
