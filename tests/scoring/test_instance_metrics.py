import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index
from torchmetrics.functional.detection import panoptic_quality

from slideunet.scoring.instance_metrics import THRESHOLDS, InstanceCounts
from slideunet.scoring.instance_metrics import count_instances as count_part
from slideunet.scoring.matching import ious, match_arrays
from slideunet.scoring.overlaps import MATCHED, add_overlaps, count_overlaps
from slideunet.truth.ignore_label import IGNORE_LABEL

labels = arrays(np.uint32, (6, 9), elements=st.integers(0, 4))


@st.composite
def segmentations(draw):
    """Ground truth and a similar prediction: boxes, some of them moved, missing, split or merged."""
    truth, cells = np.zeros((2, 24, 30), dtype=np.uint32)
    for number in range(1, draw(st.integers(0, 6)) + 1):
        y, x, h, w = (draw(st.integers(*span)) for span in ((0, 20), (0, 26), (2, 8), (2, 8)))
        truth[y : y + h, x : x + w] = number
        dy, dx = draw(st.integers(-1, 1)), draw(st.integers(-1, 1))
        cells[max(y + dy, 0) : y + dy + h, max(x + dx, 0) : x + dx + w] = draw(st.integers(0, 7))
    return truth, cells


def count_instances(overlaps):
    return count_part(match_arrays(overlaps))


def iou_matrix(truth, cells):
    a = [truth == i for i in np.unique(truth) if i]
    b = [cells == i for i in np.unique(cells) if i]
    return np.array([[(p & q).sum() / (p | q).sum() for q in b] for p in a]).reshape(len(a), len(b))


@settings(max_examples=80, deadline=None)
@given(segmentations() | st.tuples(labels, labels))
def test_matching_agrees_with_the_hungarian_algorithm(pair):
    truth, cells = pair
    ious = iou_matrix(truth, cells)
    counts = count_instances(count_overlaps(truth, cells))
    assert (counts.n_true, counts.n_pred) == ious.shape
    for k, threshold in enumerate(THRESHOLDS):
        good = ious >= threshold - 1e-9
        rows, columns = linear_sum_assignment(-good.astype(float))
        tp = int(good[rows, columns].sum())
        assert counts.tp[k] == tp
        assert counts.fp[k] == ious.shape[1] - tp
        assert counts.fn[k] == ious.shape[0] - tp
        expected = tp / (sum(ious.shape) - tp) if sum(ious.shape) else 1.0
        assert counts.ap[k] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(segmentations())
def test_panoptic_quality_agrees_with_torchmetrics(pair):
    truth, cells = pair
    # An IoU of exactly 0.5 is a match here, but not in torchmetrics, on purpose.
    ious = iou_matrix(truth, cells)
    if not truth.any() or (np.abs(ious - 0.5) < 1e-9).any():
        return
    t, p = (torch.tensor(np.stack([a > 0, a], -1).astype(np.int64)[None]) for a in (truth, cells))
    pq, sq, rq = panoptic_quality(p, t, things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True)[
        0
    ]
    counts = count_instances(count_overlaps(truth, cells))
    assert counts.pq == pytest.approx(float(pq), abs=1e-6)
    assert counts.sq == pytest.approx(float(sq), abs=1e-6)
    assert counts.rq == pytest.approx(float(rq), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(segmentations() | st.tuples(labels, labels))
def test_aggregated_jaccard_agrees_with_the_loop_of_the_paper(pair):
    truth, cells = pair
    intersection = union = 0
    used = set()
    for i in np.unique(truth[truth > 0]):
        this = truth == i
        overlaps = {
            j: ((cells == j) & this).sum() / ((cells == j) | this).sum() for j in np.unique(cells[this]) if j
        }
        if not overlaps:
            union += this.sum()
            continue
        best = max(sorted(overlaps), key=overlaps.get)
        intersection += ((cells == best) & this).sum()
        union += ((cells == best) | this).sum()
        used.add(best)
    union += sum((cells == j).sum() for j in np.unique(cells) if j and j not in used)
    counts = count_instances(count_overlaps(truth, cells))
    assert (counts.aji_intersection, counts.aji_union) == (intersection, union)
    assert counts.aji == pytest.approx(intersection / union if union else 1.0)


@settings(max_examples=40, deadline=None)
@given(segmentations(), st.integers(0, 24), st.integers(0, 24))
def test_blocks_add_up_to_the_whole_slide(pair, first, second):
    truth, cells = pair
    cuts = [0, *sorted((first, second)), 24]
    blocks = [count_overlaps(truth[a:b], cells[a:b]) for a, b in itertools.pairwise(cuts)]
    whole, total = count_overlaps(truth, cells), add_overlaps(blocks)
    for name in ("truth", "cell", "shared"):
        np.testing.assert_array_equal(total[name], whole[name])
    assert count_instances(total) == count_instances(whole)


def test_exact_halves_match_once_in_either_direction():
    whole, halves = np.ones((1, 8), int), np.repeat([[1, 2]], 4, axis=1)
    for truth, cells in ((whole, halves), (halves, whole)):
        rows = match_arrays(count_overlaps(truth, cells))
        matched = rows[rows["matched"]]
        assert ious(matched).tolist() == [0.5]
        assert (matched["truth"].tolist(), matched["cell"].tolist()) == ([1], [1])
        assert count_instances(count_overlaps(truth, cells)).tp == (1, *[0] * 9)


def test_thresholds_are_met_exactly():
    truth, cells = np.ones((1, 20), int), np.ones((1, 20), int)
    for shared in range(10, 20):
        cells = (np.arange(20)[None] < shared).astype(int)
        tp = count_instances(count_overlaps(truth, cells)).tp
        assert sum(tp) == shared - 9  # IoU = shared / 20 reaches 0.50 .. shared / 20, no more


@settings(max_examples=60, deadline=None)
@given(segmentations() | st.tuples(labels, labels))
def test_overlaps_splits_and_merges_agree_with_the_contingency_table_of_scikit_image(pair):
    truth, cells = pair
    shared = contingency_table(truth, cells).toarray()
    rows = count_overlaps(truth, cells)
    np.testing.assert_array_equal(shared[rows["truth"], rows["cell"]], rows["shared"])
    assert shared.sum() - shared[0, 0] == rows["shared"].sum()
    pairs = shared[1:, 1:]
    counts = count_instances(rows)
    assert counts.splits == np.count_nonzero((2 * pairs > shared.sum(axis=0)[1:]).sum(axis=1) > 1)
    assert counts.merges == np.count_nonzero((2 * pairs > shared.sum(axis=1)[1:, None]).sum(axis=0) > 1)


@settings(max_examples=60, deadline=None)
@given(segmentations())
def test_f1_and_average_precision_agree_with_torchmetrics(pair):
    """Each object and cell is one decision: matches are true positives, all others errors."""
    counts = count_instances(count_overlaps(*pair))
    for tp, fp, fn, f1, ap in zip(counts.tp, counts.fp, counts.fn, counts.f1, counts.ap, strict=True):
        true, predicted = (
            torch.tensor([1] * (tp + fn) + [0] * fp),
            torch.tensor([1] * tp + [0] * fn + [1] * fp),
        )
        if len(true):
            assert f1 == pytest.approx(float(binary_f1_score(predicted, true)))
            assert ap == pytest.approx(float(binary_jaccard_index(predicted, true)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=300), st.randoms())
def test_the_sum_of_ious_does_not_depend_on_the_order(sizes, random):
    rows = np.zeros((len(sizes), 1), MATCHED)
    rows["truth"], rows["cell"], rows["best"], rows["matched"] = 1, 1, True, True
    for row, (shared, rest) in zip(rows, sizes, strict=True):
        row["shared"], row["cell_area"], row["truth_area"] = shared, shared, shared + rest
    parts = [count_part(row) for row in rows]
    first = sum(parts, InstanceCounts())
    assert first.sum_iou_50 == pytest.approx(math.fsum(a / (a + b) for a, b in sizes), abs=1e-6)
    random.shuffle(parts)
    assert sum(parts, InstanceCounts()) == first
    assert count_part(rows.ravel()).sum_iou_50 == first.sum_iou_50


def test_splits_and_merges():
    whole, parts = np.ones((4, 9), int), np.repeat([[1, 2, 3]], 3, axis=1).repeat(4, axis=0)
    split = count_instances(count_overlaps(whole, parts))
    merged = count_instances(count_overlaps(parts, whole))
    same = count_instances(count_overlaps(parts, parts))
    assert (split.splits, split.merges) == (1, 0)
    assert (merged.splits, merged.merges) == (0, 1)
    assert (same.splits, same.merges, same.pq, same.aji, same.mean_ap) == (0, 0, 1, 1, 1)


def test_two_empty_images_are_perfect_and_one_empty_image_is_zero():
    none, some = np.zeros((5, 5), int), np.eye(5, dtype=int)
    perfect = count_instances(count_overlaps(none, none))
    assert perfect.empty
    assert {perfect.mean_ap, perfect.f1[0], perfect.pq, perfect.aji} == {1.0}
    for pair in ((none, some), (some, none)):
        counts = count_instances(count_overlaps(*pair))
        assert not counts.empty
        assert {counts.mean_ap, counts.f1[0], counts.pq, counts.aji} == {0.0}


def test_largest_ids_survive():
    cells = np.full((2, 2), 2**32 - 1, dtype=np.uint32)
    table = count_overlaps(cells - np.uint32(1), cells)  # the largest id in truth is the ignore label
    assert table["truth"].tolist() == [2**32 - 2]
    assert count_instances(table).tp == (1,) * 10


def test_json_round_trip_and_sum():
    truth, cells = np.eye(6, dtype=int), np.eye(6, dtype=int)[::-1]
    counts = count_instances(count_overlaps(truth, cells))
    assert InstanceCounts.from_json(json.loads(json.dumps(counts.to_json()))) == counts
    assert counts + InstanceCounts() == counts
    assert (counts + counts).n_true == 2 * counts.n_true


@settings(max_examples=80, deadline=None)
@given(segmentations(), arrays(np.bool_, (4, 5)))
def test_pixels_of_the_ignore_label_are_not_counted(pair, coarse):
    truth, cells = pair
    ignored = np.kron(coarse, np.ones((6, 6), bool))
    truth = np.where(ignored, IGNORE_LABEL, truth)
    rows = [count_overlaps(truth[y : y + 7], cells[y : y + 7], (y, 0), 30) for y in range(0, 24, 7)]
    counts = count_instances(add_overlaps(rows))
    # By hand: remove cells that are mostly ignored, then compare the remaining pixels.
    for number in range(1, 8):
        if 2 * np.sum(ignored & (cells == number)) > np.sum(cells == number):
            cells = np.where(cells == number, 0, cells)
    blank = np.where(ignored, 0, truth).astype(np.uint32), np.where(ignored, 0, cells).astype(np.uint32)
    assert counts == count_instances(count_overlaps(*blank))
