"""How large the cells are that a network has learned from."""

from collections.abc import Sequence

import numpy as np

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.network.patches.dataset import LabelledSlide
from slideunet.network.patches.targets import compact
from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import cells_alone


def diameters(slides: Sequence[LabelledSlide]) -> dict[str, float]:
    """Return the 5th percentile, median and 95th of the cells' diameters, in px of the working grid.

    The diameter is that of the disc of the same area. A cell that lies in two blocks counts as two.

    Raises
    ------
    InputError
        When there is no cell.
    """
    areas = [_areas(slide) for slide in slides]
    if not sum(map(len, areas)):
        raise InputError(
            f"There is no cell on the {len(slides)} slides of one side of the split (the first is "
            f"{slides[0].manifest.stem}), so nothing can be learned or chosen there. Label cells on more "
            "slides, or set the column split of the sheet."
        )
    across = 2 * np.sqrt(np.concatenate(areas) / np.pi)
    low, median, high = np.percentile(across, (5, 50, 95))
    return {"p05": round(low, 1), "median": round(median, 1), "p95": round(high, 1)}


def _areas(slide: LabelledSlide) -> np.ndarray:
    truth = open_label_store(slide.manifest, "truth")
    found = [compact(cells_alone(truth[region])) for region in BlockGrid(slide.shape)]
    return np.concatenate([np.bincount(labels.ravel())[1:] for labels in found])
