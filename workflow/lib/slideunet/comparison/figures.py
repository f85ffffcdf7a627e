"""Figures of a comparison as SVG data URIs."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from slideunet.comparison.differences import Difference
from slideunet.comparison.metrics import POOLED_PREFIX, sign_of
from slideunet.figures.style import BLUE, GREY, ORANGE, STYLE, svg_uri


def slide_against_slide(first: ArrayLike, other: ArrayLike, metric: str, names: tuple[str, str]) -> str:
    """Draw a metric of every slide (n,) in two runs against each other.

    Slides that gained are blue discs, those that lost orange triangles, equal ones grey squares.
    """
    name = metric.removeprefix(POOLED_PREFIX)
    x, y = np.asarray(first, float), np.asarray(other, float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    gain = sign_of(metric) * (y - x)
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    rim = 0.06 * max(high - low, 0.02)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([low - rim, high + rim], [low - rim, high + rim], color=GREY, linewidth=0.9, linestyle="--")
        kinds = ((gain == 0, GREY, "s"), (gain > 0, BLUE, "o"), (gain < 0, ORANGE, "v"))
        for chosen, colour, marker in kinds:
            axes.scatter(x[chosen], y[chosen], s=22, color=colour, marker=marker, alpha=0.7, linewidths=0)
        limits = (low - rim, high + rim)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel=f"{name} of a slide, {names[0]}", ylabel=f"{name} of a slide, {names[1]}")
        return svg_uri(figure)


def intervals_of_differences(
    differences: Sequence[Difference], names: tuple[str, str], averaging: str
) -> str:
    """Draw the difference of every metric with its interval, where there is one."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 0.6 + 0.21 * max(len(differences), 4)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
        for height, difference in enumerate(reversed(differences)):
            if difference.interval:
                axes.plot(difference.interval, [height, height], color=BLUE, linewidth=1.4)
            axes.plot(difference.difference, height, color=BLUE, marker="o", markersize=4.5)
        axes.set_yticks(
            range(len(differences)), [d.metric.removeprefix(POOLED_PREFIX) for d in reversed(differences)]
        )
        axes.set(ylim=(-0.6, len(differences) - 0.4), xlabel=f"{names[1]} minus {names[0]}, {averaging}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", visible=False)
        return svg_uri(figure)
