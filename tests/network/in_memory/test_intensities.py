import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from slideunet.network.in_memory.intensities import _CHANGES, Chance, change_intensities
from slideunet.network.in_memory.recipe import AUGMENTATIONS


def chance(seed=0):
    return Chance(np.random.default_rng(seed), torch.Generator().manual_seed(seed))


def images(n=16, channels=3, side=40, seed=0):
    smooth = ndi.gaussian_filter(np.random.default_rng(seed).random((n, channels, side, side)), (0, 0, 2, 2))
    return torch.from_numpy(((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32))


def changed(name, strength, seed=0, **kwargs):
    before = images(**kwargs)
    return before, change_intensities(
        before, dict.fromkeys(AUGMENTATIONS, 0) | {name: strength}, chance(seed)
    )


def test_every_change_of_a_recipe_is_there():
    elsewhere = {"flip", "rotation", "elastic", "cytoplasm"}
    assert set(_CHANGES) == set(AUGMENTATIONS) - elsewhere


@pytest.mark.parametrize("name", _CHANGES)
def test_a_change_is_made_to_some_images_and_repeated_by_its_seed(name):
    before, after = changed(name, 0.5)
    touched = (before != after).flatten(1).any(dim=1)
    assert torch.isfinite(after).all()
    assert touched.any()
    assert not touched.all()
    assert torch.equal(after, changed(name, 0.5)[1])
    assert not torch.equal(after, changed(name, 0.5, seed=1)[1])


@pytest.mark.parametrize("name", _CHANGES)
def test_what_is_switched_off_changes_nothing(name):
    before, after = changed(name, 0)
    assert torch.equal(before, after)


def test_a_blur_is_gaussian_along_each_axis():
    before = torch.zeros(64, 1, 41, 41)
    before[:, :, 20, 20] = 1
    after = change_intensities(before, dict.fromkeys(AUGMENTATIONS, 0) | {"blur": 2.0}, chance())
    blurred = after[(before != after).flatten(1).any(dim=1)][:, 0].double().numpy()
    steps = np.arange(41) - 20
    widths = [[np.sqrt((spot.sum(axis=axis) * steps**2).sum()) for axis in (1, 0)] for spot in blurred]
    # A narrower Gaussian, sampled at pixels, is not as wide as its name.
    wide = [(spot, sigmas) for spot, sigmas in zip(blurred, widths, strict=True) if min(sigmas) > 0.8]
    assert len(wide) > 3
    for spot, sigmas in wide:
        oracle = np.zeros((41, 41))
        oracle[20, 20] = 1
        oracle = ndi.gaussian_filter(oracle, sigmas, truncate=6)
        assert spot.sum() == pytest.approx(1, abs=1e-4)
        assert np.abs(spot - oracle).max() < 0.01 * oracle.max()


def test_gamma_keeps_the_range_and_the_order():
    before, after = changed("gamma", 0.5)
    flat, new = before.flatten(1), after.flatten(1)
    assert torch.allclose(flat.amin(1), new.amin(1), atol=1e-5)
    assert torch.allclose(flat.amax(1), new.amax(1), atol=1e-5)
    order = flat.argsort(dim=1)
    assert (new.gather(1, order).diff(dim=1) >= -1e-5).all()


def test_dim_and_contrast_are_factors_and_brightness_is_a_shift():
    for name, low, high in (("darkening", np.exp(-0.5), 1.0), ("contrast", 0.5, 1.5)):
        before, after = changed(name, 0.5)
        factor = (after / before.clamp(min=1e-3))[before > 1e-2]
        assert factor.min() >= low - 1e-3
        assert factor.max() <= high + 1e-3
    before, after = changed("brightness", 0.5)
    shift = (after - before).flatten(1)
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-5)


def test_a_counterstain_only_darkens_what_is_stained_and_glass_stays_in_half_of_the_pixels():
    before = torch.zeros(16, 3, 64, 64)
    after = change_intensities(before, dict.fromkeys(AUGMENTATIONS, 0) | {"counterstain": 0.5}, chance())
    touched = after[(after != 0).flatten(1).any(dim=1)]
    assert (touched >= -1e-5).all()
    assert 0.25 < (touched[:, 1].abs() < 1e-5).float().mean() < 0.75
    assert touched[:, 1].sum() > touched[:, 0].sum()  # Eosin takes more of the green than of the red.


def test_shot_noise_grows_with_the_light():
    before = torch.zeros(32, 1, 64, 64)
    before[..., 32:] = 1
    after = change_intensities(before, dict.fromkeys(AUGMENTATIONS, 0) | {"shot_noise": 0.5}, chance())
    assert torch.equal(after[..., :32], before[..., :32])
    assert after[..., 32:].std() > 0.05
