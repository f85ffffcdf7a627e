"""Pooled and per-slide measures of a few slides, against their definitions."""

from pathlib import Path

import numpy as np
import pytest

from slideunet.report.agreement import agreement
from slideunet.report.measures import (
    MEASURES,
    ap_curve,
    area_mm2,
    common_pixel_size,
    measures_of,
    size_classes,
)
from slideunet.report.results import SlideResult
from slideunet.report.tables import metrics_table, summarise
from slideunet.scoring.class_counts import SIZE_CLASSES, ClassCounts
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score


def sizes(k, *counts):
    return ClassCounts(*(tuple(n * (i == k) for i in range(SIZE_CLASSES)) for n in counts))


def result(slide, n_true, n_pred, tp, crowding, mpp=0.5, group=None):
    pixel = PixelCounts(tp=900, fp=50, fn=50, tn=999_000)
    ticks = tuple(max(tp - k, 0) for k in range(10))
    cells = InstanceCounts(n_true=n_true, n_pred=n_pred, tp=ticks)
    score = Score(pixel, pixel, pixel, cells, sizes(6, n_true, tp, n_pred, tp), crowding)
    facts = {"mpp": mpp}
    return SlideResult(
        slide, group or slide, "", "test", "", Path(slide), Path(slide), {}, facts, score=score
    )


LONE = ClassCounts((10, 0), (9, 0), (12, 0), (9, 0))
MIXED = ClassCounts((6, 4), (6, 1), (5, 5), (4, 3))
EMPTY = ClassCounts((0, 0), (0, 0), (0, 0), (0, 0))


@pytest.fixture
def slides():
    return [
        result("a", 10, 12, 9, LONE),
        result("b", 10, 10, 7, MIXED, mpp=1.0),
        result("c", 0, 0, 0, EMPTY, mpp=None),
    ]


def test_pooled_and_mean_use_the_slides_where_they_are_defined(slides):
    found = measures_of(slides)
    assert found["recall_lone"]["pooled"] == pytest.approx(15 / 16)
    assert found["recall_lone"]["mean_over_slides"] == pytest.approx((0.9 + 1.0) / 2)
    assert found["recall_lone"]["n_slides"] == 2
    assert (found["recall_crowded"]["pooled"], found["recall_crowded"]["n_slides"]) == (0.25, 1)
    assert found["precision_crowded"]["mean_over_slides"] == pytest.approx(0.6)
    assert found["recall_lone"]["mean_over_slides_interval"] is None  # defined in two groups only
    low, high = found["recall_lone"]["pooled_interval"]
    assert low == pytest.approx(0.9) and high == 1.0


def test_false_cells_per_area_count_slides_with_a_pixel_size(slides):
    # 10^6 px of 0.5 um are 0.25 mm2, of 1 um 1 mm2.
    found = measures_of(slides)["false_per_mm2"]
    assert [area_mm2(slide) for slide in slides] == [0.25, 1.0, None]
    assert found["pooled"] == pytest.approx((3 + 3) / 1.25)
    assert found["mean_over_slides"] == pytest.approx((12 + 3) / 2)
    assert common_pixel_size(slides) is None and common_pixel_size(slides[:1]) == 0.5


def test_the_curve_has_the_values_and_intervals_of_the_headline(slides):
    summary, curve = summarise(slides), ap_curve(slides)
    for name, k in (("ap50", 0), ("ap75", 5)):
        assert curve[k]["mean_over_slides"] == pytest.approx(summary["mean"][name])
        assert curve[k]["mean_over_slides_interval"] == pytest.approx(summary["intervals"][name])
        assert curve[k]["pooled"] == pytest.approx(summary["pooled"][name])
    assert [row["iou"] for row in curve] == pytest.approx(np.arange(0.5, 1.0, 0.05))
    assert summary["ap_curve"] == curve


def test_size_classes_are_pooled(slides):
    (row,) = size_classes(slides)
    assert (row["least_area"], row["below_area"]) == (64, 128)
    assert row["recall_pooled"] == pytest.approx(16 / 20)
    assert row["precision_pooled"] == pytest.approx(16 / 22)
    assert row["recall_pooled_interval"][0] == pytest.approx(0.7)
    assert size_classes(slides[2:]) == []


def test_limits_of_agreement_are_those_of_bland_and_altman():
    random = np.random.default_rng(3)
    true, predicted = random.integers(0, 400, (2, 17))
    slides = [
        result(str(i), int(t), int(p), 0, EMPTY) for i, (t, p) in enumerate(zip(true, predicted, strict=True))
    ]
    found, difference = agreement(slides), (predicted - true).astype(float)
    percent = 100 * difference / ((predicted + true) / 2)
    for unit, values in (("cells", difference), ("percent", percent)):
        width = 1.96 * np.std(values, ddof=1)
        assert found[unit]["bias"] == pytest.approx(values.mean())
        assert found[unit]["lower"] == pytest.approx(values.mean() - width)
        assert found[unit]["upper"] == pytest.approx(values.mean() + width)
        for name in ("bias", "lower", "upper"):
            low, high = found[unit][f"{name}_interval"]
            assert low < found[unit][name] < high


def test_one_slide_has_a_bias_and_no_limits(slides):
    cells = agreement(slides[:1])["cells"]
    assert (cells["bias"], cells["lower"], cells["upper"], cells["bias_interval"]) == (2.0, None, None, None)
    assert agreement(slides[2:])["percent"]["bias"] == 0.0


def test_the_table_has_a_column_of_each_and_leaves_the_undefined_empty(slides):
    table = metrics_table(slides)
    assert table["count_error"].tolist() == [2, 0, 0]
    assert table["count_error_percent"].tolist() == pytest.approx([100 * 2 / 11, 0, 0])
    assert set(MEASURES) <= set(table.columns)
    assert table["recall_crowded"].isna().tolist() == [True, False, True]
    assert summarise([])["measures"] == {}
