"""Fluorescence images that are stained as tissue is, for the training of nuclei-brightfield."""

import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2hed
from skimage.io import imread, imsave


@pytest.fixture(scope="module")
def module(load_script):
    return load_script("resources/benchmarks/dsb2018/stain_fluorescence.py")


@pytest.mark.parametrize("seed", range(6))
def test_haematoxylin_is_where_the_nuclei_shone(module, draw_cells, seed):
    image, labels = draw_cells(seed=seed)
    stained = module.stain(image[0], labels, np.random.default_rng(seed))
    haematoxylin = rgb2hed(stained)[..., 0]
    assert stained.shape == (*labels.shape, 3) and stained.dtype == np.uint8
    assert np.median(haematoxylin[labels > 0]) > np.median(haematoxylin[labels == 0])


@pytest.fixture
def sheet(tmp_path, draw_cells):
    """A sheet of eight images, of which two are of the test side and one has few nuclei."""
    rows = []
    for number in range(8):
        image, labels = draw_cells(seed=number)
        paths = {kind: tmp_path / f"{kind}{number}.png" for kind in ("image", "labels")}
        masks = labels.astype(np.uint16)
        masks[masks == 3] = 65535  # ignored
        imsave(paths["image"], image[0], check_contrast=False)
        imsave(paths["labels"], masks, check_contrast=False)
        rows.append({name: str(path) for name, path in paths.items()} | {"slide": f"s{number}"})
    split = ["test", "train", "train", "val", "train", "train", "test", "train"]
    nuclei = ["40"] * 7 + ["14"]
    return pd.DataFrame(rows).assign(
        split=split, n_nuclei=nuclei, group=list("abcdefgh"), stratum="x", modality="x"
    )


def test_only_training_images_with_nuclei_are_stained_and_keep_group_and_mask(module, sheet, tmp_path):
    found = module.stained_rows(sheet, 10, tmp_path / "stained")
    chosen = sheet[sheet["slide"].isin(["s1", "s2", "s4", "s5"])]
    assert list(found["slide"]) == ["stained-s1", "stained-s2", "stained-s4", "stained-s5"]
    assert (found[["labels", "group", "split"]].to_numpy() == chosen[["labels", "group", "split"]]).all(
        axis=None
    )
    assert [imread(path).shape for path in found["image"]] == [(150, 133, 3)] * 4


def test_the_same_images_are_stained_alike_whatever_the_order_of_the_sheet(module, sheet, tmp_path):
    first = module.stained_rows(sheet, 3, tmp_path / "first")
    second = module.stained_rows(sheet[::-1], 3, tmp_path / "second")
    assert list(first["slide"]) == list(second["slide"]) and len(first) == 3
    for one, other in zip(first["image"], second["image"], strict=True):
        np.testing.assert_array_equal(imread(one), imread(other))


def test_another_seed_stains_the_same_images_otherwise(module, sheet, tmp_path):
    one, other = (module.stained_rows(sheet, 3, tmp_path / str(seed), seed) for seed in (0, 1))
    assert list(one["slide"]) == list(other["slide"])
    for first, second in zip(one["image"], other["image"], strict=True):
        assert (imread(first) != imread(second)).mean() > 0.5
