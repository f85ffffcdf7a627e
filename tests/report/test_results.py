from pathlib import Path

import pytest

from slideunet.report.page import RunRecord, render_page, summary_of
from slideunet.report.results import SlideResult, warnings_of


@pytest.fixture
def results():
    """Slides of three splits: one to predict has the pixels of a training slide, two are empty fields."""

    def result(slide, split, content, values=(0, 9)):
        channel = dict.fromkeys(("mean", "std", "low", "median", "high"), 0) | dict(
            zip(("min", "max"), values, strict=True)
        )
        facts = {"shape": [1, 7, 5], "statistics": [channel], "n_objects": None, "warnings": [], "mpp": None}
        return SlideResult(
            slide, slide, "", split, content, Path(slide), Path(slide), {}, facts, {"cells": {"n_cells": 0}}
        )

    return [
        result("a", "train", "x"),
        result("b", "predict", "y"),
        result("c", "predict", "x"),
        result("d", "predict", "z", (3, 3)),
        result("e", "predict", "z", (3, 3)),
        result("f", "val", "v"),
    ]


def test_slides_that_the_model_has_seen_and_equal_slides_are_warnings(results):
    warnings = warnings_of(results, {"x", "v", "elsewhere"})
    assert [slide for slide, _ in warnings] == ["c", "a", "d"]
    assert warnings[0][1].startswith("the model was trained or validated on these pixels")
    assert warnings[1][1] == "has the same pixels as c"
    assert warnings[2][1].startswith("is empty")
    assert [slide for slide, _ in warnings_of(results)] == ["a", "d"]


@pytest.mark.parametrize(("training", "count"), [({"contents": ["x", "y"]}, 4), ({}, 2), (None, 2)])
def test_the_contents_are_those_of_the_model(results, training, count):
    model = {} if training is None else {"training": training}
    run = RunRecord("Title", "2000-01-02", "snakemake", {}, model, None, [], None, {})
    assert len(summary_of(run, results)["warnings"]) == count


def test_the_page_shows_the_warnings(results, tmp_path):
    run = RunRecord(
        "Title", "2000-01-02", "snakemake", {}, {"training": {"contents": ["x"]}}, None, [], None, {}
    )
    unpredicted = [SlideResult(**{**vars(result), "prediction": None}) for result in results]
    page = render_page(run, unpredicted, tmp_path)
    assert ">c</a></strong>: the model was trained or validated on these pixels" in page
