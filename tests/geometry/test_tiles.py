import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.tiles import even_cores, mirrored


@given(st.integers(1, 700), st.integers(1, 300), st.integers(0, 4))
@settings(max_examples=300)
def test_cores_cover_a_length_once_and_begin_where_pooling_cells_do(length, most, depth):
    multiple = 2**depth
    cores = even_cores(length, most, multiple)
    assert [pixel for core in cores for pixel in range(*core)] == list(range(length))
    assert all(start % multiple == 0 for start, _ in cores)
    rounded = most + -most % multiple
    sides = [stop - start for start, stop in cores]
    assert max(sides) <= rounded
    assert len(cores) <= -(-length // rounded)
    assert len(set(sides[:-1])) <= 1
    # No larger side would be more even: one multiple less, and there would be a core more.
    assert len(cores) == 1 or -(-length // len(cores)) > sides[0] - multiple


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_mirroring_is_numpys_reflection_however_far_it_reaches(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    assert mirrored(-before, length + after, length).tolist() == expected.tolist()


@given(st.integers(1, 12), st.integers(-60, 60), st.integers(1, 40))
def test_a_window_beyond_the_line_is_a_part_of_the_reflection(length, start, extent):
    expected = np.pad(np.arange(length), 120, mode="reflect")[start + 120 : start + extent + 120]
    assert mirrored(start, start + extent, length).tolist() == expected.tolist()
