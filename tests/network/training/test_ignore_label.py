"""Ignored pixels are neither learned nor counted, from the file to the scores."""

import numpy as np
import pytest
import tifffile
import torch

from slideunet.network.patches.annotated import annotated_spots
from slideunet.network.patches.dataset import LabelledSlide, PatchDataset
from slideunet.network.training import validation
from slideunet.network.training.diameters import diameters
from slideunet.network.training.validation import validate
from slideunet.scoring.score_slide import score_slide
from slideunet.slides.convert import ConversionPlan, Slide, convert
from slideunet.slides.normalisation import Normalisation
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


def test_patches_show_the_annotated_region_of_a_slide(tmp_path, write_store, no_augmentation):
    rng = np.random.default_rng(0)
    labels = np.full((1500, 1300), IGNORE_LABEL)
    region = (slice(900, 1000), slice(1200, 1300))  # One patch of 64 px in 400 would meet it.
    labels[region] = rng.integers(0, 2, (100, 100))
    image = rng.integers(0, 255, (1, *labels.shape), np.uint8)
    manifest = write_store(tmp_path / "S1.json", image, labels=labels.astype(np.uint32))
    slide = LabelledSlide(manifest, labels.shape, Normalisation((0.0,), (1.0,)))
    spots, side = annotated_spots(manifest)
    assert spots.sum() * side**2 == pytest.approx(100**2, rel=0.3)
    patches = PatchDataset([slide], 64, no_augmentation, seed=0)
    shown = [(patches[0, i][1][0] >= 0).float().mean().item() for i in range(len(patches))]
    assert min(shown) >= 0.2  # A quarter in the corner of the region.
    assert np.mean(shown) > 0.5
    placed = {tuple(patches[0, i][0].flatten()[:4].tolist()) for i in range(len(patches))}
    assert len(placed) > len(patches) / 2


@pytest.mark.usefixtures("small_blocks")
def test_validation_predicts_blocks_that_are_annotated_alone(
    tmp_path, write_store, random_network, monkeypatch
):
    rng, labels = np.random.default_rng(0), np.full((600, 700), IGNORE_LABEL)
    labels[550:, 500:540] = rng.integers(0, 2, (50, 40))  # In two blocks of the four.
    image = rng.integers(0, 255, (1, *labels.shape), np.uint8)
    manifest = write_store(tmp_path / "S1.json", image, labels=labels)
    slide = LabelledSlide(manifest, labels.shape, Normalisation((0.0,), (1.0,)))
    predicted, predict = [], validation.predict_core

    def watched(engine, pixels, constants, core):
        predicted.append(core)
        return predict(engine, pixels, constants, core)

    monkeypatch.setattr(validation, "predict_core", watched)
    found = validate(random_network(), [slide], torch.nn.BCEWithLogitsLoss(), "fp32")
    assert predicted == [((512, 600), (0, 512)), ((512, 600), (512, 700))]
    assert found.foreground.sum() == (labels == 1).sum()
    assert found.background.sum() == (labels == 0).sum()


def test_a_slide_without_ignored_pixels_or_all_of_them_has_no_region(tmp_path, write_store):
    for value in (0, IGNORE_LABEL):
        labels = np.full((300, 300), value, np.uint32)
        manifest = write_store(tmp_path / f"{value}.json", np.zeros((1, 300, 300), np.uint8), labels=labels)
        assert annotated_spots(manifest) is None


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
