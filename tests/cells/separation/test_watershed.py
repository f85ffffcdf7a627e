import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from slideunet.cells.separation import watershed as watershed_module
from slideunet.cells.separation.tie_break import position_hash

SIDES = ndi.generate_binary_structure(2, 1)


def rough_heights(shape, seed, sigma):
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)


def rough(shape, seed, sigma=2.0):
    """A foreground and heights with many ties."""
    values = rough_heights(shape, seed, sigma)
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
    assert not cells.uncertain.any()


def passes_between(basins, order):
    """The highest pass of each pair of basins that touch, found pixel by pixel."""
    found = {}
    for down, right in ((1, 0), (0, 1)):
        for y, x in np.ndindex(basins.shape[0] - down, basins.shape[1] - right):
            a, b = basins[y, x], basins[y + down, x + right]
            if a and b and a != b:
                height = min(order[y, x], order[y + down, x + right])
                pair = frozenset((int(a), int(b)))
                found[pair] = max(found.get(pair, 0), int(height))
    return found


def joined(top, area, passes, ratio, by_size):
    """The cell of each basin, by the two steps of the module's description, in plain Python."""
    summit = {}
    for basin in sorted(top, key=top.__getitem__, reverse=True):
        # One pixel may be the pass to two basins: then the pair that comes first decides.
        higher = [(height, [-one for one in sorted(pair)], b)
                  for pair, height in passes.items() if basin in pair
                  for b in pair if top[b] > top[basin]]  # fmt: skip
        height, _, behind = max(higher, default=(0, [], basin))
        is_shoulder = higher and (height >> 32) >= ratio * (top[basin] >> 32)
        summit[basin] = summit[behind] if is_shoulder else basin
    group = dict.fromkeys(top, 0)
    for basin, behind in summit.items():
        group[behind] += area[basin]
    cell = dict(summit)
    for (a, b), height in ((tuple(pair), height) for pair, height in passes.items()):
        lower = min(top[summit[a]], top[summit[b]])
        diameter = 2 * math.sqrt((group[summit[a]] + group[summit[b]]) / math.pi)
        asked = ratio * min(1, max(0.5, (12 / diameter) ** 0.5)) if by_size else ratio
        if (height >> 32) >= asked * (lower >> 32):
            cell = {basin: cell[b] if of == cell[a] else of for basin, of in cell.items()}
    return cell


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 2.0, 5.0]), st.floats(0.5, 1.0), st.booleans())
@example(5054, 1.0, 0.875, False)  # One pixel is the pass to two basins.
def test_joining_equals_a_basin_by_basin_oracle(seed, sigma, ratio, by_size):
    foreground, height = rough((50, 70), seed, sigma)
    basins, order = flooded(foreground, height), ranked(height)
    top = {int(b): int(order[basins == b].max()) for b in np.unique(basins[basins > 0])}
    area = {basin: int((basins == basin).sum()) for basin in top}
    cell = joined(top, area, passes_between(basins, order), ratio, by_size)
    labels = watershed_module.split_at_valleys(foreground, height, ratio, (0, 0), None, by_size).labels
    assert partition(labels) == partition(np.vectorize({0: 0, **cell}.__getitem__)(basins))


def test_a_speck_in_a_valley_does_not_join_the_cells_beside_it():
    profile = np.array([9, 50, 90, 50, 21, 22, 21, 50, 90, 50, 9], np.uint16)
    height = np.repeat(profile[None] * 100, 3, axis=0)
    labels = watershed_module.split_at_valleys(height > 0, height, 0.9, (0, 0)).labels
    assert len(np.unique(labels[:, 1:10])) == 2
    assert labels[0, 2] != labels[0, 8]


def bumps(diameter, valley=0.6):
    """Two round peaks that touch, with a pass of `valley` of their height."""
    y, x = np.mgrid[:diameter, : 2 * diameter]
    middle = (diameter - 1) / 2
    away = np.minimum(np.hypot(y - middle, x - middle), np.hypot(y - middle, x - middle - diameter))
    height = 60000 * (1 - (1 - valley) * away / (diameter / 2))
    return away < diameter / 2 + 0.5, np.maximum(height, 1).astype(np.uint16)


@pytest.mark.parametrize(("diameter", "cells"), [(8, 2), (12, 2), (18, 1), (60, 1)])
def test_the_same_valley_divides_small_cells_but_no_large_one(diameter, cells):
    foreground, height = bumps(diameter)
    by_size = watershed_module.split_at_valleys(foreground, height, 0.85, (0, 0), None, by_size=True)
    assert by_size.labels.max() == cells
    assert watershed_module.split_at_valleys(foreground, height, 0.85, (0, 0)).labels.max() == 2


@pytest.mark.parametrize(("valley", "cells"), [(0.25, 2), (0.6, 1)])
def test_only_a_deep_valley_divides_a_small_part_from_a_large_one(valley, cells):
    """A shallow one is texture, however small the part behind it is."""
    foreground, height = bumps(60, valley)
    foreground[:, 60:], height[:, 60:] = False, 0
    small, top = bumps(12, valley)
    foreground[24:36, 60:72], height[24:36, 60:72] = small[:, :12], top[:, :12]
    found = watershed_module.split_at_valleys(foreground, height, 0.7, (0, 0), None, True)
    assert found.labels.max() == cells


def test_a_cell_is_uncertain_if_its_neighbour_may_be_larger_than_seen():
    """A cell, a bump of its neighbour that is no shoulder in the window, and the neighbour itself."""
    places = [0, 25, 45, 48, 51, 75, 100]
    profile = np.interp(np.arange(101), places, [10000, 40000, 20000, 30000, 29000, 50000, 10000])
    height = (profile - 20 * np.abs(np.arange(24) - 12)[:, None]).astype(np.uint16)
    foreground, doubtful = np.ones(height.shape, bool), np.zeros(height.shape, bool)
    doubtful[:, -20:] = True
    assert watershed_module.split_at_valleys(foreground, height, 0.7, (0, 0), None, True).labels.max() == 1
    window = watershed_module.split_at_valleys(foreground, height, 0.7, (0, 0), doubtful, by_size=True)
    assert window.uncertain[window.labels].all()
    fixed = watershed_module.split_at_valleys(foreground, height, 0.7, (0, 0), doubtful)
    assert not fixed.uncertain[fixed.labels[:, :45]].any()


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.floats(0.5, 1.0), st.sampled_from([0.8, 1.5, 2.5]), st.floats(1, 60))
def test_cells_without_doubtful_pixels_are_those_of_the_whole(seed, ratio, sigma, full_ratio_area):
    """Whatever lies at the doubtful pixels: here all of them are foreground, one component."""
    height = watershed_module.smoothed(rough_heights((60, 70), seed, sigma))
    other = watershed_module.smoothed(rough_heights((60, 70), seed + 1, sigma))
    foreground, doubtful = np.ones((60, 70), bool), np.zeros((60, 70), bool)
    doubtful[:, :9] = doubtful[-9:] = True
    changed = np.zeros_like(doubtful)
    changed[:, :8] = changed[-8:] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watershed_module, "FULL_RATIO_AREA", full_ratio_area)
        first, second = (
            watershed_module.split_at_valleys(foreground, values, ratio, (0, 0), doubtful, by_size=True)
            for values in (height, np.where(changed, other, height))
        )
        whole = watershed_module.split_at_valleys(foreground, height, ratio, (0, 0), by_size=True)
    for cells in (first, second):
        certain = ~cells.uncertain[cells.labels]
        assert partition(cells.labels * certain) <= partition(whole.labels)
    assert first.count_uncertain((slice(20), slice(30, 60))) <= len(np.unique(first.labels[:20, 30:60]))
    assert first.count_uncertain((slice(-9, None), slice(None))) > 0


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
