"""The figures of the report: each with its caption, its alternative text and its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slideunet.report import figure_numbers as numbers
from slideunet.report.measures import common_pixel_size
from slideunet.report.results import SlideResult
from slideunet.report.tables import scores_of
from slideunet.scoring.intervals import FEWEST_GROUPS

STRIPS = ("dice", "iou", "otsu_dice", "otsu_iou")


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes
    ----------
    name : str
        Of the file with its numbers, without the ending.
    uri : str
        SVG as a data URI.
    caption, alt : str
    numbers : pandas.DataFrame
    """

    name: str
    uri: str
    caption: str
    alt: str
    numbers: pd.DataFrame


def charts_of(test: Sequence[SlideResult], summary: Mapping[str, Any]) -> list[Chart]:
    """Draw all figures of the scored test slides; those without a value are left out.

    Parameters
    ----------
    test : sequence of SlideResult
    summary : mapping
        Of these slides, see `tables.summarise`.
    """
    return [*_of_slides(test, summary), *_pooled(summary, common_pixel_size(test))] if scores_of(test) else []


def training_chart(history: pd.DataFrame, best_epoch: int | None) -> Chart:
    """Draw the learning curves."""
    from slideunet.figures.curves import learning_curves

    alt = "Loss, Dice and average precision of training and validation over the epochs"
    caption = "Learning curves; dashed: training, solid: validation."
    return Chart("curves", learning_curves(history, best_epoch), caption, alt, history)


def _of_slides(test: Sequence[SlideResult], summary: Mapping[str, Any]) -> Iterator[Chart]:
    # Matplotlib takes longer to load than such a page without a chart takes to be written.
    from slideunet.report import figures

    scores, counts = scores_of(test), numbers.counts_of_slides(test)
    yield Chart(
        "distributions",
        figures.distributions(scores),
        "Each point is a test slide.",
        "Distribution of Dice and IoU over the test slides, with the Otsu baseline",
        numbers.metrics_of_slides(test, STRIPS),
    )
    table = numbers.flattened(summary["ap_curve"])
    yield Chart(
        "precision",
        figures.precision_over_iou(summary["ap_curve"]),
        f"Average precision by IoU threshold; {_words(table, 'shaded', summary)}.",
        "Average precision over IoU thresholds from 0.50 to 0.95",
        table,
    )
    yield Chart(
        "counts",
        figures.counted_cells(scores),
        "Cells per test slide; dashed: equal counts.",
        "Predicted against true number of cells per test slide",
        counts[["slide", "group", "true", "predicted"]],
    )
    agreement = summary["count_agreement"]
    limits = (
        "lines: mean, and limits of agreement"
        if agreement["cells"]["lower"] is not None
        else "line: mean; no limits of agreement, because one slide has no spread"
    )
    yield Chart(
        "differences",
        figures.count_differences(scores, agreement),
        f"Errors of the counts (Bland-Altman); {limits}.",
        "Difference over mean of predicted and true number of cells per test slide",
        numbers.with_limits(counts, agreement["cells"]),
    )


def _pooled(summary: Mapping[str, Any], mpp: float | None) -> Iterator[Chart]:
    from slideunet.report import figures

    table = numbers.flattened(summary["boundary_curve"])
    if table["pooled"].notna().any():
        yield Chart(
            "distances",
            figures.distances_of_outlines(summary["boundary_curve"], mpp),
            "Outlines of matched cells: fraction with at most this distance; "
            f"{_words(table, 'shaded', summary)}.",
            "Cumulative distribution of the Hausdorff distance of matched cells",
            numbers.in_micrometres(table, mpp, {"distance_px": "distance_um"}, 1),
        )
    table = numbers.of_both_kinds(summary["calibration"])
    if len(table):
        yield Chart(
            "reliability",
            figures.reliability_diagram(summary["calibration"]),
            f"Calibration: dashed is ideal; {_words(table, 'bars', summary)}.",
            "Observed fraction over predicted probability of foreground pixels and of cells",
            table,
        )
    table = numbers.flattened(summary["size_classes"])
    if len(table):
        areas = {"least_area": "least_area_um2", "below_area": "below_area_um2"}
        yield Chart(
            "sizes",
            figures.recall_by_size(summary["size_classes"], mpp),
            "Recall of true objects and precision of cells by area, pooled; "
            f"{_words(table, 'bars', summary)}.",
            "Recall and precision of cells by their area",
            numbers.in_micrometres(table, mpp, areas, 2),
        )


def _words(table: pd.DataFrame, drawn: str, summary: Mapping[str, Any]) -> str:
    return numbers.intervals_in_words(table, drawn, summary["n_groups"], FEWEST_GROUPS)
