"""Calibration of pixels and of cells, against torchmetrics and definitions on whole arrays."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from making import blocks_of
from skimage.measure import label, regionprops
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import binary_calibration_error

from slideunet.scoring.calibration import BINS, CalibrationCounts, calibration_of, histogram
from slideunet.scoring.derived import calibration_error
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.scoring.score_slide import score_slide
from slideunet.truth.ignore_label import IGNORE_LABEL

cases = st.integers(1, 200).flatmap(
    lambda n: st.tuples(arrays(np.uint8, n, elements=st.integers(0, 255)), arrays(np.bool_, n))
)


def error_of(counts):
    columns = np.array([*counts.positive, *counts.probability, sum(counts.n)], float)
    return float(calibration_error(columns[:, None])[0])


@settings(max_examples=80, deadline=None)
@given(cases)
def test_calibration_error_and_brier_score_agree_with_torchmetrics(case):
    probability, positive = case
    counts = calibration_of(histogram(probability, positive))
    assert sum(counts.n) == len(positive) and sum(counts.positive) == positive.sum()
    # A bin begins at its lower limit, which float32 may miss by a rounding; 1 has a bin of its own there.
    p = torch.tensor(np.minimum(probability / 255 + 1e-6, 1 - 1e-6), dtype=torch.float32)
    y = torch.tensor(positive.astype(int))
    expected = float(binary_calibration_error(p, y, n_bins=BINS, norm="l1"))
    assert error_of(counts) == pytest.approx(expected, abs=1e-5)
    brier = counts.squared_error / 255**2 / len(positive)
    assert brier == pytest.approx(float(mean_squared_error(p, y.float())), abs=1e-5)


@pytest.fixture
def slide():
    random = np.random.default_rng(8)
    truth = label(random.random((61, 83)) < 0.25, connectivity=1).astype(np.uint32)
    cells = np.where(random.random(truth.shape) < 0.1, 0, truth)
    truth[20:30, 20:50] = IGNORE_LABEL
    probability = random.integers(0, 256, (1, *truth.shape), np.uint8)
    return np.zeros((1, *truth.shape), np.uint8), truth, probability, cells


@pytest.mark.parametrize("block", [7, 16, 4096])
def test_a_slide_in_blocks_has_the_calibration_of_its_arrays(slide, block):
    _, truth, probability, cells = slide
    with blocks_of(block):
        score, _ = score_slide(*slide, threshold=0.5)
    valid = truth != IGNORE_LABEL
    assert score.calibration == calibration_of(histogram(probability[0][valid], truth[valid] > 0))
    rows = match_arrays(count_overlaps(truth, cells))
    matched = set(rows["cell"][rows["matched"]].tolist())
    kept = set(rows["cell"].tolist())
    regions = regionprops(np.where(valid, cells, 0), probability[0])
    means = {region.label: region.intensity_mean for region in regions if region.label in kept}
    expected = histogram(
        np.rint(list(means.values())).astype(np.uint8), np.array([number in matched for number in means])
    )
    assert score.cell_calibration == calibration_of(expected)
    assert sum(score.cell_calibration.n) == score.instances.n_pred
    assert sum(score.cell_calibration.positive) == score.instances.tp[0]


def test_perfect_and_worst_probabilities():
    positive = np.array([True, False, True])
    right = calibration_of(histogram(np.where(positive, 255, 0).astype(np.uint8), positive))
    wrong = calibration_of(histogram(np.where(positive, 0, 255).astype(np.uint8), positive))
    assert (error_of(right), right.squared_error) == (0.0, 0)
    assert (error_of(wrong), wrong.squared_error) == (1.0, 3 * 255**2)
    assert np.isnan(error_of(CalibrationCounts()))


def test_json_round_trip_and_sum():
    counts = calibration_of(histogram(np.array([0, 17, 254, 255], np.uint8), np.array([0, 1, 0, 1], bool)))
    assert CalibrationCounts.from_json(json.loads(json.dumps(asdict(counts)))) == counts
    assert (counts + counts).probability == tuple(2 * p for p in counts.probability)
    assert counts.n == (1, 1, *[0] * 12, 2)
