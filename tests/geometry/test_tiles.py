import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.tiles import Context, even_cores, mirrored, widened


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


@st.composite
def contexts(draw):
    unit = 2 ** draw(st.integers(0, 4))
    step = unit * draw(st.sampled_from([1, 1, 3]))
    margin = unit * draw(st.integers(0, 3))
    halo = margin + unit * draw(st.integers(0, 9))
    return Context(step, step * draw(st.integers(1, 5)), margin, halo)


@given(contexts(), st.integers(1, 400), st.data())
@settings(max_examples=300)
def test_every_array_has_its_context_or_ends_where_the_slide_in_one_piece_does(context, length, data):
    start = data.draw(st.integers(0, length - 1))
    part = start, data.draw(st.integers(start + 1, length))
    core, whole = context.core(part, length), context.core((0, length), length)
    begin, end = context.read(whole, length)
    assert whole == (0, context.inside(length))
    assert (begin, end) == (-context.margin, whole[1] + context.margin)
    assert core[0] <= part[0] and part[1] <= core[1] <= whole[1]
    assert core[1] - core[0] >= context.least
    assert core[0] % context.step == 0 and core[1] % context.step == 0
    first, last = context.read(core, length)
    assert first == (begin if core[0] - context.halo < begin else core[0] - context.halo)
    assert last == (end if core[1] + context.halo > end else core[1] + context.halo)
    # No shorter than necessary: a least core, or the part itself.
    assert core[1] - core[0] <= max(context.least, part[1] - part[0] + 2 * (context.step - 1))


@given(st.integers(1, 50), st.integers(1, 80), st.data())
def test_a_span_is_widened_inside_its_line_and_no_farther_than_needed(length, least, data):
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    first, last = widened((start, stop), least, length)
    assert 0 <= first <= start < stop <= last <= length
    assert last - first == max(stop - start, min(least, length))


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_mirroring_is_numpys_reflection_however_far_it_reaches(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    assert mirrored(-before, length + after, length).tolist() == expected.tolist()


@given(st.integers(1, 12), st.integers(-60, 60), st.integers(1, 40))
def test_a_window_beyond_the_line_is_a_part_of_the_reflection(length, start, extent):
    expected = np.pad(np.arange(length), 120, mode="reflect")[start + 120 : start + extent + 120]
    assert mirrored(start, start + extent, length).tolist() == expected.tolist()
