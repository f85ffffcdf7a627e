import base64
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from slideunet.figures import curves
from slideunet.report import figures
from slideunet.scoring.instance_metrics import InstanceCounts
from slideunet.scoring.pixel_metrics import PixelCounts
from slideunet.scoring.score_slide import Score

PIXEL = PixelCounts(9, 1, 2, 50)
SCORE = Score(PIXEL, PIXEL, PixelCounts(), InstanceCounts(n_true=5, n_pred=4, tp=(3,) * 10))
PARTS = {"pooled": 0.4, "mean_over_slides": 0.5}
CURVE = [
    {"iou": k / 20, **PARTS, **{f"{name}_interval": (0.3, 0.6) for name in PARTS}} for k in range(10, 20)
]
BIN = [{"mean_probability": 0.3, "observed": 0.4, "observed_interval": (0.2, 0.5)}]
SIZES = [
    {"least_area": 64, "recall_pooled": 0.5, "recall_pooled_interval": (0.4, 0.7), "precision_pooled": None},
    {"least_area": 128, "recall_pooled": 0.7, "recall_pooled_interval": None, "precision_pooled": 0.9}
    | {"precision_pooled_interval": (0.8, 1.0)},
]
NAMES = ("train_loss", "val_loss", "train_dice", "val_dice")
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], **{name: [0.6, float("nan"), 0.4] for name in NAMES}})


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda: curves.learning_curves(HISTORY, 2),
        lambda: curves.learning_curves(HISTORY.head(1), None),
        lambda: curves.learning_curves(HISTORY.assign(val_ap=0.3), 2),
        lambda: figures.distributions([SCORE] * 7),
        lambda: figures.distributions([SCORE]),
        lambda: figures.precision_over_iou(CURVE),
        lambda: figures.precision_over_iou([row | {"pooled_interval": None} for row in CURVE]),
        lambda: figures.counted_cells([SCORE] * 7),
        lambda: figures.count_differences(
            [SCORE] * 7, {"cells": {"bias": -1.0, "lower": -2.0, "upper": 0.0}}
        ),
        lambda: figures.count_differences([SCORE], {"cells": {"bias": -1.0, "lower": None, "upper": None}}),
        lambda: figures.recall_by_size(SIZES, 0.25),
        lambda: figures.recall_by_size([], None),
        lambda: figures.distances_of_outlines([{"distance_px": 1, **CURVE[0]}] * 2, 0.5),
        lambda: figures.distances_of_outlines([{"distance_px": 1, "pooled": None}], None),
        lambda: figures.reliability_diagram({"foreground": BIN, "cells": []}),
    ],
)
def test_figures_are_reproducible_vector_graphics(draw):
    kind, data = draw().split(",")
    assert kind == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(data)).tag == "{http://www.w3.org/2000/svg}svg"
    assert draw() == f"{kind},{data}"


def test_curves_as_png():
    assert curves.learning_curves_png(HISTORY, 2).startswith(b"\x89PNG")
