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
    """A foreground and heights with many ties."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    values = np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)
    return values > 110, watershed_module.smoothed(values)


def ranked(height, origin=(0, 0)):
    """Distinct heights: ties are broken by the hash of the position."""
    rows, columns = (np.arange(n) + first for n, first in zip(height.shape, origin, strict=True))
    return height.astype(np.int64) << 32 | position_hash(rows[:, None], columns[None])


def flooded(foreground, height):
    """scikit-image's watershed from all maxima, on ranks, so that its queue meets no ties."""
    order = np.where(foreground, np.argsort(np.argsort(ranked(height), axis=None)).reshape(height.shape), -1)
    peaks = (order == ndi.maximum_filter(order, footprint=SIDES, mode="constant", cval=-1)) & foreground
    return watershed(-order, ndi.label(peaks, SIDES)[0], mask=foreground)


def partition(labels):
    pixels = np.arange(labels.size).reshape(labels.shape)
    return {tuple(pixels[labels == cell]) for cell in np.unique(labels[labels > 0])}


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 10**6), st.sampled_from([0, 1, 3]))
def test_without_merging_cells_are_the_basins_of_a_flood(shape, seed, sigma):
    foreground, height = rough(shape, seed, sigma)
    assert partition(watershed_module.split_at_valleys(foreground, height, 1.1, (0, 0)).labels) == partition(
        flooded(foreground, height)
    )


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(0, 10**6))
def test_merging_everything_returns_the_components(shape, seed):
    foreground, height = rough(shape, seed)
    cells = watershed_module.split_at_valleys(foreground, height, 0.0, (0, 0))
    assert partition(cells.labels) == partition(ndi.label(foreground)[0])
    assert len(set(cells.components)) == len(cells.components)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.5, 1.0))
def test_merging_equals_a_basin_by_basin_oracle(seed, ratio):
    """Oracle: basins of the scikit-image flood, merged one by one in plain Python."""
    foreground, height = rough((40, 50), seed)
    basins = flooded(foreground, height)
    order = ranked(height)
    top = {int(b): int(order[basins == b].max()) for b in np.unique(basins[basins > 0])}
    contacts = {}
    for down, right in ((1, 0), (0, 1)):
        for y in range(40 - down):
            for x in range(50 - right):
                a, b = basins[y, x], basins[y + down, x + right]
                if a and b and a != b:
                    saddle = min(order[y, x], order[y + down, x + right])
                    pair = frozenset((int(a), int(b)))
                    contacts[pair] = max(contacts.get(pair, 0), int(saddle))
    cell = {b: b for b in top}
    for pair, saddle in sorted(contacts.items(), key=lambda item: -item[1]):
        lower, higher = sorted((cell[b] for b in pair), key=top.__getitem__)
        if lower != higher and (saddle >> 32) >= ratio * (top[lower] >> 32):
            cell = {b: higher if c == lower else c for b, c in cell.items()}
    merged = np.vectorize({0: 0, **cell}.__getitem__)(basins)
    labels = watershed_module.split_at_valleys(foreground, height, ratio, (0, 0)).labels
    assert partition(labels) == partition(merged)


@given(st.integers(0, 10**6), st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)))
@settings(max_examples=20)
def test_plateaus_are_split_alike_in_every_window(seed, origin):
    foreground, _ = rough((50, 60), seed)
    flat = np.full((50, 60), 7, np.uint16)
    whole = watershed_module.split_at_valleys(foreground, flat, 1.1, origin).labels
    part = watershed_module.split_at_valleys(foreground[5:], flat[5:], 1.1, (origin[0] + 5, origin[1])).labels
    # A pixel climbs to the same peak if its path stays away from the cut.
    cut = np.unique(whole[:6])
    inside = ~np.isin(whole[5:], cut)
    assert partition(whole[5:] * inside) == partition(part * inside)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_smoothing_equals_scipy(dtype):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (13, 29), endpoint=True, dtype=dtype)
    values[:4, :7] = np.iinfo(dtype).max
    kernel = np.outer(*2 * [[1, 4, 6, 4, 1]])
    unit = 1 if dtype == np.uint8 else 256
    expected = ndi.correlate(values.astype(np.int64), kernel, mode="reflect") // unit
    np.testing.assert_array_equal(watershed_module.smoothed(values), expected)


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 1)])
def test_tiny_and_empty_images(shape):
    for value in (False, True):
        foreground, height = np.full(shape, value), np.zeros(shape, np.uint16)
        labels = watershed_module.split_at_valleys(foreground, height, 0.9, (0, 0)).labels
        assert labels.shape == shape
        assert labels.max(initial=0) == int(value and shape[0] > 0)
