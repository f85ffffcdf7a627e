"""Objects and cells by size, lone and crowded, against definitions on whole arrays."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from making import blocks_of
from scipy.ndimage import binary_erosion, distance_transform_cdt

from slideunet.scoring.class_counts import SIZE_CLASSES, ClassCounts, size_class
from slideunet.scoring.crowding import REACH, crowded_ids, edges
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.score_slide import score_slide
from slideunet.truth.ignore_label import IGNORE_LABEL

SHAPE = (23, 31)


@st.composite
def segmentations(draw):
    """Boxes of different sizes, many of them next to others, and a prediction that moves some of them."""
    truth, cells = np.zeros((2, *SHAPE), np.uint32)
    for number in range(1, draw(st.integers(0, 7)) + 1):
        y, x, h, w = (draw(st.integers(*span)) for span in ((0, 20), (0, 26), (1, 7), (1, 7)))
        truth[y : y + h, x : x + w] = number * draw(st.sampled_from([1, 2**20]))
        dy, dx = draw(st.integers(-1, 1)), draw(st.integers(-1, 1))
        cells[max(y + dy, 0) : y + dy + h, max(x + dx, 0) : x + dx + w] = draw(st.integers(0, 8))
    return truth, cells


def near_others(labels):
    """Ids with another one at a chessboard distance of at most `REACH`, by the distance transform."""
    near = set()
    for number in np.unique(labels[labels > 0]):
        others = (labels > 0) & (labels != number)
        if others.any() and distance_transform_cdt(~others, "chessboard")[labels == number].min() <= REACH:
            near.add(int(number))
    return near


def by_definition(truth, cells, class_of_object, class_of_cell, n_classes):
    matched = match_arrays(count_overlaps(truth, cells))
    matched = matched[matched["matched"]]
    counts = {name: [0] * n_classes for name in ("n_true", "found", "n_pred", "correct")}
    for labels, class_of, everything, right in (
        (truth, class_of_object, "n_true", "found"),
        (cells, class_of_cell, "n_pred", "correct"),
    ):
        for number in np.unique(labels[labels > 0]):
            k = class_of(int(number))
            counts[everything][k] += 1
            counts[right][k] += number in matched["truth" if labels is truth else "cell"]
    return {name: tuple(values) for name, values in counts.items()}


@settings(max_examples=120, deadline=None)
@given(segmentations(), st.sampled_from([5, 9, 4096]))
def test_classes_agree_with_their_definition_in_any_blocks(pair, block):
    truth, cells = pair
    image = np.zeros((1, *SHAPE), np.uint8)
    with blocks_of(block):
        score, _ = score_slide(image, truth, image, cells, threshold=0.5)

    def size_of(labels):
        return lambda number: int(math.log2(np.count_nonzero(labels == number)))

    assert asdict(score.sizes) == by_definition(truth, cells, size_of(truth), size_of(cells), SIZE_CLASSES)
    crowd, crowd_of_cells = near_others(truth), near_others(cells)
    expected = by_definition(truth, cells, crowd.__contains__, crowd_of_cells.__contains__, 2)
    assert asdict(score.crowding) == expected
    for part in (score.sizes, score.crowding):
        assert sum(part.found) == sum(part.correct) == score.instances.tp[0]
        assert sum(part.n_true) == score.instances.n_true
        assert sum(part.n_pred) == score.instances.n_pred


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint32, (6, 9), elements=st.integers(0, 3)))
def test_crowded_ids_and_edges_of_noise(labels):
    assert set(crowded_ids(labels).tolist()) == near_others(labels)
    padded = np.pad(labels, 1, mode="edge")  # the border of the array is no edge
    expected = [(labels == n) & ~binary_erosion(padded == n)[1:-1, 1:-1] for n in (1, 2, 3)]
    np.testing.assert_array_equal(edges(labels), np.any(expected, axis=0))


@pytest.mark.parametrize(("gap", "crowded"), [(0, {1, 2}), (1, {1, 2}), (2, set()), (7, set())])
def test_a_line_of_one_pixel_between_two_objects_still_makes_a_crowd(gap, crowded):
    labels = np.array([[1] * 3 + [0] * gap + [2] * 3] * 4, np.uint32)
    assert set(crowded_ids(labels).tolist()) == crowded
    assert set(crowded_ids(labels.T).tolist()) == crowded


def test_ignored_pixels_are_no_neighbour():
    truth = np.array([[1, 1, 1, IGNORE_LABEL, IGNORE_LABEL, 0]], np.uint32)
    image = np.zeros((1, 1, 6), np.uint8)
    score, _ = score_slide(image, truth, image, np.array([[5, 5, 5, 0, 6, 6]], np.uint32), threshold=0.5)
    assert asdict(score.crowding) == {"n_true": (1, 0), "found": (1, 0), "n_pred": (0, 2), "correct": (0, 1)}


def test_size_classes_are_exact_at_powers_of_two():
    areas = np.array([1, 2, 3, 4, 2**16 - 1, 2**16, 2**20 - 1, 2**20, 2**40])
    assert size_class(areas).tolist() == [0, 1, 1, 2, 15, 16, 19, 20, 20]


def test_counts_add_up_and_survive_json():
    one = ClassCounts((1, 2), (0, 1), (3, 0), (1, 0))
    assert one + ClassCounts.zeros(2) == one
    assert (one + one).n_pred == (6, 0)
    assert ClassCounts.from_json(json.loads(json.dumps(asdict(one)))) == one
