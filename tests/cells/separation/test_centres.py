import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.draw import disk

from slideunet.cells.separation import centres
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import separate
from slideunet.model_json import HEADS, output_maps

NAMES = output_maps(HEADS)
EVERY = Decoding(0.5, "centres", min_area=1)


def partition(labels):
    pixels = np.arange(labels.size).reshape(labels.shape)
    return {tuple(pixels[labels == cell]) for cell in np.unique(labels[labels > 0])}


def test_discs_that_touch_are_told_apart_pixel_by_pixel(true_maps):
    labels = np.zeros((80, 120), np.int32)
    for number, (y, x, radius) in enumerate([(30, 30, 14), (30, 58, 14), (56, 44, 12), (60, 90, 20)], 1):
        place = disk((y, x), radius, shape=labels.shape)
        labels[place] = np.where(labels[place] > 0, labels[place], number)
    assert partition(separate(true_maps(labels), Decoding(0.5, "centres"))) == partition(labels)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_true_maps_give_nearly_every_cell_back(true_maps, touching_cells, seed):
    labels = touching_cells(seed)
    found = separate(true_maps(labels), EVERY)
    np.testing.assert_array_equal(found > 0, labels > 0)
    # Where an ellipse covers another's middle, the rest has its centre elsewhere or near another one.
    alike = partition(found) & partition(labels)
    assert len(alike) >= 0.7 * len(partition(labels))


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 20.0, 80.0]), st.integers(1, 12))
def test_every_cell_is_connected_and_large_enough_and_no_pixel_is_lost(
    true_maps, touching_cells, seed, noise, min_area
):
    maps = true_maps(touching_cells(seed), noise, seed)
    labels = separate(maps, Decoding(0.5, "centres", min_area))
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= min_area).all()
    assert all(ndi.label(labels == cell)[1] == 1 for cell in range(1, labels.max() + 1))
    every = separate(maps, EVERY)
    np.testing.assert_array_equal(every > 0, maps["foreground"] >= 128)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 30.0]), st.integers(0, 3))
def test_a_part_with_enough_around_it_is_divided_as_the_whole(true_maps, touching_cells, seed, noise, turns):
    maps = true_maps(np.rot90(touching_cells(seed, (420, 330), 160), turns), noise, seed)
    foreground = maps["foreground"] >= 128
    others = [maps[name] for name in HEADS["centres"]]
    whole = centres.divide(foreground, *others, (7, 9))
    window = (slice(40, 330), slice(30, 300))
    inner = (slice(130, 170), slice(120, 160))
    part = centres.divide(foreground[window], *(other[window] for other in others), (47, 39))
    zones = [
        (slice(0, centres.ZONE), slice(None)), (slice(-centres.ZONE, None), slice(None)),
        (slice(None), slice(0, centres.ZONE)), (slice(None), slice(-centres.ZONE, None)),
    ]  # fmt: skip
    if part.unsure(inner, zones):
        return
    for cell in np.unique(part.labels[inner]):
        own = part.labels == cell
        if cell:
            (there,) = np.unique(whole.labels[window][own])
            assert np.count_nonzero(whole.labels == there) == np.count_nonzero(own)


def test_what_reaches_into_the_zone_makes_a_part_unsure(true_maps):
    labels = np.zeros((300, 300), np.int32)
    labels[disk((150, 150), 20, shape=labels.shape)] = 1
    maps = true_maps(labels)
    division = centres.divide(labels > 0, maps["centre"], maps["dy"], maps["dx"], (0, 0))
    inner = (slice(140, 160), slice(140, 160))
    assert division.unsure(inner, [(slice(0, 100), slice(None))]) == 0
    assert division.unsure(inner, [(slice(0, 132), slice(None))]) == 1
    assert division.unsure((slice(0, 10), slice(0, 10)), [(slice(0, 132), slice(None))]) == 0
    assert division.unsure(inner, []) == 0


def test_a_foreground_without_any_centre_is_one_cell_per_component():
    foreground = np.zeros((60, 60), bool)
    foreground[5:15, 5:30] = foreground[30:50, 8:12] = True
    nothing = np.zeros((60, 60), np.uint8)
    labels = centres.divide(foreground, nothing, nothing, nothing, (0, 0)).labels
    assert partition(labels) == partition(ndi.label(foreground)[0])


def test_pixels_too_far_from_their_centre_go_to_the_cell_that_they_touch(true_maps):
    labels = np.zeros((40, 300), np.int32)
    labels[10:30, 10:290] = 1  # its ends are 140 px from the centre
    assert separate(true_maps(labels), Decoding(0.5, "centres")).max() == 1


def test_equal_heights_give_one_peak():
    flat = np.full((50, 60), 200, np.uint8)
    peaks = centres.find_peaks(np.ones((50, 60), bool), flat, (3, 5))
    for one in range(len(peaks)):
        for other in range(one):
            assert np.abs(peaks[one] - peaks[other]).max() >= centres.APART


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
@pytest.mark.parametrize("value", [0, 255])
def test_tiny_images(shape, value):
    maps = {name: np.full(shape, value, np.uint8) for name in NAMES}
    labels = separate(maps, EVERY)
    assert (labels.shape, labels.dtype) == (shape, np.uint32)
    np.testing.assert_array_equal(labels > 0, maps["foreground"] > 0)
