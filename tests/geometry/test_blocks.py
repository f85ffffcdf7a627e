import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideunet.geometry import blocks as module
from slideunet.geometry.blocks import BLOCK, block_at, block_count, blocks, blocks_inside, digest

small = st.tuples(st.integers(1, 40), st.integers(1, 40))
large = st.tuples(st.integers(1, 3 * BLOCK), st.integers(1, 3 * BLOCK))


sides = st.sampled_from([1, 3, 8])


@contextlib.contextmanager
def blocks_of(side):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", side)
        yield


@given(sides, small)
def test_every_pixel_is_in_exactly_one_block_in_raster_order(side, shape):
    covered = np.zeros(shape, int)
    with blocks_of(side):
        regions = list(blocks((3, *shape)))
        assert [index for index, _ in regions] == list(range(block_count(shape)))
        assert [region for _, region in regions] == [block_at(shape, index) for index, _ in regions]
    for _, region in regions:
        covered[region] += 1
        # Whole blocks but at the end, so that tasks own whole files.
        for part, length in zip(region, shape, strict=True):
            assert part.start % side == 0
            assert part.stop - part.start == side or part.stop == length
    assert (covered == 1).all()
    starts = [(rows.start, columns.start) for _, (rows, columns) in regions]
    assert starts == sorted(starts)


@given(large)
def test_blocks_have_the_size_of_the_contract(shape):
    assert BLOCK == 4096
    assert block_count(shape) == -(-shape[0] // 4096) * -(-shape[1] // 4096)
    area = sum(
        (rows.stop - rows.start) * (columns.stop - columns.start) for _, (rows, columns) in blocks(shape)
    )
    assert area == shape[0] * shape[1]


@pytest.mark.parametrize("index", [-1, 6])
def test_a_block_that_a_plane_does_not_have_is_an_error(index):
    with pytest.raises(IndexError, match="of 6"):
        block_at((1, 4097, 8193), index)


@given(sides, small, st.data())
def test_the_blocks_inside_a_window_are_those_all_of_whose_pixels_are(side, shape, data):
    spans = []
    for length in shape:
        start, stop = sorted(data.draw(st.tuples(st.integers(0, length), st.integers(0, length))))
        spans.append((start, stop))
    inside = np.zeros(shape, bool)
    inside[slice(*spans[0]), slice(*spans[1])] = True
    with blocks_of(side):
        expected = [index for index, region in blocks(shape) if inside[region].all()]
        assert blocks_inside((2, *shape), *spans) == expected


def test_a_digest_is_of_the_values_and_not_of_their_layout_in_memory():
    pixels = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    assert digest(pixels) == digest(np.asfortranarray(pixels)) == digest(np.pad(pixels, 1)[1:-1, 1:-1, 1:-1])
    assert digest(pixels) != digest(pixels + np.uint16(1))
    assert digest(pixels) != digest(pixels[:, ::-1])
