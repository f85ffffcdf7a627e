"""The parts of the cross-validation on BBBC038v1."""

import numpy as np
import pandas as pd
import pytest
from skimage.draw import disk
from skimage.io import imread, imsave


@pytest.fixture
def module(load_script):
    return load_script("resources/benchmarks/dsb2018/make_sheet.py")


@pytest.fixture
def with_fold(module):
    return module.with_fold


def dotted():
    """Draw a nucleus, a dot of the brush, one that is a pixel larger, and one that is cut by a nucleus."""
    labels = np.zeros((40, 60), np.uint16)
    labels[disk((20, 12), 8)] = 1
    for number, place in enumerate([(20, 30), (20, 45)], start=2):
        labels[disk(place, 2.5)] = number
    labels[20, 48] = 3
    cut = disk((29, 12), 2.5)
    labels[cut] = np.where(labels[cut] == 1, 1, 4)
    return labels


def test_only_single_dots_of_the_brush_are_ignored(module):
    labels = dotted()
    found = module.without_dots(labels)
    assert [np.count_nonzero(labels == number) for number in (2, 3)] == [21, 22]
    assert 0 < np.count_nonzero(labels == 4) < 21
    np.testing.assert_array_equal(found, np.where(labels == 2, 65535, labels))


def test_masks_of_the_test_side_stay_as_they_are(module, tmp_path):
    imsave(tmp_path / "mask.png", dotted(), check_contrast=False)
    sides = ["train", "val", "test"]
    sheet = pd.DataFrame({"slide": list("abc"), "labels": str(tmp_path / "mask.png"), "split": sides})
    found = module.with_undotted_training(sheet, tmp_path / "masks")
    assert list(found["labels"]) == [str(tmp_path / "masks/a.png"), *sheet["labels"][1:]]
    np.testing.assert_array_equal(imread(found["labels"][0]), module.without_dots(dotted()))


@pytest.mark.parametrize("folds", [2, 4, 7])
def test_every_image_is_tested_once_with_all_of_its_group(with_fold, folds):
    rng = np.random.default_rng(folds)
    group = rng.integers(0, 30, 200)
    sheet = pd.DataFrame({"group": group.astype(str), "stratum": np.where(group % 3, "many", "few")})
    parts = np.array([with_fold(sheet, fold, folds)["split"] == "test" for fold in range(1, folds + 1)])
    assert (parts.sum(axis=0) == 1).all()
    for _, rows in sheet.groupby("group"):
        assert parts[:, rows.index].any(axis=1).sum() == 1
    assert parts.sum(axis=1).max() <= 2 * parts.sum(axis=1).min()
