import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.randomness import SmoothField, Stream, place_generator

corner = st.integers(-3000, 3000)
length = st.integers(1, 60)


@pytest.mark.parametrize("spacing", [3, 64, 384])
@settings(max_examples=25, deadline=None)
@given(top=corner, left=corner, height=length, width=length, skip_y=length, skip_x=length)
def test_a_smooth_field_has_one_value_at_each_place(spacing, top, left, height, width, skip_y, skip_x):
    field = SmoothField(8, Stream.HAZE, spacing)
    whole = field.grid(range(top, top + height + skip_y), range(left, left + width + skip_x))
    part = field.grid(range(top + skip_y, top + skip_y + height), range(left + skip_x, left + skip_x + width))
    assert np.array_equal(whole[skip_y:, skip_x:], part)
    y, x = np.array([top + skip_y, top + 0.0]), np.array([left + skip_x, left + 0.0])
    assert np.allclose(field.at(y, x), [part[0, 0], whole[0, 0]], atol=1e-5)


def test_a_smooth_field_is_standardised_and_smooth():
    field = SmoothField(8, Stream.HAZE, 8).grid(range(800), range(800))
    assert abs(field.mean()) < 0.1
    assert 0.8 < field.std() < 1.2
    assert np.abs(np.diff(field, axis=0)).max() < 1.0


def test_no_points_have_no_values():
    assert SmoothField(8, Stream.HAZE, 8).at(np.zeros(0), np.zeros(0)).shape == (0,)


def test_places_streams_and_seeds_have_different_numbers():
    keys = [
        (1, Stream.CELLS, 0, 0),
        (2, Stream.CELLS, 0, 0),
        (1, Stream.NOISE, 0, 0),
        (1, Stream.CELLS, -1, 0),
        (1, Stream.CELLS, 0, -1),
    ]
    assert len({place_generator(*key).integers(2**60) for key in keys}) == len(keys)
    assert place_generator(*keys[0]).integers(2**60) == place_generator(*keys[0]).integers(2**60)
