"""Figures as SVG data URIs: vector, self-contained, without pyplot's global state."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slideunet.scoring.instances import THRESHOLDS
from slideunet.scoring.slides import Score

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7A7A7A"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "slideunet",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


_MEASURES = {"loss": "Loss", "dice": "Dice", "ap": "Mean average precision"}


def learning_curves(history: pd.DataFrame, best_epoch: int | None) -> str:
    """Draw loss, Dice and average precision over the epochs as an SVG data URI."""
    return _data_uri(_curves(history, best_epoch))


def learning_curves_png(history: pd.DataFrame, best_epoch: int | None) -> bytes:
    """Draw the same as a PNG file."""
    return _encode(_curves(history, best_epoch), "png")


def _curves(history: pd.DataFrame, best_epoch: int | None) -> Figure:
    """Draw a chart for each measure that the history holds; the chosen epoch is marked."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        measures = {name: label for name, label in _MEASURES.items() if f"val_{name}" in history}
        charts = figure.subplots(1, len(measures), squeeze=False)[0]
        for axes, (name, label) in zip(charts, measures.items(), strict=True):
            for part, colour in (("train", GREY), ("val", BLUE)):
                if f"{part}_{name}" in history:
                    _plot_seeds(axes, history, f"{part}_{name}", colour)
            if best_epoch is not None:
                axes.axvline(
                    best_epoch, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)), label="chosen epoch"
                )
            axes.set(xlabel="Epoch", ylabel=label)
            axes.legend()
        return figure


def _plot_seeds(axes: Axes, history: pd.DataFrame, column: str, colour: str) -> None:
    """Draw a column of the history, one line for each seed where there are several."""
    text = "training" if column.startswith("train_") else "validation"
    seeds = [one for _, one in history.groupby("seed")] if "seed" in history else [history]
    for number, one in enumerate(seeds):
        values = pd.to_numeric(one[column], errors="coerce")
        marker, label = "o" if len(values) < 3 else "", "" if number else text
        axes.plot(one["epoch"], values, color=colour, marker=marker, markersize=3, label=label or None)


def distributions(scores: Sequence[Score]) -> str:
    """Draw Dice and IoU of every slide, the network's above those of the Otsu baseline."""
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
        return _data_uri(figure)


def precision_over_iou(mean: Sequence[float], pooled: Sequence[float]) -> str:
    """Draw average precision over the IoU thresholds, as mean over slides and of all cells together."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(THRESHOLDS, mean, color=BLUE, marker="o", markersize=3.5, label="mean over slides")
        axes.plot(THRESHOLDS, pooled, color=GREY, marker="s", markersize=3, linestyle="--", label="pooled")
        axes.set(xlabel="IoU threshold", ylabel="Average precision", ylim=(-0.02, 1.02))
        axes.legend(loc="lower left")
        return _data_uri(figure)


def counted_cells(scores: Sequence[Score]) -> str:
    """Draw the number of predicted cells over the number of true ones, a point per slide."""
    true = [score.instances.n_true for score in scores]
    predicted = [score.instances.n_pred for score in scores]
    top = max(*true, *predicted, 1) * 1.06
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, top], [0, top], color=ORANGE, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.scatter(true, predicted, s=14, color=BLUE, alpha=0.65, linewidths=0)
        axes.set(xlabel="True cells", ylabel="Predicted cells", xlim=(0, top), ylim=(0, top), aspect="equal")
        if top > 20 * np.median([1, *true]):  # one huge slide would press all others into the corner
            axes.set_xscale("symlog", linthresh=10)
            axes.set_yscale("symlog", linthresh=10)
        return _data_uri(figure)


def _strip(axes: Axes, height: int, values: np.ndarray, colour: str) -> None:
    # Golden-ratio jitter: spread evenly, and the same in every run.
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


def _data_uri(figure: Figure) -> str:
    svg = _encode(figure, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _encode(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Ticks and ids are made only now, so the style must hold here too.
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
