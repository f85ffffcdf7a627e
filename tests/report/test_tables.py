from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slideunet.errors import DamagedDataError
from slideunet.report.results import SlideResult, load_results
from slideunet.report.tables import breakdown, guard_formula, metrics_table, split_overview, summarise
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score


def result(slide, tp, fp, group="g", split="test", **metadata):
    pixel = PixelCounts(tp=tp, fp=fp, fn=1, tn=50)
    score = Score(pixel, pixel, pixel, InstanceCounts(n_true=4, n_pred=3, tp=(2,) * 10))
    return SlideResult(slide, group, "", split, "", Path(slide), Path(slide), metadata, score=score)


def test_mean_is_over_slides_and_pooled_over_pixels():
    slides = [result("a", 10, 0, "g1"), result("b", 1000, 900, "g2"), result("c", 3, 3, "g3")]
    summary = summarise(slides)
    dices = [slide.score.pixel.dice for slide in slides]
    assert summary["mean"]["dice"] == pytest.approx(np.mean(dices))
    assert summary["pooled"]["dice"] == pytest.approx(2 * 1013 / (2 * 1013 + 903 + 3))
    assert (summary["n_groups"], summary["n_true"], summary["n_pred"]) == (3, 12, 9)


def test_no_scored_slides():
    assert summarise([])["n_slides"] == 0
    assert list(metrics_table([])["slide"]) == []
    assert split_overview([]) == []


def test_breakdown_by_metadata():
    slides = [result("a", 9, 0, site="x"), result("b", 5, 5, site="y"), result("c", 7, 0, site="x")]
    rows = breakdown(slides, "site")
    assert [(row["value"], row["n_slides"]) for row in rows] == [("x", 2), ("y", 1)]
    assert rows[0]["dice"] == pytest.approx(np.mean([slides[0].score.pixel.dice, slides[2].score.pixel.dice]))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_formulas_are_escaped(text):
    assert guard_formula(text) == f"'{text}"
    assert metrics_table([result("a", 1, 1, group=text)]).loc[0, "group"] == f"'{text}"


def test_numbers_and_plain_text_are_unchanged():
    assert [guard_formula(value) for value in (-0.5, "a=b", "", 3)] == [-0.5, "a=b", "", 3]


def test_ids_stay_text(tmp_path):
    rows = {"slide": ["001", "NA"], "group": ["1", "null"], "stratum": "", "split": "test", "content": ""}
    pd.DataFrame(rows).to_csv(tmp_path / "split.tsv", sep="\t", index=False)
    folders = dict.fromkeys(("slides_folder", "predictions_folder", "metrics_folder"), tmp_path)
    slides = load_results(split_table=tmp_path / "split.tsv", sheet=None, **folders)
    assert [(slide.slide, slide.group) for slide in slides] == [("001", "1"), ("NA", "null")]


def test_a_damaged_score_is_reported(tmp_path):
    (tmp_path / "split.tsv").write_text("slide\tgroup\nS1\tg\n")
    folders = {f"{name}_folder": tmp_path / name for name in ("slides", "predictions", "metrics")}
    for folder, content in zip(folders.values(), ("{}", '{"cells": {}}', '{"pixel": 3}'), strict=True):
        folder.mkdir()
        (folder / "S1.json").write_text(content)
    with pytest.raises(DamagedDataError, match=r"metrics/S1\.json: the scores cannot be read"):
        load_results(split_table=tmp_path / "split.tsv", sheet=None, **folders)
