from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import block_reduce

from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pyramid import halve, halved_image, halved_labels, level_shapes

shapes = st.tuples(st.integers(1, 23), st.integers(1, 23))


def mean_of_the_whole(pixels):
    odd = [(0, 0), *((0, side % 2) for side in pixels.shape[1:])]
    mean = block_reduce(np.pad(pixels.astype(np.float64), odd, mode="edge"), (1, 2, 2), np.mean)
    return np.floor(mean + 0.5) if pixels.dtype.kind == "u" else mean


def half(shape):
    return tuple(-(-side // 2) for side in shape)


def fill(source, halved, region):
    target = np.zeros((*source.shape[:-2], *half(source.shape[-2:])), source.dtype)
    halve(source, target, halved, region)
    return target


@given(shapes, st.sampled_from(["uint8", "uint16", "float32"]), st.sampled_from([2, 3, 2048]))
@settings(max_examples=100)
def test_an_image_is_halved_by_the_mean_whatever_the_regions(shape, dtype, region):
    rng = np.random.default_rng(sum(shape))
    pixels = rng.uniform(0, 255 if dtype == "uint8" else 65535, (2, *shape)).astype(dtype)
    found = fill(pixels, halved_image, region)
    np.testing.assert_allclose(found, mean_of_the_whole(pixels), rtol=1e-6 if dtype == "float32" else 0)
    np.testing.assert_array_equal(found, halved_image(pixels))
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_the_largest_values_do_not_overflow(dtype):
    found = halved_image(np.full((1, 5, 5), np.iinfo(dtype).max, dtype))
    assert found.shape == (1, 3, 3)
    assert (found == np.iinfo(dtype).max).all()


@given(shapes, st.sampled_from([2, 3, 2048]))
@settings(max_examples=60)
def test_labels_are_every_second_pixel_whatever_the_regions(shape, region):
    labels = np.random.default_rng(sum(shape)).integers(0, 2**32, shape, dtype=np.uint32)
    np.testing.assert_array_equal(fill(labels, halved_labels, region), labels[::2, ::2])


@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.sampled_from(["uint8", "float32"]))
def test_a_block_is_halved_as_the_slide_is(shape, dtype):
    """Blocks start on multiples of 8, so three levels of a block are those of the slide."""
    pixels = np.random.default_rng(sum(shape)).uniform(0, 255, (1, *shape)).astype(dtype)
    whole = halved_image(halved_image(halved_image(pixels)))
    parts = np.zeros_like(whole)
    for rows, columns in BlockGrid(shape, 32):
        block = halved_image(halved_image(halved_image(pixels[:, rows, columns])))
        top, left = rows.start // 8, columns.start // 8
        parts[:, top : top + block.shape[1], left : left + block.shape[2]] = block
    np.testing.assert_array_equal(parts, whole)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_levels_are_halved_until_the_longer_side_is_small(height, width):
    levels = level_shapes((3, height, width))
    assert levels[0] == (3, height, width)
    assert max(levels[-1][1:]) <= 256
    assert all(max(level[1:]) > 256 for level in levels[:-1])
    for larger, smaller in pairwise(levels):
        assert smaller == (3, *half(larger[1:]))
