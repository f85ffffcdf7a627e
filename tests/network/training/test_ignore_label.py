"""Ignored pixels are neither learned nor counted, from the file to the scores."""

import numpy as np
import pytest
import tifffile
import torch

from slideunet.network.patches.dataset import PatchDataset
from slideunet.network.training.diameters import diameters
from slideunet.network.training.validation import validate
from slideunet.scoring.score_slide import score_slide
from slideunet.slides.convert import ConversionPlan, Slide, convert
from slideunet.stores.manifests import read_manifest
from slideunet.stores.verified import open_image_store, open_label_store
from slideunet.truth.ignore_label import IGNORE_LABEL, cells_alone

pytestmark = pytest.mark.usefixtures("one_thread")
UNSEEN = slice(40, 70)  # Ignored rows.


@pytest.fixture
def slide(tmp_path, draw_cells, labelled_slide):
    image, labels = draw_cells(height=110, width=90)
    labels = labels.astype(np.uint16)
    assert labels[UNSEEN].any()
    assert labels.max() < 999
    labels[UNSEEN] = 999
    files = [tmp_path / "image.tif", tmp_path / "labels.tif"]
    tifffile.imwrite(files[0], image.squeeze(), photometric="minisblack")
    tifffile.imwrite(files[1], labels)
    convert(Slide("S1", *files, None), ConversionPlan(ignore_label=999), tmp_path / "S1.json")
    return labelled_slide(tmp_path / "S1.json")


def test_the_store_has_an_id_of_its_own_for_it_and_counts_cells_alone(slide):
    truth = open_label_store(slide.manifest, "truth")[:]
    np.testing.assert_array_equal(
        truth == IGNORE_LABEL, np.isin(np.arange(110), range(40, 70))[:, None] & (truth >= 0)
    )
    assert read_manifest(slide.manifest)["n_objects"] == len(np.unique(cells_alone(truth))) - 1


def test_patches_show_it_and_ask_nothing_of_the_network_there(slide, no_augmentation):
    patches = PatchDataset([slide], 64, no_augmentation, seed=0, maps=("foreground", "distance"))
    targets = torch.stack([patches[epoch, i][1] for epoch in range(8) for i in range(len(patches))])
    foreground = targets[:, 0]
    rows = (foreground == -1).any(dim=2)
    assert rows.any()
    assert ((foreground == -1).all(dim=2) == rows).all()  # Whole rows, as they were left out.
    assert set(np.unique(foreground)) == {-1.0, 0.0, 1.0}


def test_a_cell_of_the_size_of_what_is_left_out_is_not_among_the_diameters(slide):
    assert diameters([slide])["p95"] < 40


def test_validation_counts_valid_pixels_only(slide, random_network):
    loss = torch.nn.BCEWithLogitsLoss()
    found = validate(random_network(), [slide], loss, "fp32")
    truth = open_label_store(slide.manifest, "truth")[:]
    assert found.foreground.sum() == (cells_alone(truth) > 0).sum()
    assert found.foreground.sum() + found.background.sum() == (110 - 30) * 90


def test_scores_are_those_of_the_valid_pixels(slide):
    image, truth = open_image_store(slide.manifest)[:], open_label_store(slide.manifest, "truth")[:]
    cells = np.where(truth == IGNORE_LABEL, 7777, truth).astype(np.uint32)
    probability = (255 * (cells > 0)).astype(np.uint8)[None]
    score, examples = score_slide(image, truth, probability, cells, threshold=0.5)
    assert score.pixel.dice == score.semantic.dice == 1
    assert score.pixel.tp + score.pixel.tn == (110 - 30) * 90
    assert score.instances.n_true == score.instances.n_pred == len(np.unique(cells_alone(truth))) - 1
    assert score.instances.ap[0] == 1
    assert not examples
