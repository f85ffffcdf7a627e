"""Filling of small holes against the same with SciPy's connected components."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from slideunet.cells.separation.holes import fill_holes
from slideunet.cells.separation.window_edge import EdgeDepth


def filled_pixel_by_pixel(foreground, min_area, depth):
    gaps, count = ndi.label(~foreground, np.ones((3, 3)))
    edge, is_open = np.ones(foreground.shape, bool), depth.below(1)
    edge[1:-1, 1:-1] = False
    away = np.minimum(depth.rows[:, None], depth.columns)
    filled, unknown = foreground.copy(), 0
    for gap in range(1, count + 1):
        inside = gaps == gap
        if inside.sum() < min_area:
            filled |= inside & ~(inside & edge).any()
            if (inside & is_open).any():
                unknown = max(unknown, int(away[inside].max()) + 1)
    return filled, unknown


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.integers(0, 10**6),
    st.sampled_from([0.03, 0.2, 0.5, 0.9]),
    st.integers(1, 12),
    st.tuples(*4 * [st.booleans()]),
)
def test_holes_are_those_of_scipy(shape, seed, share, min_area, goes_on):
    foreground = np.random.default_rng(seed).random(shape) >= share
    above, left, below, right = map(int, goes_on)
    window = slice(above, above + shape[0]), slice(left, left + shape[1])
    slide = above + shape[0] + below, left + shape[1] + right
    depth = EdgeDepth.of_window(window, slide)
    filled, unknown = fill_holes(foreground, min_area, depth)
    expected, reach = filled_pixel_by_pixel(foreground, min_area, depth)
    np.testing.assert_array_equal(filled, expected)
    assert unknown == reach


def test_a_foreground_without_background_stays():
    whole = np.ones((5, 7), bool)
    filled, unknown = fill_holes(whole, 10, EdgeDepth.of_whole(whole.shape))
    assert filled.all()
    assert unknown == 0
