"""Learning curves: loss, Dice and average precision over the epochs."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slideunet.figures.style import BLUE, GREY, ORANGE, STYLE, encode, svg_uri

_METRICS = {"loss": "Loss", "dice": "Dice", "ap": "Mean average precision"}


def learning_curves(history: pd.DataFrame, best_epoch: int | None) -> str:
    """Draw loss, Dice and average precision over the epochs as an SVG data URI."""
    return svg_uri(_curves(history, best_epoch))


def learning_curves_png(history: pd.DataFrame, best_epoch: int | None) -> bytes:
    """Draw the same curves as a PNG file."""
    return encode(_curves(history, best_epoch), "png")


def _curves(history: pd.DataFrame, best_epoch: int | None) -> Figure:
    """Draw a chart for each metric in the history, with the selected epoch marked."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 2.7), layout="constrained")
        metrics = {name: label for name, label in _METRICS.items() if f"val_{name}" in history}
        charts = figure.subplots(1, len(metrics), squeeze=False)[0]
        for axes, (name, label) in zip(charts, metrics.items(), strict=True):
            for part, colour, line in (("train", GREY, "--"), ("val", BLUE, "-")):
                if f"{part}_{name}" in history:
                    _plot_seeds(axes, history, f"{part}_{name}", colour, line)
            if best_epoch is not None:
                axes.axvline(best_epoch, color=ORANGE, linewidth=1, linestyle=":", label="chosen epoch")
            axes.set(xlabel="Epoch", ylabel=label)
            axes.legend()
        return figure


def _plot_seeds(axes: Axes, history: pd.DataFrame, column: str, colour: str, line: str) -> None:
    """Draw a column of the history, one line per seed."""
    text = "training" if column.startswith("train_") else "validation"
    seeds = [rows for _, rows in history.groupby("seed")] if "seed" in history else [history]
    for number, rows in enumerate(seeds):
        values = pd.to_numeric(rows[column], errors="coerce")
        marker, label = "o" if len(values) < 3 else "", None if number else text
        axes.plot(rows["epoch"], values, line, color=colour, marker=marker, markersize=3, label=label)
