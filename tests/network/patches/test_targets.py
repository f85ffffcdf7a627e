import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.morphology import disk
from skimage.segmentation import expand_labels

from slideunet.model_json import HEADS, output_maps
from slideunet.network.patches.targets import border_weights, cell_targets, compact

NAMES = output_maps(HEADS)
labels_of_any_kind = hnp.arrays(
    st.sampled_from([np.uint8, np.int32, np.float32]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 1, 2, 7]),
)


def named(labels):
    *maps, weight = cell_targets(labels, NAMES)
    return dict(zip(NAMES, maps, strict=True)) | {"weight": weight}


@given(labels_of_any_kind)
def test_offsets_lead_to_the_mean_of_the_pixels_of_the_cell(labels):
    found = named(labels)
    places = np.indices(labels.shape)
    for cell in regionprops(labels.astype(np.int32)):
        own = labels == cell.label
        for name, axis in (("dy", 0), ("dx", 1)):
            np.testing.assert_allclose((places[axis] + found[name])[own], cell.centroid[axis], atol=1e-4)
        np.testing.assert_allclose(found["weight"][own], np.sqrt(np.pi / cell.area), rtol=1e-5)


@given(labels_of_any_kind)
def test_all_maps_are_zero_in_the_background_and_the_foreground_is_one(labels):
    found = named(labels)
    for values in found.values():
        assert values.dtype == np.float32
        assert not values[labels == 0].any()
    np.testing.assert_array_equal(found["foreground"], labels > 0)


@settings(max_examples=40)
@given(labels_of_any_kind)
def test_the_distance_is_that_of_each_cell_by_itself(labels):
    found = named(labels)["distance"]
    for cell in np.unique(labels[labels > 0]):
        own = labels == cell
        depth = np.ones(own.shape) if own.all() else ndi.distance_transform_edt(own)
        np.testing.assert_allclose(found[own], (depth / depth.max())[own], rtol=1e-5)


@settings(max_examples=40)
@given(labels_of_any_kind.filter(lambda labels: labels.dtype.kind != "u"))
def test_an_ignored_area_is_like_the_end_of_the_image(labels):
    wide = np.pad(labels, 3, constant_values=-1)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    found = cell_targets(wide, NAMES)
    np.testing.assert_allclose(found[inner], cell_targets(labels, NAMES), atol=1e-5)
    found[inner] = 0
    assert (found[0] == np.pad(np.zeros(labels.shape), 3, constant_values=-1)).all()
    assert not found[1:].any()


@pytest.mark.parametrize("radius", [3, 8, 15, 40])
def test_the_centre_is_highest_in_the_middle_and_cut_at_the_edge(radius):
    labels = np.pad(disk(radius), 5).astype(np.int32)
    centre = named(labels)["centre"]
    middle = labels.shape[0] // 2
    assert centre.argmax() == middle * labels.shape[1] + middle
    assert centre.max() == 1
    assert not centre[labels == 0].any()


def test_without_heads_there_is_only_the_foreground():
    labels = np.array([[0, 3], [3, 9]])
    np.testing.assert_array_equal(cell_targets(labels, ("foreground",)), [[[0, 1], [1, 1]]])


def u_net_weights(labels):
    """Equation 2 of Ronneberger et al. 2015 without its factor: a distance map for each cell by itself."""
    ids = np.unique(labels[labels > 0])
    if len(ids) < 2:
        return np.zeros(labels.shape)
    first, second, *_ = np.sort([ndi.distance_transform_edt(labels != cell) for cell in ids], axis=0)
    return np.where(second <= 16, np.exp(-((first + second) ** 2) / (2 * 5**2)), 0)


@settings(max_examples=40)
@given(labels_of_any_kind)
def test_border_weights_are_the_formula_of_the_paper(labels):
    np.testing.assert_allclose(border_weights(compact(labels)), u_net_weights(labels), atol=1e-6)


def test_border_weights_of_many_cells_whose_boxes_overlap():
    seeds = np.random.default_rng(0).integers(0, 90, (25, 2))
    points = np.full((90, 90), 0)
    points[tuple(seeds.T)] = np.arange(1, 26)
    labels = expand_labels(points, 9)
    expected = u_net_weights(labels)
    np.testing.assert_allclose(border_weights(compact(labels)), expected, atol=1e-6)
    assert expected.max() > 0.9


@given(labels_of_any_kind)
def test_compact_ids_count_cells_in_the_order_of_their_first_pixels(labels):
    ids = compact(labels)
    first = [np.flatnonzero(ids == cell)[0] for cell in range(1, ids.max() + 1)]
    assert first == sorted(first)
    assert ((ids > 0) == (labels > 0)).all()
    pairs = set(zip(ids.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(ids)) == len(np.unique(labels))


@pytest.mark.parametrize("maps", [("foreground",), NAMES])
def test_border_weights_are_the_last_plane(maps):
    labels = np.repeat([[0, 1, 1, 2, 2]], 5, axis=0)
    plain, weighed = cell_targets(labels, maps), cell_targets(labels, maps, border=True)
    np.testing.assert_array_equal(weighed[:-1], plain)
    np.testing.assert_array_equal(weighed[-1], border_weights(compact(labels)))
