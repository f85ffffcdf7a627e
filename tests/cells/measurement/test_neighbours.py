import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slideunet.cells.measurement.neighbours import count_neighbours, radius

# Integer positions have many pairs at exactly the radius (3-4-5 triangles).
points = hnp.arrays(np.float64, st.tuples(st.integers(0, 25), st.just(2)), elements=st.integers(0, 40))


def brute_force(centres, surrounding, reach):
    points = np.concatenate([centres, surrounding])
    squares = ((centres[:, None] - points[None]) ** 2).sum(axis=2)
    return (squares <= reach**2).sum(axis=1) - 1


@given(points, points, st.sampled_from([1.0, 5.0, 10.0, 12.5, 100.0]))
def test_counts_equal_brute_force(centres, surrounding, reach):
    counts = count_neighbours(centres, surrounding, reach)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, brute_force(centres, surrounding, reach))


@given(points, st.integers(0, 40), st.integers(-(10**6), 10**6))
def test_counts_depend_on_neither_cuts_nor_positions(centres, cut, shift):
    whole = count_neighbours(centres, centres[:0], 5.0)
    here = centres[:, 0] < cut
    moved = centres + shift
    np.testing.assert_array_equal(count_neighbours(moved[here], moved[~here], 5.0), whole[here])


def test_the_radius_is_in_micrometres_if_the_pixel_size_is_known():
    assert radius(0.25) == 100.0
    assert radius(0.5) == radius(None) == 50.0
