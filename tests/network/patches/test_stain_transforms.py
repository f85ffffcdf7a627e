import numpy as np
import torch
from skimage.color import combine_stains, hed_from_rgb, rgb_from_hed, separate_stains

from slideunet.network.patches.stain_transforms import RandColourd, RandCounterstaind, RandStaind


def draws(transform, image, n):
    for seed in range(n):
        yield transform.set_random_state(seed=seed)({"image": torch.from_numpy(image).float()})


def test_colours_are_mixed_alike_at_every_pixel():
    image = np.random.default_rng(0).random((3, 20, 20)).astype(np.float32)
    for mixed in draws(RandColourd(1.0, 0.2), image, 5):
        flat, found = image.reshape(3, -1).T, mixed["image"].numpy().reshape(3, -1).T
        matrix, residual, *_ = np.linalg.lstsq(flat, found, rcond=None)
        assert residual.max() < 1e-6
        assert 0 < np.abs(matrix - np.eye(3)).max() < 1


def test_each_stain_is_changed_by_itself_and_alike_at_every_pixel():
    # scikit-image takes logarithms to the base 1e-6, and has no stain below 0.
    plain = np.random.default_rng(0).uniform(0.03, 0.06, (20, 20, 3))
    image = (1 - combine_stains(plain, rgb_from_hed)).transpose(2, 0, 1) / 0.8
    slopes = []
    for changed in draws(RandStaind(1.0, 0.2), image, 20):
        light = 1 - 0.8 * changed["image"].numpy().astype(float).transpose(1, 2, 0)
        found = separate_stains(light, hed_from_rgb)
        for stain in range(3):
            slope, added = np.polyfit(plain[..., stain].ravel(), found[..., stain].ravel(), 1)
            np.testing.assert_allclose(slope * plain[..., stain] + added, found[..., stain], atol=1e-5)
            assert abs(slope - 1) < 0.201
            assert abs(added) * np.log(1e6) < 0.201
            slopes.append(slope)
    assert np.ptp(slopes) > 0.3


def test_a_counterstain_only_darkens_and_hardly_in_red():
    image = np.random.default_rng(0).uniform(0.0, 0.5, (3, 64, 64)).astype(np.float32)
    most = 0.0
    for changed in draws(RandCounterstaind(1.0, 0.6), image, 20):
        red, green, blue = (-np.log(1 - 0.8 * each) for each in changed["image"].numpy())
        before = -np.log(1 - 0.8 * image)
        added = green - before[1]
        assert added.min() > -1e-5
        assert 0.3 < (added > 1e-4).mean() < 0.7
        np.testing.assert_allclose(red - before[0], 0.07 * added, atol=0.02 * added.max() + 1e-5)
        assert np.all(blue - before[2] <= 0.95 * added + 1e-5)
        most = max(most, added.std())
    assert 0.1 < most < 0.6


def test_stains_of_the_darkest_pixels_stay_finite():
    image = np.stack([np.full((4, 4), value) for value in (-0.5, 1.0, 5.0)]).astype(np.float32)
    for changed in draws(RandStaind(1.0, 0.9), image, 20):
        assert torch.isfinite(changed["image"]).all()
