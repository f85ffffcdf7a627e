import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import number_by_blocks
from scipy import ndimage as ndi

images = hnp.arrays(
    np.uint32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=15), elements=st.integers(0, 12)
)


def place(labels, cell, block):
    """The documented order, written down cell by cell."""
    rows, columns = np.nonzero(labels == cell)
    row, column = int(rows.sum()) // len(rows), int(columns.sum()) // len(columns)
    return row // block, column // block, row, column, rows[0] * labels.shape[1] + columns[0]


@settings(max_examples=150, deadline=None)
@given(images, st.integers(1, 20))
def test_ids_are_1_to_n_in_the_documented_order(labels, block):
    numbered = number_by_blocks(labels, block)
    assert numbered.dtype == np.uint32
    assert np.array_equal(numbered > 0, labels > 0)
    cells = sorted(set(labels.ravel().tolist()) - {0}, key=lambda cell: place(labels, cell, block))
    for number, cell in enumerate(cells, start=1):
        assert set(numbered[labels == cell].tolist()) == {number}
    assert numbered.max() == len(cells)


@settings(max_examples=150, deadline=None)
@given(images, st.integers(1, 20), st.data())
def test_the_old_ids_do_not_matter(labels, block, data):
    ids = data.draw(st.lists(st.integers(1, 2**32 - 1), min_size=12, max_size=12, unique=True))
    relabelled = np.array([0, *ids], dtype=np.uint32)[labels]
    assert np.array_equal(number_by_blocks(relabelled, block), number_by_blocks(labels, block))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_any_integer_type_is_taken(dtype):
    labels = np.array([[0, 7, 7], [3, 0, 9]], dtype=dtype)
    assert number_by_blocks(labels).tolist() == [[0, 1, 1], [2, 0, 3]]


def test_blocks_come_before_rows():
    labels = np.zeros((6, 12), np.uint32)
    labels[5, 0], labels[0, 11] = 2, 1
    assert number_by_blocks(labels, block=6)[[5, 0], [0, 11]].tolist() == [1, 2]
    assert number_by_blocks(labels, block=12)[[5, 0], [0, 11]].tolist() == [2, 1]


def test_many_cells_agree_with_scipy_centres():
    labels, count = ndi.label(np.random.default_rng(0).random((511, 733)) > 0.7)
    centres = np.array(ndi.center_of_mass(labels > 0, labels, range(1, count + 1)))
    rows, columns = np.floor(centres + 1e-9).astype(int).T
    first = np.unique(labels, return_index=True)[1][1:]
    order = np.lexsort((first, columns, rows, columns // 100, rows // 100))
    numbered = number_by_blocks(labels, block=100)
    assert np.array_equal(numbered.ravel()[first[order]], np.arange(1, count + 1))


def test_nothing_stays_nothing():
    assert number_by_blocks(np.zeros((3, 4), np.int64)).tolist() == [[0] * 4] * 3


def test_negative_ids_are_refused():
    with pytest.raises(ValueError, match="negative"):
        number_by_blocks(np.array([[-1, 2]]))
