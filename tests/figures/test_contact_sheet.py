import io

import numpy as np
import pytest
from PIL import Image

from slideunet.figures.contact_sheet import contact_sheet_png


def opened(patches):
    return np.asarray(Image.open(io.BytesIO(contact_sheet_png(patches))))


@pytest.mark.parametrize(("n", "shape"), [(1, (36, 36)), (6, (36, 216)), (8, (72, 216))])
def test_patches_stand_in_rows_of_six(n, shape):
    patch = np.zeros((1, 32, 32)), np.zeros((1, 32, 32))
    assert opened([patch] * n).shape == (*shape, 3)


def test_cells_are_outlined_and_intensities_kept():
    image, target = np.full((1, 32, 32), 0.5), np.zeros((5, 32, 32))
    target[0, 10:20, 10:20] = 1
    sheet = opened([(image, target)])
    assert sheet[0, 0].tolist() == [127] * 3
    assert sheet[15, 15].tolist() == [127] * 3
    assert sheet[9, 15].tolist() == [255, 140, 0]


def test_three_channels_are_red_green_and_blue_and_values_are_clipped():
    image = np.stack([np.full((8, 8), value) for value in (-1.0, 0.2, 3.0)])
    assert opened([(image, np.zeros((1, 8, 8)))])[0, 0].tolist() == [0, 51, 255]
