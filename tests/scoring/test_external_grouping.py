"""Overlaps counted block by block and regrouped through files give the result of the whole slide."""

import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slideunet.scoring import external_grouping
from slideunet.scoring.error_examples import KINDS, PER_KIND
from slideunet.scoring.external_grouping import in_memory, on_disk
from slideunet.scoring.matching import match
from slideunet.scoring.overlaps import OVERLAP, count_overlaps
from slideunet.scoring.score_slide import compare_instances

SHAPE = (18, 25)
cuts = st.lists(st.integers(1, 17), max_size=4)


@st.composite
def slides(draw):
    """Ground truth and prediction, blobs with noise, with ids below 2^32."""
    small = draw(arrays(np.uint32, (6, 9), elements=st.integers(0, 9)))
    truth = np.kron(small, np.ones((3, 3), np.uint32))[: SHAPE[0], : SHAPE[1]]
    cells = np.roll(truth, draw(st.integers(-2, 2)), axis=draw(st.integers(0, 1)))
    noise = draw(arrays(np.uint32, SHAPE, elements=st.integers(0, 30), fill=st.just(0)))
    return truth, np.where(noise > 0, noise * draw(st.sampled_from([1, 2**27])), cells).astype(np.uint32)


def tables(truth, cells, rows, columns):
    height, width = truth.shape
    for top, bottom in itertools.pairwise(sorted({0, height, *(cut for cut in rows if cut < height)})):
        for left, right in itertools.pairwise(sorted({0, width, *(cut for cut in columns if cut < width)})):
            window = slice(top, bottom), slice(left, right)
            yield count_overlaps(truth[window], cells[window], (top, left), width)


@settings(max_examples=60, deadline=None)
@given(slides(), cuts, cuts, st.integers(1, 9))
def test_blocks_and_files_give_the_result_of_the_whole_slide(tmp_path_factory, slide, rows, columns, n_parts):
    folder = tmp_path_factory.mktemp("parts")
    regroup = on_disk(folder, n_parts * external_grouping.BLOCKS_PER_PART)
    result = compare_instances(tables(*slide, rows, columns), SHAPE[1], regroup)
    assert result == compare_instances([count_overlaps(*slide)], SHAPE[1])
    assert list(folder.iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(slides(), cuts, cuts, st.integers(1, 9), st.sampled_from(["truth", "cell"]))
def test_rows_are_kept_once_and_rows_of_an_object_stay_together(
    tmp_path_factory, slide, rows, columns, n_parts, key
):
    regroup = on_disk(tmp_path_factory.mktemp("parts"), n_parts * external_grouping.BLOCKS_PER_PART)
    parts = list(regroup(tables(*slide, rows, columns), key, OVERLAP))
    ids = [number for part in parts for number in np.unique(part[key]) if number]
    assert len(ids) == len(set(ids))
    expected = next(in_memory(tables(*slide, rows, columns), key, OVERLAP))
    np.testing.assert_array_equal(np.sort(np.concatenate([expected[:0], *parts])), np.sort(expected))


def test_the_size_of_a_part_does_not_grow_with_the_number_of_cells(tmp_path):
    """Rows with background are spread over the parts, too."""
    n_blocks, per_block = 640, 50
    ids = np.arange(1, n_blocks * per_block + 1, dtype=np.uint32).reshape(n_blocks, per_block)
    blocks = (np.array([(0, i, 5, 0, False, False, 0) for i in row], OVERLAP) for row in ids)
    sizes = [len(part) for part in match(blocks, on_disk(tmp_path, n_blocks))]
    assert sum(sizes) == n_blocks * per_block
    assert max(sizes) <= external_grouping.BLOCKS_PER_PART * per_block


@settings(max_examples=60, deadline=None)
@given(slides())
def test_examples_are_errors_of_their_kind_at_their_position(slide):
    truth, cells = slide
    counts, examples = compare_instances([count_overlaps(truth, cells)], SHAPE[1])
    of_kind = {kind: [e for e in examples if e.kind == kind] for kind in KINDS}
    for example in examples:
        labels = truth if example.kind in ("missed", "split") else cells
        assert labels[example.y, example.x] == example.id
        assert (example.pieces > 1) == (example.kind in ("split", "merged"))
    assert len({(e.kind, e.id) for e in examples}) == len(examples)
    assert len(of_kind["split"]) == min(counts["instances"].splits, PER_KIND)
    assert len(of_kind["merged"]) == min(counts["instances"].merges, PER_KIND)
    assert len(of_kind["missed"]) <= min(counts["instances"].fn[0], PER_KIND)
    assert len(of_kind["false"]) <= min(counts["instances"].fp[0], PER_KIND)
    if counts["instances"].splits + counts["instances"].merges == 0:
        assert len(of_kind["missed"]) == min(counts["instances"].fn[0], PER_KIND)
        assert len(of_kind["false"]) == min(counts["instances"].fp[0], PER_KIND)


@pytest.mark.parametrize(
    ("truth", "cells", "expected"),
    [
        ([1, 1, 0, 0], [0, 0, 0, 0], ("missed", 1, 0, 0.0, 0)),
        ([0, 0, 0, 0], [0, 0, 7, 7], ("false", 7, 2, 0.0, 0)),
        ([3, 3, 3, 3], [1, 1, 1, 2], ("split", 3, 0, 0.75, 2)),
        ([1, 1, 2, 2], [5, 5, 5, 5], ("merged", 5, 0, 0.5, 2)),
        ([1, 1, 1, 0], [0, 0, 4, 4], ("missed", 1, 2, 0.25, 0)),
    ],
)
def test_examples_of_each_kind(truth, cells, expected):
    _, examples = compare_instances([count_overlaps([truth], [cells])], 4)
    first = asdict(examples[0])
    assert first.pop("y") == 0
    assert tuple(first.values()) == expected
