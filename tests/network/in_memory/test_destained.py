import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage.color import hed2rgb, rgb2hed

from slideunet.network.in_memory.destained import DESTAINED, destained, nuclear_signal


def stained_image(haematoxylin, eosin):
    """Return an image (3, y, x) with these densities of the two stains."""
    rgb = hed2rgb(np.stack([haematoxylin, eosin, np.zeros_like(eosin)], axis=-1))
    return np.rint(255 * rgb).astype(np.uint8).transpose(2, 0, 1)


@pytest.fixture
def tissue():
    """Return nuclei (60, 70) in eosin, as an image and where the nuclei are."""
    nuclei = np.zeros((60, 70))
    nuclei[10:25, 12:30] = nuclei[35:52, 40:63] = 0.15
    return stained_image(nuclei, np.full(nuclei.shape, 0.1)), nuclei > 0


def test_nuclei_are_bright_and_eosin_is_dark(tissue):
    image, nuclei = tissue
    signal = nuclear_signal(image, eosin=0, haze=0, reach=10)
    assert signal.shape == (1, 60, 70)
    assert signal.dtype == np.uint8
    inside = np.zeros_like(nuclei)
    inside[14:21, 16:26] = True
    assert signal[0][inside].min() > 230
    outside = np.ones_like(nuclei)
    outside[6:56, 8:67] = False
    assert signal[0][outside].max() < 10


def test_without_additions_it_is_the_density_of_the_haematoxylin(tissue):
    image, _ = tissue
    density = ndi.gaussian_filter(rgb2hed(image.transpose(1, 2, 0))[..., 0], 1)
    signal = nuclear_signal(image, eosin=0, haze=0, reach=10)[0]
    assert np.corrcoef(density.ravel(), signal.ravel())[0, 1] > 0.99


def test_eosin_and_haze_brighten_what_lies_between(tissue):
    image, nuclei = tissue
    between = ~nuclei
    plain = nuclear_signal(image, eosin=0, haze=0, reach=10)[0][between].mean()
    assert nuclear_signal(image, eosin=0.3, haze=0, reach=10)[0][between].mean() > plain + 20
    assert nuclear_signal(image, eosin=0, haze=0.6, reach=10)[0][between].mean() > plain + 5


def test_blank_glass_stays_dark():
    assert not nuclear_signal(np.full((3, 40, 50), 255, np.uint8), eosin=0.3, haze=0.6, reach=6).any()


def test_images_become_a_source_of_their_own_with_the_same_ground_truth(draw_image):
    images = [draw_image(seed, channels=3, source="A") for seed in range(2)]
    changed = destained(images)
    assert [one.entry.source for one in changed] == [DESTAINED] * 2
    assert changed[0].entry.kind == "fluorescence"
    assert changed[0].entry.stratum == "A s"
    assert changed[0].image.shape == (1, *images[0].labels.shape)
    np.testing.assert_array_equal(changed[1].labels, images[1].labels)
    np.testing.assert_array_equal(destained(images)[1].image, changed[1].image)
