import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from slideunet.cells.separation import watershed as watershed_module
from slideunet.cells.separation.tie_break import position_hash

SIDES = ndi.generate_binary_structure(2, 1)


def rough(shape, seed, sigma=2.0):
    """A foreground and heights of which many are alike."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    values = np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)
    return values > 110, watershed_module.smoothed(values)


def ranked(height, origin=(0, 0)):
    """Heights that are all different: equal ones by the hash of the position."""
    rows, columns = (np.arange(n) + first for n, first in zip(height.shape, origin, strict=True))
    return height.astype(np.int64) << 32 | position_hash(rows[:, None], columns[None])


def flooded(foreground, height):
    """The watershed of scikit-image from every maximum, whose queue knows no equal heights."""
    order = np.where(foreground, np.argsort(np.argsort(ranked(height), axis=None)).reshape(height.shape), -1)
    peaks = (order == ndi.maximum_filter(order, footprint=SIDES, mode="constant", cval=-1)) & foreground
    return watershed(-order, ndi.label(peaks, SIDES)[0], mask=foreground)


def partition(labels):
    pixels = np.arange(labels.size).reshape(labels.shape)
    return {tuple(pixels[labels == cell]) for cell in np.unique(labels[labels > 0])}


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 10**6), st.sampled_from([0, 1, 3]))
def test_without_joining_the_cells_are_the_basins_of_a_flood(shape, seed, sigma):
    foreground, height = rough(shape, seed, sigma)
    assert partition(watershed_module.flood(foreground, height, 1.1, (0, 0)).labels) == partition(
        flooded(foreground, height)
    )


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(0, 10**6))
def test_when_everything_is_joined_the_cells_are_the_components(shape, seed):
    foreground, height = rough(shape, seed)
    division = watershed_module.flood(foreground, height, 0.0, (0, 0))
    assert partition(division.labels) == partition(ndi.label(foreground)[0])
    assert len(set(division.components)) == len(division.components)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.5, 1.0))
def test_two_cells_of_a_component_have_a_valley_between_them(seed, ratio):
    """Oracle: what is joined is decided basin by basin, over the scikit-image flood, in plain Python."""
    foreground, height = rough((40, 50), seed)
    basins = flooded(foreground, height)
    order = ranked(height)
    top = {int(b): int(order[basins == b].max()) for b in np.unique(basins[basins > 0])}
    contacts = {}
    for one, other in (((0, 0), (1, 0)), ((0, 0), (0, 1))):
        for y in range(40 - other[0]):
            for x in range(50 - other[1]):
                a, b = basins[y + one[0], x + one[1]], basins[y + other[0], x + other[1]]
                if a and b and a != b:
                    saddle = min(order[y, x], order[y + other[0], x + other[1]])
                    pair = frozenset((int(a), int(b)))
                    contacts[pair] = max(contacts.get(pair, 0), int(saddle))
    cell = {b: b for b in top}
    for pair, saddle in sorted(contacts.items(), key=lambda item: -item[1]):
        lower, higher = sorted((cell[b] for b in pair), key=top.__getitem__)
        if lower != higher and (saddle >> 32) >= ratio * (top[lower] >> 32):
            cell = {b: higher if own == lower else own for b, own in cell.items()}
    joined = np.vectorize({0: 0, **cell}.__getitem__)(basins)
    assert partition(watershed_module.flood(foreground, height, ratio, (0, 0)).labels) == partition(joined)


@given(st.integers(0, 10**6), st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)))
@settings(max_examples=20)
def test_plateaus_are_divided_alike_wherever_the_window_begins(seed, origin):
    foreground, _ = rough((50, 60), seed)
    flat = np.full((50, 60), 7, np.uint16)
    whole = watershed_module.flood(foreground, flat, 1.1, origin).labels
    part = watershed_module.flood(foreground[5:], flat[5:], 1.1, (origin[0] + 5, origin[1])).labels
    # A pixel climbs to a peak; where that path stays away from the cut, it is the same.
    cut = np.unique(whole[:6])
    inside = ~np.isin(whole[5:], cut)
    assert partition(whole[5:] * inside) == partition(part * inside)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_smoothing_is_that_of_scipy(dtype):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 29), endpoint=True, dtype=dtype)
    values[:4, :7] = np.iinfo(dtype).max
    kernel = np.outer(*2 * [[1, 4, 6, 4, 1]])
    unit = 1 if dtype == np.uint8 else 256
    expected = ndi.correlate(values.astype(np.int64), kernel, mode="reflect") // unit
    np.testing.assert_array_equal(watershed_module.smoothed(values), expected)


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 1)])
def test_tiny_and_empty_images(shape):
    for value in (False, True):
        division = watershed_module.flood(np.full(shape, value), np.zeros(shape, np.uint16), 0.9, (0, 0))
        assert division.labels.shape == shape
        assert division.labels.max(initial=0) == int(value and shape[0] > 0)
