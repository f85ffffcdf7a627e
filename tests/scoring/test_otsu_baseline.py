import numpy as np
import pytest
from skimage.filters import threshold_otsu

from slideunet.scoring.otsu_baseline import cells_are_dark, foreground, grey, otsu_threshold


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_blockwise_threshold_equals_that_of_the_whole_image(rows):
    random = np.random.default_rng(3)
    image = random.normal(10.0, 2.0, (50, 37))
    image[10:20, 5:17] += 15.0
    blocks = [image[start : start + rows] for start in range(0, 50, rows)]
    threshold, bright = otsu_threshold(blocks, image.min(), image.max())
    assert threshold == pytest.approx(threshold_otsu(image))
    assert bright == pytest.approx((image > threshold).mean(), abs=0.01)


def test_a_constant_image_has_no_cells():
    threshold, bright = otsu_threshold([np.full((4, 5), 7.0)], 7.0, 7.0)
    assert bright == 0.0
    assert not foreground(np.full((4, 5), 7.0), threshold, dark=False).any()


def test_polarity():
    assert [cells_are_dark(0.1), cells_are_dark(0.9)] == [False, True]
    assert [cells_are_dark(0.9, "bright"), cells_are_dark(0.1, "dark")] == [False, True]


def test_channels_are_averaged_without_overflow():
    assert grey(np.full((3, 2, 2), 255, dtype=np.uint8)).tolist() == [[255.0] * 2] * 2
