import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from skimage.measure import regionprops
from skimage.morphology import disk

from slideunet.network.facts import HEADS, output_maps
from slideunet.network.targets import cell_targets

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
        inner = ndi.binary_erosion(own, border_value=1)
        if inner.all():
            continue
        depth = np.where(own, ndi.distance_transform_edt(inner) + 1, 0)
        np.testing.assert_allclose(found[own], (depth / depth.max())[own], rtol=1e-5)


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
