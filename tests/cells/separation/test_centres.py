import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.draw import disk

from slideunet.cells.separation import centres
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import separate
from slideunet.cells.separation.window_edge import EdgeDepth
from slideunet.model_json import HEADS, output_maps

NAMES = output_maps(HEADS)
ALL_CELLS = Decoding(0.5, "centres", min_area=1)


def partition(labels):
    pixels = np.arange(labels.size).reshape(labels.shape)
    return {tuple(pixels[labels == cell]) for cell in np.unique(labels[labels > 0])}


def test_touching_discs_are_separated_pixel_by_pixel(true_maps):
    labels = np.zeros((80, 120), np.int32)
    for number, (y, x, radius) in enumerate([(30, 30, 14), (30, 58, 14), (56, 44, 12), (60, 90, 20)], 1):
        place = disk((y, x), radius, shape=labels.shape)
        labels[place] = np.where(labels[place] > 0, labels[place], number)
    assert partition(separate(true_maps(labels), Decoding(0.5, "centres"))) == partition(labels)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_maps_of_the_ground_truth_return_nearly_all_cells(true_maps, touching_cells, seed):
    labels = touching_cells(seed)
    found = separate(true_maps(labels), ALL_CELLS)
    np.testing.assert_array_equal(found > 0, labels > 0)
    # An ellipse whose middle is covered by another one has its centre elsewhere or close to the other.
    equal = partition(found) & partition(labels)
    assert len(equal) >= 0.7 * len(partition(labels))


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 20.0, 80.0]), st.integers(1, 12))
def test_cells_are_connected_and_large_enough_and_no_pixel_is_lost(
    true_maps, touching_cells, seed, noise, min_area
):
    maps = true_maps(touching_cells(seed), noise, seed)
    labels = separate(maps, Decoding(0.5, "centres", min_area))
    areas = np.bincount(labels.ravel())[1:]
    assert (areas >= min_area).all()
    assert all(ndi.label(labels == cell)[1] == 1 for cell in range(1, labels.max() + 1))
    everything = separate(maps, ALL_CELLS)
    np.testing.assert_array_equal(everything > 0, maps["foreground"] >= 128)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 30.0]), st.integers(0, 3))
def test_a_window_with_context_has_the_cells_of_the_slide(true_maps, touching_cells, seed, noise, turns):
    maps = true_maps(np.rot90(touching_cells(seed, (420, 330), 160), turns), noise, seed)
    foreground = maps["foreground"] >= 128
    learned = [maps[name] for name in HEADS["centres"]]
    whole = centres.group_by_centre(foreground, *learned, (7, 9))
    window = (slice(40, 330), slice(30, 300))
    inner = (slice(130, 170), slice(120, 160))
    doubtful = EdgeDepth.of_window(window, foreground.shape).below(centres.ZONE)
    part = centres.group_by_centre(
        foreground[window], *(plane[window] for plane in learned), (47, 39), doubtful
    )
    if part.count_uncertain(inner):
        return
    for cell in np.unique(part.labels[inner]):
        pixels = part.labels == cell
        if cell:
            (in_slide,) = np.unique(whole.labels[window][pixels])
            assert np.count_nonzero(whole.labels == in_slide) == np.count_nonzero(pixels)


def test_cells_that_reach_doubtful_pixels_are_uncertain(true_maps):
    labels = np.zeros((300, 300), np.int32)
    labels[disk((150, 150), 20, shape=labels.shape)] = 1
    maps = true_maps(labels)
    inner = (slice(140, 160), slice(140, 160))

    def uncertain(width, part=inner):
        doubtful = np.arange(300)[:, None] < np.full(300, width)
        learned = maps["centre"], maps["dy"], maps["dx"]
        return centres.group_by_centre(labels > 0, *learned, (0, 0), doubtful).count_uncertain(part)

    assert uncertain(0) == uncertain(100) == 0
    assert uncertain(132) == 1
    assert uncertain(132, (slice(0, 10), slice(0, 10))) == 0


def test_a_foreground_without_centres_is_one_cell_per_component():
    foreground = np.zeros((60, 60), bool)
    foreground[5:15, 5:30] = foreground[30:50, 8:12] = True
    nothing = np.zeros((60, 60), np.uint8)
    labels = centres.group_by_centre(foreground, nothing, nothing, nothing, (0, 0)).labels
    assert partition(labels) == partition(ndi.label(foreground)[0])


def test_pixels_too_far_from_their_centre_join_the_adjacent_cell(true_maps):
    labels = np.zeros((40, 300), np.int32)
    labels[10:30, 10:290] = 1  # its ends are 140 px from the centre
    assert separate(true_maps(labels), Decoding(0.5, "centres")).max() == 1


def test_equal_heights_give_one_peak():
    flat = np.full((50, 60), 200, np.uint8)
    peaks = centres.find_peaks(np.ones((50, 60), bool), flat, (3, 5))
    for i in range(len(peaks)):
        for j in range(i):
            assert np.abs(peaks[i] - peaks[j]).max() >= centres.MIN_SEPARATION


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
@pytest.mark.parametrize("value", [0, 255])
def test_tiny_images(shape, value):
    maps = {name: np.full(shape, value, np.uint8) for name in NAMES}
    labels = separate(maps, ALL_CELLS)
    assert (labels.shape, labels.dtype) == (shape, np.uint32)
    np.testing.assert_array_equal(labels > 0, maps["foreground"] > 0)
