import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slideunet.report import figure_numbers as numbers
from slideunet.report.charts import charts_of
from slideunet.report.results import SlideResult
from slideunet.report.tables import summarise
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score

PIXEL = PixelCounts(9, 1, 2, 50)


def slide(name, group, n_true=5, n_pred=4, tp=3):
    cells = InstanceCounts(n_true=n_true, n_pred=n_pred, tp=(tp,) * 10)
    score = Score(PIXEL, PIXEL, PixelCounts(), cells)
    return SlideResult(
        name, group, "", "test", "c", Path(name), Path(name), {}, {"mpp": 0.5}, {"cells": {}}, score
    )


def test_intervals_are_two_columns_and_none_is_empty():
    table = numbers.flattened([{"iou": 0.5, "a_interval": (0.1, 0.2)}, {"iou": 0.6, "a_interval": None}])
    assert list(table) == ["iou", "a_low", "a_high"]
    assert numbers.csv_of(table) == "iou,a_low,a_high\n0.5,0.1,0.2\n0.6,,\n"


def test_text_that_a_spreadsheet_would_run_has_an_apostrophe():
    table = numbers.counts_of_slides([slide("S1", '=HYPERLINK("x")')])
    assert pd.read_csv(io.StringIO(numbers.csv_of(table)))["group"][0].startswith("'=")


@pytest.mark.parametrize(
    ("ends", "groups", "words"),
    [
        ([0.1, 0.2], 5, "bars: 95 % intervals"),
        ([0.1, None], 5, "bars: 95 % intervals, where there is one"),
        ([None, None], 2, "no intervals, because fewer than 3 groups were tested"),
        ([None, None], 5, "no intervals, because no resample of the groups has a value"),
    ],
)
def test_a_caption_says_which_intervals_there_are_and_why_not(ends, groups, words):
    table = pd.DataFrame({"a_low": ends, "a_high": ends})
    assert numbers.intervals_in_words(table, "bars", groups, 3) == words


def test_the_numbers_of_the_counts_are_those_of_the_slides():
    test = [slide("S1", "a", 5, 4), slide("S2", "b", 7, 10)]
    charts = {chart.name: chart for chart in charts_of(test, summarise(test))}
    assert list(charts) == ["distributions", "precision", "counts", "differences"]
    assert charts["counts"].numbers[["true", "predicted"]].to_numpy().tolist() == [[5, 4], [7, 10]]
    table = charts["differences"].numbers
    np.testing.assert_allclose(table["difference"], [-1, 3])
    np.testing.assert_allclose(table["bias"], 1)
    np.testing.assert_allclose(table["upper"] - table["bias"], 1.96 * np.std([-1, 3], ddof=1))
    np.testing.assert_allclose(charts["distributions"].numbers["dice"], PIXEL.dice)
    assert "no intervals, because fewer than 3 groups" in charts["precision"].caption


def test_one_slide_has_no_limits_of_agreement():
    test = [slide("S1", "a")]
    charts = {chart.name: chart.caption for chart in charts_of(test, summarise(test))}
    assert "no limits of agreement, because one slide has no spread" in charts["differences"]


def test_a_run_without_scores_has_no_figures():
    assert charts_of([], summarise([])) == []


def test_areas_and_lengths_are_in_micrometres_too_where_the_pixel_size_is_known():
    table = pd.DataFrame({"least_area": [4, 8]})
    added = numbers.in_micrometres(table, 0.5, {"least_area": "least_area_um2"}, 2)
    assert added["least_area_um2"].tolist() == [1, 2]
    assert list(numbers.in_micrometres(table, None, {"least_area": "x"}, 2)) == ["least_area"]
