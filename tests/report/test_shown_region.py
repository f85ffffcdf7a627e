import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.pyramid import level_shapes
from slideunet.report.shown_region import (
    COARSE,
    SURROUNDINGS,
    WHOLE,
    WINDOW,
    coarse_level,
    densest_region,
    middle,
    square_around,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**16))
def test_region_is_inside_and_contains_the_densest_pixel(height, width, seed):
    level = coarse_level((height, width))
    coarse = level_shapes((height, width))[level]
    assert max(coarse) <= COARSE
    y, x = np.random.default_rng(seed).integers((0, 0), coarse)
    interest = np.zeros(coarse)
    interest[y, x] = 1
    rows, columns = densest_region(interest, 1 << level, (height, width))
    for part, place, length in ((rows, y, height), (columns, x, width)):
        assert 0 <= part.start < part.stop <= length
        size = length if max(height, width) <= WHOLE else min(length, WINDOW)
        assert part.stop - part.start == size
        assert part.start <= (place << level) + (1 << level) and (place << level) <= part.stop


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_a_square_shows_an_object_with_its_surroundings(height, width, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    box = slice(top, bottom), slice(left, right)
    region, side = square_around(box, (64, 128, 256), (height, width))
    assert side in (64, 128, 256)
    longest = max(bottom - top, right - left)
    if longest * SURROUNDINGS <= 256:
        assert side >= longest * SURROUNDINGS
    for part, extent, centre, length in zip(region, box, middle(box), (height, width), strict=True):
        assert part.stop - part.start == min(side, length)
        assert 0 <= part.start < part.stop <= length
        assert part.start <= centre <= part.stop
        if longest * SURROUNDINGS <= 256:
            assert part.start <= extent.start < extent.stop <= part.stop
