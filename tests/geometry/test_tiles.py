import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slideunet.geometry.tiles import mirrored, tile_grid

sides = st.integers(1, 70)
depths = st.integers(0, 4)


@st.composite
def grids(draw):
    multiple = 2 ** draw(depths)
    size = multiple * draw(st.integers(1, 6))
    halo = multiple * draw(st.integers(0, 4))
    return (draw(sides), draw(sides)), size, halo, multiple


@given(grids())
@settings(max_examples=150, deadline=None)
def test_every_pixel_is_in_exactly_one_core(grid):
    covered = np.zeros(grid[0], int)
    for tile in tile_grid(*grid):
        covered[tile.write] += 1
        assert all(0 <= start < stop <= side for (start, stop), side in zip(tile.core, grid[0], strict=True))
    assert (covered == 1).all()


@given(grids())
@settings(max_examples=150, deadline=None)
def test_reads_lie_on_multiples_and_hold_the_core_with_its_halo(grid):
    _, size, halo, multiple = grid
    for tile in tile_grid(*grid):
        for core, read in zip(tile.core, tile.read, strict=True):
            assert read[0] % multiple == 0
            assert (read[1] - read[0]) % multiple == 0
            assert read[0] == core[0] - halo
            assert core[1] + halo <= read[1] < core[1] + halo + multiple
            assert core[1] - core[0] <= size


@given(grids())
@settings(max_examples=60, deadline=None)
def test_what_is_cropped_is_what_is_written(grid):
    shape, _, halo, multiple = grid
    plane = np.arange(shape[0] * shape[1]).reshape(shape)
    reach = halo + multiple
    wide = np.pad(plane, reach, mode="reflect")
    copied = np.zeros_like(plane)
    for tile in tile_grid(*grid):
        (top, bottom), (left, right) = tile.read
        block = wide[top + reach : bottom + reach, left + reach : right + reach]
        copied[tile.write] = block[tile.crop]
    np.testing.assert_array_equal(copied, plane)


@pytest.mark.parametrize(("size", "halo"), [(20, 16), (16, 20), (0, 16), (-16, 16), (16, -16), (8, 0)])
def test_sizes_that_are_no_multiples_are_refused(size, halo):
    with pytest.raises(ValueError, match="multiples of 16"):
        list(tile_grid((50, 50), size, halo, 16))


@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_mirroring_is_numpys_reflection_however_far_it_reaches(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    assert mirrored(-before, length + after, length).tolist() == expected.tolist()


@given(st.integers(1, 12), st.integers(-60, 60), st.integers(1, 40))
def test_a_window_beyond_the_line_is_a_part_of_the_reflection(length, start, extent):
    expected = np.pad(np.arange(length), 120, mode="reflect")[start + 120 : start + extent + 120]
    assert mirrored(start, start + extent, length).tolist() == expected.tolist()
