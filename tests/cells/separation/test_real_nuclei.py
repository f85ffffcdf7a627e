from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.io import imread

from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import separate

DATA = Path(__file__).parents[4] / "shared" / "data" / "dsb2018"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no DSB2018 images")


def average_precision(truth, labels):
    """AP@0.5, from the full table of overlaps."""
    table = np.histogram2d(
        truth.ravel(), labels.ravel(), bins=[np.arange(truth.max() + 2), np.arange(labels.max() + 2)]
    )[0]
    overlap = table[1:, 1:]
    union = table.sum(1)[1:, None] + table.sum(0)[None, 1:] - overlap
    tp = np.count_nonzero(overlap > 0.5 * union)
    return tp / (len(np.unique(truth)) - 1 + labels.max() - tp)


@pytest.fixture(scope="module")
def masks():
    table = pd.read_csv(DATA / "metadata.csv", keep_default_na=False)
    table = table[(table.also_in_bbbc039 == "") & (table.modality == "fluorescence") & (table.n_nuclei > 2)]
    table = table.assign(size=table.fg_fraction * table.height * table.width / table.n_nuclei).sort_values(
        "size"
    )
    places = np.linspace(0, len(table) - 1, 20).astype(int)
    return [imread(DATA / "masks" / f"{name}.png").astype(int) for name in table.image_id.iloc[places]]


def mean_precision(masks, foregrounds, method):
    labels = [separate({"foreground": mask * np.uint8(255)}, Decoding(0.5, method)) for mask in foregrounds]
    return np.mean([average_precision(*pair) for pair in zip(masks, labels, strict=True)])


def test_the_watershed_separates_touching_nuclei_of_every_size(masks):
    foregrounds = [mask > 0 for mask in masks]
    separated = mean_precision(masks, foregrounds, "watershed")
    assert separated > 0.95
    assert separated > mean_precision(masks, foregrounds, "components") + 0.05


def test_single_missing_pixels_do_not_cause_over_segmentation(masks):
    generator = np.random.default_rng(0)
    holed = [(mask > 0) & (generator.random(mask.shape) > 0.001) for mask in masks]
    assert mean_precision(masks, holed, "watershed") > 0.95
