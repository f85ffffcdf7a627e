"""Boundary metrics, against MONAI and distance transforms of whole arrays."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making import blocks_of
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt

from slideunet.scoring import boundaries
from slideunet.scoring.boundaries import CLASSES, TOLERANCE, BoundaryCounts
from slideunet.scoring.derived import f1_of_fractions
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.score_slide import score_slide
from slideunet.truth.ignore_label import IGNORE_LABEL

SHAPE = (47, 59)


@st.composite
def segmentations(draw):
    """Boxes, moved, grown or shrunk by up to 3 px, one with a long spike; none at the border of the slide."""
    truth, cells = np.zeros((2, *SHAPE), np.uint32)
    for number in range(1, draw(st.integers(0, 6)) + 1):
        y, x, h, w = (draw(st.integers(*span)) for span in ((4, 30), (4, 38), (1, 12), (1, 15)))
        truth[y : y + h, x : x + w] = number * draw(st.sampled_from([1, 10**6]))
        top, left, bottom, right = (draw(st.integers(-3, 3)) for _ in range(4))
        cells[y + top : y + h + bottom, x + left : x + w + right] = 20 - number
        if draw(st.booleans()):
            cells[y, 2:57] = 20 - number
    return truth, cells


def score_of(truth, cells):
    image = np.zeros((1, *truth.shape), np.uint8)
    return score_slide(image, truth, image, cells, threshold=0.5)[0]


def outline(mask):
    return mask & ~binary_erosion(mask)


def distances(mask, other):
    return distance_transform_edt(~outline(other))[outline(mask)]


def f1(true, found):
    recall, precision = np.mean(true <= TOLERANCE), np.mean(found <= TOLERANCE)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def masks_of_matches(truth, cells):
    rows = match_arrays(count_overlaps(truth, cells))
    return [(truth == row["truth"], cells == row["cell"]) for row in rows[rows["matched"]]]


@settings(max_examples=60, deadline=None)
@given(segmentations(), st.sampled_from([1, 6]), st.sampled_from([13, 4096]))
def test_matched_cells_have_the_distance_of_monai(pair, searched, block):
    truth, cells = pair
    with pytest.MonkeyPatch.context() as patch, blocks_of(block):
        patch.setattr(boundaries, "SEARCHED", searched)
        counts = score_of(truth, cells).boundaries
    masks = masks_of_matches(truth, cells)
    hd95 = [
        float(
            compute_hausdorff_distance(
                *(torch.tensor(mask[None, None].astype(np.float32)) for mask in both),
                include_background=True,
                percentile=95,
            )
        )
        for both in masks
    ]
    assert counts.n == len(masks)
    assert counts.sum_hd95 == pytest.approx(sum(hd95), abs=1e-4)
    expected_f1 = sum(f1(distances(true, found), distances(found, true)) for true, found in masks)
    assert counts.sum_f1 == pytest.approx(expected_f1, abs=1e-4)
    assert sum(counts.hd95) == counts.n
    limit = sum((k / 2) * n for k, n in enumerate(counts.hd95[:-1]))
    if counts.hd95[-1] == 0:
        assert limit - counts.n / 2 <= counts.sum_hd95 + 1e-4 <= limit + 2e-4


def all_outlines(labels):
    return np.any([outline(labels == n) for n in np.unique(labels[labels > 0])] or [labels > 0], axis=0)


@settings(max_examples=60, deadline=None)
@given(segmentations(), st.sampled_from([7, 13, 4096]), st.booleans())
def test_all_outlines_are_compared_as_by_a_distance_transform(pair, block, ignore):
    truth, cells = pair
    if ignore:
        truth[10:20, 15:33] = IGNORE_LABEL
    with blocks_of(block):
        counts = score_of(truth, cells).boundaries
    left_out = binary_dilation(truth == IGNORE_LABEL)
    edges = [
        all_outlines(labels) & ~left_out for labels in (np.where(truth == IGNORE_LABEL, 0, truth), cells)
    ]
    for (edge, other), (whole, near) in zip(
        (edges, edges[::-1]),
        ((counts.true_outline, counts.true_near), (counts.cell_outline, counts.cell_near)),
        strict=True,
    ):
        assert whole == edge.sum()
        reach = distance_transform_edt(~other)[edge] if other.any() else np.full(edge.sum(), np.inf)
        assert near == np.count_nonzero(reach <= TOLERANCE)


@pytest.mark.parametrize("block", [5, 16, 29, 4096])
def test_blocks_do_not_change_the_counts_while_matches_fit_into_the_margin(block):
    random = np.random.default_rng(block)
    small = random.integers(0, 40, (12, 15)) * (random.random((12, 15)) < 0.5)
    truth = np.kron(small, np.ones((6, 7))).astype(np.uint32)
    cells = np.roll(truth, (1, -1), axis=(0, 1))
    with blocks_of(block):
        counts = score_of(truth, cells).boundaries
    assert counts == score_of(truth, cells).boundaries
    assert counts.n > 5


def test_a_match_beyond_the_margin_is_left_out(monkeypatch):
    truth = np.zeros((20, 90), np.uint32)
    truth[5:9, 3:80], truth[12:15, 60:64] = 1, 2
    monkeypatch.setattr("slideunet.scoring.score_slide.MARGIN", 8)
    with blocks_of(16):
        score = score_of(truth, truth)
    assert (score.instances.tp[0], score.boundaries.n, score.boundaries.sum_f1) == (2, 1, 1.0)


def test_empty_images_and_labels_without_an_outline():
    none, whole, one = np.zeros((9, 9), np.uint32), np.ones((9, 9), np.uint32), np.zeros((9, 9), np.uint32)
    one[3:5, 3:5] = 7
    assert score_of(none, none).boundaries == BoundaryCounts()
    assert score_of(whole, whole).boundaries == BoundaryCounts()
    assert score_of(one, none).boundaries == BoundaryCounts(true_outline=4)
    counts = score_of(one, one).boundaries
    assert (counts.n, counts.sum_hd95, counts.sum_f1, counts.hd95[0]) == (1, 0.0, 1.0, 1)


def test_boundary_f1_of_sums():
    sums = np.array([[3.0, 0.0, 0.0, 2.0], [4.0, 4.0, 0.0, 4.0], [1.0, 0.0, 0.0, 0.0], [2.0, 5.0, 0.0, 0.0]])
    found = f1_of_fractions(sums)
    assert found[:2].tolist() == pytest.approx([2 * 0.75 * 0.5 / 1.25, 0.0])
    assert np.isnan(found[2:]).all()


def test_json_round_trip_and_sum():
    counts = BoundaryCounts(2, 3.5, 1.25, (1,) * CLASSES, 9, 8, 7, 6)
    assert BoundaryCounts.from_json(json.loads(json.dumps(asdict(counts)))) == counts
    assert (counts + counts).hd95 == (2,) * CLASSES
