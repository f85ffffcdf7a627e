"""The metrics of a comparison are those of the report, pooled and of slides."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from making import random_score

from slideunet.comparison.metrics import (
    OF_CLASSES,
    POOLED,
    POOLED_PREFIX,
    label_of,
    metrics_of_slide,
    sign_of,
)
from slideunet.report.measures import MEASURES, size_classes
from slideunet.report.results import SlideResult
from slideunet.report.tables import NOTHING, metrics_table
from slideunet.scoring.derived import derived_value
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score


def result(score, mpp=0.5):
    return SlideResult("S1", "g", "", "test", "", Path(), Path(), facts={"mpp": mpp}, score=score)


def pooled(name, scores):
    counts = [POOLED[name].counts(result(score)) for score in scores]
    return derived_value(POOLED[name].derive, np.sum(counts, axis=0))


NO_CELLS = Score(*[PixelCounts(fn=5, tn=9)] * 3, InstanceCounts(n_true=2))
NO_OBJECTS = Score(*[PixelCounts(fp=5, tn=9)] * 3, InstanceCounts(n_pred=2))


@pytest.mark.parametrize("seed", range(5))
def test_pooled_metrics_are_those_of_the_added_scores(seed):
    random = np.random.default_rng(seed)
    scores = [random_score(random) for _ in range(seed + 1)]
    for chosen in (scores, [NOTHING], [NO_CELLS], [NO_OBJECTS], [NO_CELLS, NOTHING], [NO_CELLS, NO_OBJECTS]):
        values = sum(chosen, NOTHING).values()
        own = {name: value for name, value in values.items() if not name.startswith("otsu_")}
        assert {name: pooled(name, chosen) for name in own} == pytest.approx(own), chosen


def test_every_number_of_the_report_is_compared():
    columns = set(metrics_table([]).columns)
    skipped = {"slide", "group", "split", "stratum", "n_true", "n_pred", "empty", "area_mm2", "tp_50"}
    skipped |= {name for name in columns if name.startswith(("pixel_", "otsu_"))}
    score = random_score(np.random.default_rng(0))
    found = metrics_of_slide(result(score), score.values())
    undefined = {"foreground_ece", "foreground_brier", "cell_ece", "cell_brier", "boundary_f1"}
    undefined |= {"hd95_px", "hd95_um", "cell_boundary_f1"}  # The drawn counts have none.
    assert columns - skipped == set(found) | undefined
    assert set(MEASURES) <= set(POOLED)
    assert {part.name for part in fields(Score)} >= {"sizes", "crowding", "calibration", "boundaries"}


def test_size_classes_are_those_of_the_report():
    random = np.random.default_rng(7)
    results = [result(random_score(random)) for _ in range(4)]
    for row in size_classes(results):
        least, below = row["least_area"], row["below_area"]
        name = f"from_{least}_px" if below is None else f"{least}_to_{below - 1}_px"
        for kind in ("recall", "precision"):
            assert f"{POOLED_PREFIX}{kind}_{name}" in OF_CLASSES
            found = pooled(f"{kind}_{name}", [r.score for r in results])
            assert found == pytest.approx(row[f"{kind}_pooled"], nan_ok=True)


def test_labels_say_what_is_pooled():
    assert label_of("ap50") == "AP at IoU 0.5"
    assert label_of("pooled_ap50") == "AP at IoU 0.5, pooled"
    assert label_of("fp_50") == "False cells of a slide"
    assert label_of("anything_new") == "anything new"
    assert sign_of("pooled_hd95_um") == sign_of("pooled_cell_ece") == sign_of("false_per_mm2") == -1
    assert sign_of("pooled_splits_per_100") == -1 and sign_of("pooled_recall_16_to_31_px") == 1
