"""Levels are derived from sizes with any rounding; the chosen level is never coarser than requested."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.sources.levels import RESOLUTION_TOLERANCE, best_level, needs_no_resampling, pyramid_levels


@given(
    full=st.tuples(st.integers(300, 300_000), st.integers(300, 300_000)),
    steps=st.lists(st.sampled_from([2, 4, 3]), max_size=4),
    up=st.booleans(),
)
def test_whole_steps_are_found_however_sizes_were_rounded(full, steps, up):
    shapes, step = [full], 1
    for factor in steps:
        step *= factor
        if min(full) // step < 16:
            break
        shapes.append(tuple(-(-side // step) if up else side // step for side in full))
    levels = pyramid_levels(shapes)
    assert [level.shape for level in levels] == shapes
    for level in levels:
        assert level.step[0] == level.step[1] == round(level.step[0])
        assert all(
            abs(side / level.step[0] - small) < 1 for side, small in zip(full, level.shape, strict=True)
        )


@pytest.mark.parametrize(
    ("shapes", "steps"),
    [
        ([(3567, 4443), (1783, 2221)], [(1, 1), (2, 2)]),  # Aperio
        ([(250, 300), (125, 150), (62, 75), (31, 37)], [(1, 1), (2, 2), (4, 4), (8, 8)]),
        ([(1000, 1000), (600, 600)], [(1, 1), (1000 / 600, 1000 / 600)]),
        ([(1000, 1000), (500, 300)], [(1, 1)]),  # another shape: a thumbnail
        ([(1000, 1000), (1000, 1000)], [(1, 1)]),
        ([(1000, 1000), (250, 250), (500, 500)], [(1, 1), (4, 4)]),  # not from fine to coarse
        ([(1, 1), (1, 1)], [(1, 1)]),
        ([(1, 4000), (1, 2000)], [(1, 1), (2, 2)]),
    ],
)
def test_steps(shapes, steps):
    assert [level.step for level in pyramid_levels(shapes)] == steps


@given(
    steps=st.lists(st.integers(2, 64), unique=True, max_size=5).map(sorted),
    scale=st.floats(1 - RESOLUTION_TOLERANCE / 2, 200),
)
def test_the_level_is_the_coarsest_that_is_not_too_coarse(steps, scale):
    levels = pyramid_levels([(2**20, 2**20), *((2**20 // step, 2**20 // step) for step in steps)])
    chosen = best_level(levels, scale)
    assert max(chosen.step) <= scale * (1 + RESOLUTION_TOLERANCE)
    assert all(
        max(level.step) > scale * (1 + RESOLUTION_TOLERANCE) for level in levels if level.index > chosen.index
    )
    if needs_no_resampling(chosen, scale):
        assert abs(scale / chosen.step[0] - 1) <= RESOLUTION_TOLERANCE
