"""The range of diameters in which a model sees images as they are."""

import numpy as np
import pytest
from skimage.measure import label

from slideunet.network.in_memory.scores import ImageScore
from slideunet.network.in_memory.tuning.best_diameters import LOWEST, Seen, best_diameters_of, zoomed
from slideunet.scoring.instance_metrics import count_instances
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps


def score(found):
    """Scores of an image of 10 cells, of which some are found exactly."""
    truth = np.kron(np.arange(1, 11, dtype=np.uint32), np.ones((4, 4), np.uint32))
    cells = count_instances(match_arrays(count_overlaps(truth, np.where(truth <= found, truth, 0))))
    assert (cells.n_true, cells.n_pred) == (10, found)
    return ImageScore(cells=cells)


def image(diameter, source="a", *, half, whole, twice, four=1):
    return Seen(source, diameter, {0.5: score(half), 1.0: score(whole), 2.0: score(twice), 4.0: score(four)})


def test_images_are_scaled_where_that_helps_and_nowhere_else():
    seen = [
        image(7, half=8, whole=3, twice=1),
        image(11, half=6, whole=5, twice=1),
        image(15, half=5, whole=6, twice=1),
        image(45, half=1, whole=7, twice=6),
        image(55, half=1, whole=6, twice=7),
        image(150, half=1, whole=3, twice=5, four=8),
    ]
    assert best_diameters_of(seen) == (12, 50)
    assert best_diameters_of(seen[2:4]) == (LOWEST[0], 10_000)


def test_no_source_drowns_the_others():
    many = [image(11, "a", half=6, whole=5, twice=1)] * 9
    assert best_diameters_of(many)[0] == 12
    assert best_diameters_of([*many, image(11, "b", half=2, whole=8, twice=1)])[0] < 11


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_zoomed_labels_stay_on_their_image(factor):
    labels = np.zeros((41, 60), np.uint16)
    labels[4:20, 4:20], labels[24:38, 30:56] = 1, 2
    larger, ids = zoomed(factor, 200 * (labels > 0)[None].astype(np.uint8), labels)
    assert larger.shape[1:] == ids.shape == (round(41 * factor), round(60 * factor))
    assert (larger.dtype, ids.dtype) == (np.uint8, np.uint16)
    assert ((larger[0] > 100) != (ids > 0)).mean() < 0.06
    assert label(ids).max() == 2
