import numpy as np
import pytest
import torch
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.morphology import disk

from slideunet.network.patches import transforms
from slideunet.network.patches.transforms import (
    RandDarkend,
    RandDeformd,
    RandIlluminationd,
    RandInvertd,
    RandShotNoised,
)


def sample(image, labels=None):
    labels = np.zeros(image.shape[1:]) if labels is None else labels
    return {"image": torch.from_numpy(image).float(), "labels": torch.from_numpy(labels[None]).float()}


def draws(transform, data, n=60):
    for seed in range(n):
        yield transform.set_random_state(seed=seed)(data)


def test_a_zoom_is_the_same_for_both_axes_and_within_its_range():
    side, radius = 160, 20
    labels = np.pad(disk(radius), (side - 2 * radius - 1) // 2 + 1)[:side, :side]
    zooms = []
    for moved in draws(
        RandDeformd(128, rotation=0, zooms=(1 / 1.5, 1.5), elastic=0), sample(labels[None], labels)
    ):
        (cell,) = regionprops(moved["labels"][0].numpy().astype(int))
        height, width = cell.bbox[2] - cell.bbox[0], cell.bbox[3] - cell.bbox[1]
        assert abs(height - width) <= 1
        zooms.append(height / (2 * radius + 1))
    assert 0.62 < min(zooms) < 0.75
    assert 1.35 < max(zooms) < 1.55
    assert zooms.count(1.0) > 15  # Half of the patches stay as they are.


def test_a_turn_keeps_areas_and_distances():
    labels = np.zeros((160, 160), int)
    labels[70:90, 40:80] = 1
    for moved in draws(
        RandDeformd(128, rotation=180, zooms=(1.0, 1.0), elastic=0), sample(labels[None], labels), 20
    ):
        (cell,) = regionprops(moved["labels"][0].numpy().astype(int))
        assert cell.area == pytest.approx(800, rel=0.05)
        assert np.hypot(*(np.array(cell.centroid) - 63.5)) == pytest.approx(20, abs=1)


def test_pixels_beyond_the_labels_are_ignored():
    labels = np.ones((80, 80))
    deform = RandDeformd(64, rotation=180, zooms=(0.4, 0.55), elastic=0)
    moves = [moved for moved in draws(deform, sample(labels[None], labels), 20) if moved["labels"].min() < 0]
    assert moves
    for moved in moves:
        torch.testing.assert_close(moved["image"][0], torch.ones(64, 64))  # Mirrored.
        seen = moved["labels"][0] == 1
        assert (moved["labels"][0][~seen] == -1).all()
        # All of the turned square is in the patch.
        assert 0.4**2 - 0.01 <= seen.sum() / 80**2 <= 0.55**2 + 0.01


def test_an_elastic_displacement_is_smooth_and_no_larger_than_its_strength():
    ramp = np.stack(np.indices((96, 96))).astype(np.float32)
    largest = 0.0
    for moved in draws(RandDeformd(64, rotation=0, zooms=(1.0, 1.0), elastic=4), sample(ramp), 20):
        shift = moved["image"].numpy() - ramp[:, 16:80, 16:80]
        # Bicubic interpolation may overshoot its points a little.
        assert np.abs(shift).max() < 4 * 1.3
        assert np.abs(np.diff(shift, axis=2)).max() < 0.6
        largest = max(largest, np.abs(shift).max())
    assert largest > 2


def test_uneven_light_is_smooth():
    flat = np.full((1, 64, 64), 0.5, np.float32)
    ranges = []
    for lit in draws(RandIlluminationd(1.0, 0.4), sample(flat)):
        image = lit["image"][0].numpy()
        ranges.append(np.ptp(image))
        assert np.abs(ndi.laplace(image)).max() < 0.03
    assert max(ranges) > 0.2


def test_shot_noise_grows_with_the_root_of_the_intensity():
    image = np.concatenate([np.full((1, 200, 100), 0.25), np.full((1, 200, 100), 1.0)], axis=2)
    ratios = []
    for noisy in draws(RandShotNoised(1.0, 0.1), sample(image), 10):
        dim, bright = noisy["image"][0, :, :100].std(), noisy["image"][0, :, 100:].std()
        ratios.append(float(bright / dim))
        assert bright < 0.11
    assert np.mean(ratios) == pytest.approx(2, rel=0.05)


def test_dim_patches_are_darker_by_factors_drawn_evenly_in_the_logarithm():
    image = np.random.default_rng(0).random((1, 9, 9))
    logs = []
    for moved in draws(RandDarkend(1.0, 2.0), sample(image), 200):
        factor = moved["image"].max() / image.max()
        torch.testing.assert_close(moved["image"], factor * torch.from_numpy(image).float())
        logs.append(-np.log(factor.item()))
    assert 0 <= min(logs) < 0.1 and 1.9 < max(logs) <= 2
    assert np.mean(logs) == pytest.approx(1, abs=0.1)


def test_inversion_is_its_own_inverse():
    image = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32)
    once = RandInvertd(1.0)(sample(image))
    torch.testing.assert_close(RandInvertd(1.0)(once)["image"], torch.from_numpy(image))
    assert not torch.allclose(once["image"], torch.from_numpy(image))


@pytest.mark.parametrize(("points", "side"), [(3, 64), (7, 256), (4, 37)])
def test_smooth_fields_are_bicubic_between_their_points(points, side):
    drawn = np.random.default_rng(0).uniform(-1, 1, (2, points, points)).astype(np.float32)
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(drawn)[None], size=(side, side), mode="bicubic", align_corners=True
    )
    np.testing.assert_allclose(transforms.interpolated(drawn, side), whole[0], atol=1e-5)
