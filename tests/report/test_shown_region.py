import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.pyramid import level_shapes
from slideunet.report.shown_region import (
    COARSE,
    SURROUNDINGS,
    WHOLE,
    WINDOW,
    Window,
    coarse_level,
    densest_window,
    square_around,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 2**16))
def test_window_lies_inside_and_holds_the_densest_spot(height, width, seed):
    level = coarse_level((height, width))
    coarse = level_shapes((height, width))[level]
    assert max(coarse) <= COARSE
    y, x = np.random.default_rng(seed).integers((0, 0), coarse)
    interest = np.zeros(coarse)
    interest[y, x] = 1
    window = densest_window(interest, 1 << level, (height, width))
    assert 0 <= window.top < window.bottom <= height
    assert 0 <= window.left < window.right <= width
    if max(height, width) <= WHOLE:
        assert window == Window(0, 0, height, width)
    else:
        assert (window.bottom - window.top, window.right - window.left) == (
            min(height, WINDOW),
            min(width, WINDOW),
        )
    assert window.top <= (y << level) + (1 << level) and (y << level) <= window.bottom
    assert window.left <= (x << level) + (1 << level) and (x << level) <= window.right


def test_margin_is_cut_at_the_border_and_taken_off_again():
    window = Window(5, 100, 55, 180)
    outer = window.grown(20, (70, 190))
    assert outer == Window(0, 80, 70, 190)
    plane = np.arange(70 * 190).reshape(70, 190)
    np.testing.assert_array_equal(plane[outer.slices][window.inside(outer).slices], plane[window.slices])


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_a_square_shows_an_object_with_its_surroundings(height, width, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    box = Window(top, left, bottom, right)
    window, side = square_around(box, (64, 128, 256), (height, width))
    assert side in (64, 128, 256)
    assert (window.bottom - window.top, window.right - window.left) == (min(side, height), min(side, width))
    assert 0 <= window.top < window.bottom <= height
    assert 0 <= window.left < window.right <= width
    longest = max(bottom - top, right - left)
    if longest * SURROUNDINGS <= 256:
        assert side >= longest * SURROUNDINGS
        assert window.top <= top < bottom <= window.bottom
        assert window.left <= left < right <= window.right
    y, x = box.middle
    assert window.top <= y <= window.bottom
    assert window.left <= x <= window.right
