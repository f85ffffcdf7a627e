import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional import classification as oracle
from torchmetrics.functional.segmentation import dice_score

from slideunet.scoring.pixel_metrics import PixelCounts, count_pixels

masks = arrays(bool, (7, 11), elements=st.booleans())


@settings(max_examples=40, deadline=None)
@given(masks, masks)
def test_agrees_with_torchmetrics(truth, predicted):
    counts = count_pixels(truth, predicted)
    t, p = torch.tensor(truth).long(), torch.tensor(predicted).long()
    assert counts.accuracy == pytest.approx(float(oracle.binary_accuracy(p, t)))
    if counts.empty:
        return
    assert counts.precision == pytest.approx(float(oracle.binary_precision(p, t)))
    assert counts.recall == pytest.approx(float(oracle.binary_recall(p, t)))
    assert counts.iou == pytest.approx(float(oracle.binary_jaccard_index(p, t)))
    assert counts.dice == pytest.approx(float(oracle.binary_f1_score(p, t)))
    both = torch.stack([1 - t, t])[None], torch.stack([1 - p, p])[None]
    score = dice_score(both[1], both[0], num_classes=2, include_background=False)
    assert counts.dice == pytest.approx(float(score.squeeze()))


@settings(max_examples=40, deadline=None)
@given(masks, masks, st.integers(0, 7))
def test_blocks_add_up_to_the_whole(truth, predicted, cut):
    parts = count_pixels(truth[:cut], predicted[:cut]) + count_pixels(truth[cut:], predicted[cut:])
    assert parts == count_pixels(truth, predicted)


def test_empty_against_empty_is_perfect_and_flagged():
    counts = count_pixels(np.zeros((3, 4)), np.zeros((3, 4)))
    assert counts == PixelCounts(tn=12)
    assert counts.empty
    assert (counts.dice, counts.iou, counts.precision, counts.recall, counts.accuracy) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("counts", [PixelCounts(fp=5, tn=1), PixelCounts(fn=5, tn=1)])
def test_empty_on_one_side_only_is_zero(counts):
    assert not counts.empty
    assert (counts.dice, counts.iou, counts.precision, counts.recall) == (0, 0, 0, 0)


def test_refuses_to_broadcast():
    with pytest.raises(ValueError, match="must be equal"):
        count_pixels(np.ones((3, 4)), np.ones((1, 4)))
