import numpy as np
import pytest
import torch
from scipy import stats

from slideunet.network.in_memory.draws import draw_patches, image_weights
from slideunet.network.in_memory.pool import build_pool, drawn_negatives
from slideunet.network.in_memory.prepared import prepare


def index_of(images, negatives=0):
    ready = [prepare(image, "percentile", "dark", 6, False) for image in images]
    return build_pool([*ready, *drawn_negatives(1, negatives, 0)], torch.device("cpu")).index


def many(index, recipe, batches=40):
    weights = image_weights(index, recipe.stratum_balance, recipe.source_balance, recipe.negatives)
    return [draw_patches(index, weights, recipe, np.random.default_rng((1, step))) for step in range(batches)]


def joined(draws, name):
    return np.concatenate([getattr(one, name) for one in draws])


def test_diameters_are_spread_evenly_in_the_logarithm_whatever_the_image(draw_image, make_recipe):
    # Large enough that no zoom is held back: half a patch at the least zoom.
    images = [draw_image(i, shape=(300, 330), radius=radius) for i, radius in enumerate((3, 6, 12))]
    index = index_of(images)
    found = many(index, make_recipe(batch_size=50))
    diameters = index.diameters[joined(found, "images")] * joined(found, "zooms")
    assert stats.kstest(np.log(diameters), stats.uniform(np.log(6), np.log(30 / 6)).cdf).pvalue > 0.01


def test_an_image_fills_at_least_half_of_a_patch(draw_image, make_recipe):
    index = index_of([draw_image(0, shape=(70, 90), radius=12, count=20)])
    zooms = joined(many(index, make_recipe()), "zooms")
    assert zooms.min() == pytest.approx(32 / 70)


def test_some_patches_are_as_they_are(draw_image, make_recipe):
    index = index_of([draw_image(0)])
    found = many(index, make_recipe(native=0.4, batch_size=50, augmentation={"rotation": 180, "flip": 0.5}))
    whole = np.isclose(np.abs(joined(found, "matrices")), [[1, 0], [0, 1]]).all(axis=(1, 2))
    turned = np.isclose(np.abs(joined(found, "matrices")), [[0, 1], [1, 0]]).all(axis=(1, 2))
    assert (whole | turned).mean() == pytest.approx(0.4, abs=0.05)
    assert turned.any()


def test_sources_are_balanced_whatever_they_hold(draw_image, make_recipe):
    images = [draw_image(i, source="A") for i in range(9)] + [draw_image(9, source="B", shape=(80, 75))]
    index = index_of(images, negatives=3)
    recipe = make_recipe(batch_size=50, negatives=0.2)
    weights = image_weights(index, 0.0, 1.0, 0.2)
    assert weights.sum() == pytest.approx(1)
    assert weights[:9].sum() == pytest.approx(0.4)
    assert weights[9] == pytest.approx(0.4)
    assert weights[10:].sum() == pytest.approx(0.2)
    drawn = np.bincount(joined(many(index, recipe), "images"), minlength=13) / 2000
    assert drawn[9] == pytest.approx(0.4, abs=0.04)


def test_sources_may_have_weights_between_equal_and_their_number_of_images(draw_image):
    images = [draw_image(i, source="A") for i in range(9)] + [draw_image(9, source="B", shape=(80, 75))]
    index = index_of(images, negatives=3)
    assert image_weights(index, 0.0, 0.0, 0.2)[9] == pytest.approx(0.8 / 10)
    assert image_weights(index, 0.0, 0.5, 0.2)[9] == pytest.approx(0.8 / (3 + 1))


def test_strata_are_balanced_as_far_as_asked(draw_image):
    index = index_of([draw_image(i) for i in range(4)])
    strata = type(index)(index.sources, ("a", "a", "a", "b"), index.sizes, index.diameters, index.centres)
    assert image_weights(strata, 0.0, 1.0, 0)[3] == pytest.approx(1 / 4)
    assert image_weights(strata, 1.0, 1.0, 0)[3] == pytest.approx(1 / 2)


def test_patches_lie_inside_where_they_can(draw_image, make_recipe):
    index = index_of([draw_image(0, shape=(200, 140))])
    recipe = make_recipe(diameters=[10, 30])
    for one in many(index, recipe):
        half = (recipe.patch_size / one.zooms / 2)[:, None]
        fits = (2 * half < [[200, 140]]).all(axis=1)
        assert (one.middles - half >= -0.5 - 1e-9)[fits].all()
        assert (one.middles + half <= np.array([[200, 140]]) - 0.5 + 1e-9)[fits].all()


def test_the_level_read_is_near_the_zoom(draw_image, make_recipe):
    index = index_of([draw_image(0, shape=(600, 500), radius=30, count=30)])
    for one in many(index, make_recipe()):
        left = one.zooms * 2.0**one.levels
        inside = one.levels < 3
        assert (left[inside] >= 2**-0.5 - 1e-9).all()
        assert (left[(one.levels > 0)] <= 2**0.5 + 1e-9).all()
