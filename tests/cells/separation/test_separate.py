import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from skimage.draw import disk
from skimage.filters import gaussian

from slideunet.cells.separation import separate as separate_module
from slideunet.cells.separation.decoding import Decoding, heads_for, method_for
from slideunet.cells.separation.separate import foreground_cut
from slideunet.errors import InputError


def separate(probability, threshold, method="watershed", origin=(0, 0), **options):
    return separate_module.separate(
        {"foreground": probability}, Decoding(threshold, method, **options), origin
    )


def discs(shape, *circles):
    image = np.zeros(shape, np.uint8)
    for y, x, radius in circles:
        image[disk((y, x), radius, shape=shape)] = 255
    return image


def field(seed=0, shape=(233, 187), count=60):
    generator = np.random.default_rng(seed)
    centres = [(generator.uniform(0, shape[0]), generator.uniform(0, shape[1])) for _ in range(count)]
    return discs(shape, *[(y, x, generator.uniform(4, 14)) for y, x in centres])


def model(heads, **ap50):
    """The part of `model.json` on which the method depends."""
    scores = {method: {"ap50": value, "map": 0.0} for method, value in ap50.items()}
    return {"architecture": {"heads": heads}, "decodings": scores}


def partition(labels):
    """The cells as a set of pixel sets, independent of their ids."""
    pixels = np.arange(labels.size).reshape(labels.shape)
    return {tuple(pixels[labels == cell]) for cell in np.unique(labels[labels > 0])}


@given(st.integers(1, 999))
def test_the_cut_is_the_smallest_value_at_or_above_the_written_threshold(thousandths):
    cut = foreground_cut(thousandths / 1000)
    assert cut * 1000 >= thousandths * 255 > (cut - 1) * 1000


def test_a_threshold_equal_to_a_stored_value_includes_it():
    assert foreground_cut(0.2) == 51
    assert foreground_cut(0.6) == 153


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, math.nan])
def test_a_threshold_out_of_range_is_rejected(threshold):
    with pytest.raises(ValueError, match="threshold"):
        foreground_cut(threshold)


def test_wrong_arguments_are_rejected():
    with pytest.raises(TypeError, match="uint8"):
        separate(np.zeros((3, 3)), 0.5)
    with pytest.raises(TypeError, match="3 axes"):
        separate(np.zeros((1, 3, 3), np.uint8), 0.5)
    with pytest.raises(ValueError, match="unknown method"):
        separate(np.zeros((3, 3), np.uint8), 0.5, "magic")


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)), st.integers(1, 255))
def test_components_equal_scipy(probability, cut):
    labels = separate(probability, cut / 255 - 1e-6, "components", min_area=1)
    expected, count = ndi.label(probability >= cut)
    assert partition(labels) == partition(expected)
    assert labels.dtype == np.uint32
    assert labels.max() == count


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=25), elements=st.sampled_from([0, 255])
    )
)
def test_watershed_splits_components_and_loses_no_pixel(probability):
    labels = separate(probability, 0.5, "watershed", min_area=1)
    components, _ = ndi.label(probability)
    assert np.array_equal(labels > 0, probability > 0)
    for cell in range(1, labels.max() + 1):
        assert len(np.unique(components[labels == cell])) == 1
        assert ndi.label(labels == cell)[1] == 1


@pytest.mark.parametrize("radius", [4, 7, 12, 20, 30])
def test_two_touching_discs_are_two_cells_at_every_size(radius):
    step = 1.7 * radius
    pair = discs(
        (4 * radius, 6 * radius),
        (2 * radius, 1.8 * radius, radius),
        (2 * radius, 1.8 * radius + step, radius),
    )
    assert separate(pair, 0.5, "components").max() == 1
    labels = separate(pair, 0.5)
    assert labels.max() == 2
    areas = np.bincount(labels.ravel())[1:]
    assert areas.min() > 0.9 * areas.max()


@pytest.mark.parametrize("radius", [4, 7, 12, 20, 30])
@pytest.mark.parametrize("stretch", [1.0, 1.5, 2.5])
def test_one_ellipse_is_one_cell(radius, stretch):
    y, x = np.mgrid[: 3 * radius, : int(3 * radius * stretch)]
    inside = ((y - 1.4 * radius) / radius) ** 2 + ((x - 1.4 * radius * stretch) / radius / stretch) ** 2 <= 1
    assert separate(inside.astype(np.uint8) * 255, 0.5).max() == 1


def test_small_objects_are_removed_and_small_holes_filled():
    image = discs((60, 60), (30, 30, 15))
    whole = np.count_nonzero(image)
    image[29:32, 29:32] = 0  # 9 px
    image[2, 2:11] = 255  # 9 px
    labels = separate(image, 0.5, min_area=10)
    assert labels.max() == 1
    assert np.count_nonzero(labels) == whole
    image[29:32, 29:33] = 0  # 12 px: may be background between cells
    assert np.count_nonzero(separate(image, 0.5, min_area=10)) == whole - 12


def test_a_gap_at_the_border_is_not_a_hole():
    image = np.full((20, 20), 255, np.uint8)
    image[0:2, 5:8] = 0
    assert np.count_nonzero(separate(image, 0.5, min_area=10)) == 400 - 6


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (40, 40)])
@pytest.mark.parametrize("method", ["components", "watershed"])
def test_uniform_images_have_no_or_one_cell(value, shape, method):
    labels = separate(np.full(shape, value, np.uint8), 0.5, method, min_area=1)
    assert labels.shape == shape
    assert np.all(labels == (1 if value else 0))


@pytest.mark.parametrize("seed", range(4))
def test_cells_do_not_depend_on_the_window(seed):
    """A window has exactly the cells of the whole slide for all components inside it with a margin."""
    noise = gaussian(np.random.default_rng(seed).standard_normal((233, 187)), 2) * 200
    probability = np.clip(gaussian(field(seed, count=35).astype(float), 1.5) + noise, 0, 255).astype(np.uint8)
    whole = separate(probability, 0.5, min_area=1)
    top, left, bottom, right = 31, 17, 201, 160
    part = separate(probability[top:bottom, left:right], 0.5, min_area=1, origin=(top, left))
    components, _ = ndi.label(probability >= 128)
    inner = np.s_[top + 6 : bottom - 6, left + 6 : right - 6]
    outside = np.ones_like(components, bool)
    outside[inner] = False
    safe = (components > 0) & ~np.isin(components, components[outside])
    expected = np.where(safe, whole, 0)[top:bottom, left:right]
    assert expected.max() > 0
    assert partition(expected) == partition(np.where(safe[top:bottom, left:right], part, 0))


def test_the_same_input_gives_the_same_labels():
    assert np.array_equal(separate(field(), 0.5), separate(field(), 0.5))


@pytest.mark.parametrize(
    ("method", "heads", "chosen"),
    [
        ("auto", [], "watershed"),
        ("auto", ["distance"], "distance"),
        ("auto", ["distance", "centres"], "distance"),
        ("auto", ["centres"], "centres"),
        ("components", ["centres"], "components"),
    ],
)
def test_auto_is_the_generally_best_method_for_the_heads_of_a_model(method, heads, chosen):
    assert method_for(method, model(heads)) == chosen


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({"distance": 0.7, "centres": 0.7, "watershed": 0.7, "components": 0.6}, "distance"),
        ({"distance": 0.695, "centres": 0.7, "watershed": 0.7, "components": 0.6}, "distance"),
        ({"distance": 0.6, "centres": 0.65, "watershed": 0.7, "components": 0.695}, "watershed"),
        ({"distance": 0.0, "centres": 0.0, "watershed": 0.0, "components": 0.0}, "distance"),
        ({}, "distance"),
    ],
)
def test_auto_is_the_first_method_as_good_as_the_best_on_validation(scores, chosen):
    assert method_for("auto", model(["distance", "centres"], **scores)) == chosen


def test_a_better_method_without_its_maps_is_not_chosen():
    assert method_for("auto", model([], distance=0.9)) == "watershed"


def test_a_method_without_its_maps_is_an_error_that_names_the_possible_ones():
    with pytest.raises(InputError, match=r"cells.method is centres.*watershed, components or auto"):
        method_for("centres", model([]))


def test_a_method_needs_only_its_own_head():
    needed = {method: heads_for(method) for method in ("distance", "centres", "watershed", "components")}
    assert needed == {"distance": ("distance",), "centres": ("centres",), "watershed": (), "components": ()}
