"""Figures of the report as SVG data URIs."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slideunet.figures.style import BLUE, GREY, ORANGE, STYLE, svg_uri
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


def precision_over_iou(curve: Sequence[Mapping[str, Any]]) -> str:
    """Draw `measures.ap_curve`: mean over slides, and pooled over all cells, each with its interval."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        for name, label, style, colour in (
            ("mean_over_slides", "mean over slides", "o-", BLUE),
            ("pooled", "pooled", "s--", GREY),
        ):
            x = [row["iou"] for row in curve]
            axes.plot(x, [row[name] for row in curve], style, color=colour, markersize=3.5, label=label)
            if all(row[f"{name}_interval"] for row in curve):
                low, high = np.transpose([row[f"{name}_interval"] for row in curve])
                axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
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


def count_differences(scores: Sequence[Score], agreement: Mapping[str, Any]) -> str:
    """Draw predicted minus true cells over the mean of both, one point per slide, with the limits."""
    counts = np.array([(s.instances.n_true, s.instances.n_pred) for s in scores], np.float64)
    mean, difference = counts.mean(axis=1), counts[:, 1] - counts[:, 0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.scatter(mean, difference, s=14, color=BLUE, alpha=0.65, linewidths=0)
        for name, line in (("bias", "-"), ("lower", "--"), ("upper", "--")):
            if (height := agreement["cells"][name]) is not None:
                axes.axhline(height, color=ORANGE, linewidth=0.9, linestyle=line)
        axes.set(xlabel="Mean of true and predicted cells", ylabel="Predicted minus true cells")
        if mean.max() > 20 * max(1.0, np.median(mean)):
            axes.set_xscale("symlog", linthresh=10)
            axes.set_yscale("symlog", linthresh=10)
        return svg_uri(figure)


def recall_by_size(classes: Sequence[Mapping[str, Any]], mpp: float | None) -> str:
    """Draw pooled recall and precision of each class of `measures.size_classes`, with their intervals.

    Parameters
    ----------
    classes : sequence of mapping
    mpp : float or None
        Micrometres per pixel; None draws areas in pixels.
    """
    area = mpp**2 if mpp else 1.0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.9), layout="constrained")
        axes = figure.subplots()
        for name, style, colour, shift in (
            ("recall", "o-", BLUE, 1.36),
            ("precision", "s--", ORANGE, 1.47),
        ):
            shown = [row for row in classes if row[f"{name}_pooled"] is not None]
            x = np.array([row["least_area"] * area * shift for row in shown])
            values = [row[f"{name}_pooled"] for row in shown]
            axes.plot(x, values, style, color=colour, markersize=4, label=name)
            for place, row in zip(x, shown, strict=True):
                if interval := row[f"{name}_pooled_interval"]:
                    axes.plot([place] * 2, interval, color=colour, linewidth=0.9)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}")
        axes.set(xlabel=f"Area ({'µm²' if mpp else 'px'})", ylabel="Pooled, at IoU 0.5", ylim=(-0.02, 1.02))
        axes.legend(loc="lower right")
        return svg_uri(figure)


def reliability_diagram(calibration: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw the observed fraction over the predicted probability: foreground pixels, and cells."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        for name, label, style, colour in (
            ("foreground", "foreground pixels", "o-", BLUE),
            ("cells", "cells", "s--", ORANGE),
        ):
            x = [row["mean_probability"] for row in calibration[name]]
            y = [row["observed"] for row in calibration[name]]
            axes.plot(x, y, style, color=colour, markersize=3.5, label=label)
            for place, row in zip(x, calibration[name], strict=True):
                if row["observed_interval"]:
                    axes.plot([place] * 2, row["observed_interval"], color=colour, linewidth=0.9)
        axes.set(xlabel="Predicted probability", ylabel="Observed fraction", aspect="equal")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left")
        return svg_uri(figure)


def distances_of_outlines(curve: Sequence[Mapping[str, Any]], mpp: float | None) -> str:
    """Draw `measures.boundary_curve` with its interval, in micrometres if `mpp` is known."""
    shown = [row for row in curve if row["pooled"] is not None]
    x = [row["distance_px"] * (mpp or 1.0) for row in shown]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(x, [row["pooled"] for row in shown], color=BLUE)
        if shown and all(row["pooled_interval"] for row in shown):
            low, high = np.transpose([row["pooled_interval"] for row in shown])
            axes.fill_between(x, low, high, color=BLUE, alpha=0.18, linewidth=0)
        axes.set(xlabel=f"95 % Hausdorff distance ({'µm' if mpp else 'px'})", ylim=(-0.02, 1.02))
        axes.set_ylabel("Fraction of matched cells")
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
