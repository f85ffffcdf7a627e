"""The images of the demo are what their README says, and no bundled model was trained on them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage as ndi

ROOT = Path(__file__).resolve().parents[1]
DEMO, MODELS = ROOT / "resources/demo", ROOT / "resources/models"
SHEETS = {"fluorescence": "slides.tsv", "histology": "histology.tsv"}


@pytest.fixture(params=SHEETS)
def demo(request):
    return request.param, pd.read_csv(DEMO / SHEETS[request.param], sep="\t", dtype=str)


def test_images_and_labels_fit_and_no_file_is_left_over(demo):
    name, sheet = demo
    for row in sheet.itertuples():
        image, labels = (np.asarray(Image.open(DEMO / path)) for path in (row.image, row.labels))
        assert image.shape == ((256, 256) if name == "fluorescence" else (256, 256, 3))
        assert labels.shape == image.shape[:2]
        assert image.dtype == np.uint8
        ids = np.unique(labels)
        np.testing.assert_array_equal(ids, np.arange(len(ids)))
        assert len(ids) > 4
        assert all(ndi.label(labels == cell)[1] == 1 for cell in ids[1:])
    stored = {path.relative_to(DEMO).as_posix() for path in (DEMO / name).rglob("*.png")}
    assert stored == {*sheet["image"], *sheet["labels"]}


def test_the_groups_suffice_for_training_validation_and_test(demo):
    name, sheet = demo
    assert sheet["slide"].is_unique
    assert sheet["image_id"].is_unique
    if name == "histology":
        assert set(sheet["split"]) == {"train", "val", "test"}
        assert len(sheet[["group", "split"]].drop_duplicates()) == sheet["group"].nunique()
    else:
        assert sheet["group"].nunique() == len(sheet) == 24


def test_no_bundled_model_was_trained_on_these_images(demo):
    name, sheet = demo
    known = {identity[:16] for identity in sheet["image_id"]}
    for model in MODELS.glob("*/model.json"):
        slides = json.loads(model.read_text())["training"]["slides"]
        # Patients of the histology demo are in the validation part of a model at most.
        seen = [*slides["train"], *(slides["val"] if name == "fluorescence" else [])]
        assert len(seen) > 50
        assert not known & {slide[:16] for slide in seen}


def test_the_images_are_small_enough_for_the_repository():
    assert sum(path.stat().st_size for path in DEMO.rglob("*.png")) < 3_000_000
