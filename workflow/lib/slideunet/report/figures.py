"""Figures of the report as SVG data URIs."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slideunet.figures.style import BLUE, GREY, ORANGE, STYLE, svg_uri
from slideunet.scoring.instance_metrics import THRESHOLDS
from slideunet.scoring.score_slide import Score


def distributions(scores: Sequence[Score]) -> str:
    """Draw Dice and IoU of every slide, for the network and for the Otsu baseline."""
    rows = (
        ("Otsu IoU", "otsu_iou", GREY),
        ("IoU", "iou", BLUE),
        ("Otsu Dice", "otsu_dice", GREY),
        ("Dice", "dice", BLUE),
    )
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 2.9), layout="constrained")
        axes = figure.subplots()
        for height, (_, name, colour) in enumerate(rows):
            _strip(axes, height, np.array([score.values()[name] for score in scores]), colour)
        axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4), xlabel="Value of a slide (box: quartiles)")
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)


def precision_over_iou(mean: Sequence[float], pooled: Sequence[float]) -> str:
    """Draw average precision over IoU thresholds: mean over slides, and pooled over all cells."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(THRESHOLDS, mean, color=BLUE, marker="o", markersize=3.5, label="mean over slides")
        axes.plot(THRESHOLDS, pooled, color=GREY, marker="s", markersize=3, linestyle="--", label="pooled")
        axes.set(xlabel="IoU threshold", ylabel="Average precision", ylim=(-0.02, 1.02))
        axes.legend(loc="lower left")
        return svg_uri(figure)


def counted_cells(scores: Sequence[Score]) -> str:
    """Draw predicted against true cell counts, one point per slide."""
    true = [score.instances.n_true for score in scores]
    predicted = [score.instances.n_pred for score in scores]
    top = max(*true, *predicted, 1) * 1.06
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, top], [0, top], color=ORANGE, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.scatter(true, predicted, s=14, color=BLUE, alpha=0.65, linewidths=0)
        axes.set(xlabel="True cells", ylabel="Predicted cells", xlim=(0, top), ylim=(0, top), aspect="equal")
        if top > 20 * np.median([1, *true]):  # one huge slide would crowd all others in the corner
            axes.set_xscale("symlog", linthresh=10)
            axes.set_yscale("symlog", linthresh=10)
        return svg_uri(figure)


def _strip(axes: Axes, height: int, values: np.ndarray, colour: str) -> None:
    # Golden-ratio jitter: evenly spread and reproducible.
    jitter = ((np.arange(len(values)) * 0.618034) % 1.0 - 0.5) * 0.5
    axes.scatter(values, height + jitter, s=9, color=colour, alpha=0.5, linewidths=0)
    if len(values) >= 5:
        line: dict[str, Any] = {"color": "#222222", "linewidth": 1.0}
        axes.boxplot(
            values,
            positions=[height],
            orientation="horizontal",
            widths=0.62,
            showfliers=False,
            manage_ticks=False,
            boxprops=line,
            whiskerprops=line,
            medianprops={**line, "linewidth": 1.8},
            capprops={"linewidth": 0},
        )
