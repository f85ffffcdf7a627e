"""The slide of several runs: the shown part, and what each picture has."""

from pathlib import Path

import numpy as np

from slideunet.figures.encoding import in_page
from slideunet.report.results import SlideResult
from slideunet.report.side_by_side import draw_several


def draw(write_store, folder, truth, predictions):
    image = (50 + 90 * (truth > 0)).astype(np.uint8)[None]
    statistics = [{"low": 40.0, "high": 150.0}]
    slide = write_store(folder / "slides/S1.json", image, labels=truth, n_objects=1, statistics=statistics)
    results = {}
    for name, cells in predictions.items():
        probability = (cells > 0).astype(np.uint8)[None] * 255
        path = write_store(folder / name / "S1.json", probability, labels=cells, name="cells")
        facts = {"shape": image.shape, "statistics": statistics, "n_objects": 1}
        results[name] = SlideResult("S1", "g", "", "test", "c", slide, Path(path), {}, facts, {"cells": {}})
    return draw_several(results, in_page(200_000))


def squares(shape, *places):
    labels = np.zeros(shape, np.uint32)
    for number, (y, x) in enumerate(places, start=1):
        labels[y : y + 20, x : x + 20] = number
    return labels


def test_the_part_is_shown_where_the_runs_differ(tmp_path, write_store):
    # Both runs miss the first object; only B misses the last.
    shape, common, missed = (900, 1300), (30, 40), (800, 1100)
    truth = squares(shape, common, (60, 90), missed)
    a, b = truth * (truth > 1), truth * (truth == 2)
    case = draw(write_store, tmp_path, truth, {"A": a.astype(np.uint32), "B": b.astype(np.uint32)})
    rows, columns = ([int(end) for end in part.split()[-1].split("-")] for part in case.region.split(", "))
    assert rows[0] <= missed[0] and missed[0] + 20 <= rows[1]
    assert columns[0] <= missed[1] and missed[1] + 20 <= columns[1]
    assert [panel.caption for panel in case.panels] == ["Original", "Truth", "A", "B"]
    assert all(panel.picture.uri.startswith("data:image/webp") for panel in case.panels)
    original, truth_panel, of_a, of_b = (panel.picture.uri for panel in case.panels)
    assert truth_panel == of_a  # the object that both miss is not in this part
    assert len({original, of_a, of_b}) == 3


def test_equal_predictions_have_equal_pictures_of_the_whole_small_slide(tmp_path, write_store):
    truth = squares((80, 95), (10, 10), (50, 40))
    case = draw(write_store, tmp_path, truth, {"A": truth, "B": truth})
    assert case.region == ""
    truth_panel, a, b = case.panels[1:]
    assert truth_panel.picture.uri == a.picture.uri == b.picture.uri  # all correct, in one colour
    assert a.alt == "Slide S1, A: outlines of the predicted cells; 0 of 2 false"
