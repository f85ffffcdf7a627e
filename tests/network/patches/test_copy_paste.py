"""Cells that are pasted lie on top, whole, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi

from slideunet.network.patches.copy_paste import paste_cells
from slideunet.network.patches.dataset import PatchDataset

SHAPE = (23, 31)
labels = hnp.arrays(np.uint16, SHAPE, elements=st.integers(0, 6))


@given(labels, labels, st.integers(0, 99))
def test_pasted_cells_are_whole_and_the_rest_is_as_it_was(below, above, seed):
    zero, one = np.zeros((2, *SHAPE), np.float32), np.ones((2, *SHAPE), np.float32)
    image, found = paste_cells(zero, below, one, above, np.random.default_rng(seed))
    top = int(below.max())
    pasted = found > top
    np.testing.assert_array_equal(found[~pasted], below[~pasted])
    np.testing.assert_array_equal(found[pasted] - top, above[pasted])
    for cell in np.unique(found[pasted]):
        np.testing.assert_array_equal(found == cell, above == cell - top)
    assert image.dtype == np.float32
    assert np.all((image >= 0) & (image <= 1 + 1e-6))
    if pasted.any():
        assert image[:, pasted].min() > 0
    else:
        assert not image.any()
    far = ~ndi.binary_dilation(pasted, np.ones((3, 3)), iterations=5)
    assert not image[:, far].any()


@given(labels, labels, st.integers(0, 99))
def test_no_pasted_cell_hides_most_of_another_or_lies_in_a_larger_one(below, above, seed):
    image = np.zeros((1, *SHAPE), np.float32)
    _, found = paste_cells(image, below, image, above, np.random.default_rng(seed))
    top = int(below.max())
    for cell in np.unique(found[found > top]) - top:
        for other in np.unique(below[(above == cell) & (below > 0)]):
            shared = np.count_nonzero((above == cell) & (below == other))
            smaller = min(np.count_nonzero(above == cell), np.count_nonzero(below == other))
            assert shared <= 0.3 * smaller


def test_cells_side_by_side_are_pasted():
    below, above = np.zeros((40, 40), np.int64), np.zeros((40, 40), np.int64)
    below[5:35, 5:20] = 4_000_000_000
    above[5:35, 18:33] = 3_000_000_000
    image = np.zeros((1, 40, 40), np.float32)
    seen = [paste_cells(image, below, image, above, np.random.default_rng(i))[1] for i in range(20)]
    assert any(np.count_nonzero(labels == 7_000_000_000) == 450 for labels in seen)


def test_inside_a_large_cell_the_image_is_the_other_one():
    below, above = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    above[5:35, 5:35] = 1
    zero = np.zeros((1, 40, 40), np.float32)
    for seed in range(20):
        image, found = paste_cells(zero, below, zero + 0.7, above, np.random.default_rng(seed))
        if found.any():
            break
    assert image[0, 20, 20] == pytest.approx(0.7)
    assert image[0, 0, 0] == pytest.approx(0, abs=1e-6)
    assert image[0, 5, 20] == pytest.approx(0.35, abs=0.15)


@pytest.mark.slow
def test_patches_hold_cells_of_other_slides(tmp_path, convert_cells, labelled_slide, no_augmentation):
    slides = [labelled_slide(convert_cells(tmp_path, f"S{i}", seed=i, height=90, width=90)) for i in range(2)]
    plain, pasting = (
        PatchDataset(slides, 64, no_augmentation | {"copy_paste": share}, seed=1) for share in (0.0, 1.0)
    )
    different = [not np.array_equal(plain[0, i][1], pasting[0, i][1]) for i in range(len(plain))]
    assert any(different)
    same = [np.array_equal(pasting[0, i][0], pasting[0, i][0]) for i in range(len(plain))]
    assert all(same)
