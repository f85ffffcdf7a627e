import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.geometry.blocks import BLOCK, BlockGrid, cuts, digest, grown, within

small = st.tuples(st.integers(1, 40), st.integers(1, 40))
large = st.tuples(st.integers(1, 3 * BLOCK), st.integers(1, 3 * BLOCK))


sides = st.sampled_from([1, 3, 8])


@given(sides, small)
def test_every_pixel_is_in_exactly_one_block_in_raster_order(side, shape):
    covered = np.zeros(shape, int)
    grid = BlockGrid((3, *shape), side)
    regions = list(grid)
    assert regions == [grid[index] for index in range(len(grid))]
    for region in regions:
        covered[region] += 1
        # Whole blocks but at the end, so that tasks own whole files.
        for part, length in zip(region, shape, strict=True):
            assert part.start % side == 0
            assert part.stop - part.start == side or part.stop == length
    assert (covered == 1).all()
    starts = [(rows.start, columns.start) for rows, columns in regions]
    assert starts == sorted(starts)


@given(large)
def test_blocks_have_the_size_of_the_contract(shape):
    assert BLOCK == 4096
    grid = BlockGrid(shape)
    assert len(grid) == -(-shape[0] // 4096) * -(-shape[1] // 4096)
    area = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in grid)
    assert area == shape[0] * shape[1]


@pytest.mark.parametrize("index", [-1, 6])
def test_a_block_that_a_plane_does_not_have_is_an_error(index):
    with pytest.raises(IndexError, match="of 6"):
        BlockGrid((1, 4097, 8193))[index]


@st.composite
def windows(take):
    """A shape and a window inside it, of at least one pixel."""
    shape = take(small)
    spans = []
    for length in shape:
        start = take(st.integers(0, length - 1))
        spans.append(slice(start, take(st.integers(start + 1, length))))
    return shape, tuple(spans)


@given(sides, windows())
def test_the_blocks_inside_a_window_and_those_that_touch_it_are_those_of_its_pixels(side, case):
    shape, window = case
    inside = np.zeros(shape, bool)
    inside[window] = True
    grid = BlockGrid((2, *shape), side)
    regions = list(enumerate(grid))
    assert grid.inside(window) == [index for index, region in regions if inside[region].all()]
    assert grid.touching(window) == [index for index, region in regions if inside[region].any()]


def test_nothing_is_inside_an_empty_window():
    assert BlockGrid((9, 9), 3).inside((slice(3, 3), slice(0, 9))) == []


@given(sides, small, st.sampled_from([1, 2.5, 8, 20]))
def test_neighbours_are_the_blocks_with_places_within_reach(side, shape, reach):
    grid = BlockGrid(shape, side)
    for index, own in enumerate(grid):
        near = []
        for other, region in enumerate(grid):
            apart = [max(a.start - b.stop, b.start - a.stop, 0) for a, b in zip(own, region, strict=True)]
            if max(apart) < reach:
                near.append(other)
        assert grid.neighbours(index, reach) == near


@given(windows(), st.integers(0, 9))
def test_a_grown_window_holds_what_it_was_grown_from(case, margin):
    shape, window = case
    array = np.arange(shape[0] * shape[1]).reshape(shape)
    wide = grown(window, shape, margin)
    np.testing.assert_array_equal(array[wide][within(window, wide)], array[window])
    for part, side, length in zip(wide, window, shape, strict=True):
        assert part.start == max(side.start - margin, 0)
        assert part.stop == min(side.stop + margin, length)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 20))
def test_cuts_of_an_axis_are_its_pixels_in_their_order(start, length, side):
    parts = cuts(slice(start, start + length), side)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(start, start + length))
    assert {part.stop - part.start for part in parts[:-1]} <= {side}


def test_a_digest_is_of_the_values_and_not_of_their_layout_in_memory():
    pixels = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    assert digest(pixels) == digest(np.asfortranarray(pixels)) == digest(np.pad(pixels, 1)[1:-1, 1:-1, 1:-1])
    assert digest(pixels) != digest(pixels + np.uint16(1))
    assert digest(pixels) != digest(pixels[:, ::-1])
