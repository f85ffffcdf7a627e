"""The report: all results of a run as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from slideunet.figures import curves
from slideunet.report import figures
from slideunet.report.gallery import errors_of
from slideunet.report.masks import draw_mask, masked, share_in_words
from slideunet.report.pictures import CORRECT, FALSE, MISSED
from slideunet.report.results import SlideResult, warnings_of
from slideunet.report.side_by_side import Case, draw_case, ranked
from slideunet.report.tables import breakdown, scored, scores_of, split_overview, spread, summarise
from slideunet.scoring.instance_metrics import THRESHOLDS

NONE = "\N{EN DASH}"
EXTREMES = 3
UNLABELLED_SHOWN = 24
MASKS_SHOWN = 24
MASK_BYTES = 24_000
PICTURE_BYTES = 11_000_000
"""Of all pictures together before base64, which adds a third."""

HEADLINE = (
    ("dice", "Dice", "otsu_dice"),
    ("iou", "IoU", "otsu_iou"),
    ("accuracy", "Pixel accuracy", "otsu_accuracy"),
    ("precision", "Pixel precision", None),
    ("recall", "Pixel recall", None),
    ("ap50", "AP at IoU 0.5", None),
    ("ap75", "AP at IoU 0.75", None),
    ("map", "AP, mean of 0.50-0.95", None),
    ("f1_50", "F1 of cells at IoU 0.5", None),
    ("pq", "Panoptic quality", None),
    ("aji", "Aggregated Jaccard index", None),
)


@dataclass(frozen=True)
class Run:
    """What the report says about the run as a whole.

    Attributes
    ----------
    title, date, command : str
        As printed; `command` repeats the run.
    config : mapping
        The configuration with all defaults filled in.
    model : mapping
        The content of model.json.
    history : pandas.DataFrame or None
        The content of history.csv; None for a model that was not trained here.
    by : sequence of str
        Columns of the sheet by which results are broken down.
    sheet_sha256 : str or None
        Of the sample sheet.
    versions : mapping
        Of the software that scored and reported.
    seeds : pandas.DataFrame or None
        What each of several seeds reached, and all together; see `tables.spread`.
    quarantined : mapping
        Slide to what was wrong with it, for slides that were set aside.
    """

    title: str
    date: str
    command: str
    config: Mapping[str, Any]
    model: Mapping[str, Any]
    history: pd.DataFrame | None
    by: Sequence[str]
    sheet_sha256: str | None
    versions: Mapping[str, str]
    seeds: pd.DataFrame | None = None
    quarantined: Mapping[str, Sequence[str]] = field(default_factory=dict)


def summary_of(run: Run, results: Sequence[SlideResult]) -> dict[str, Any]:
    """Make summary.json: what was run, and the summaries of every side of the split."""
    return {
        "title": run.title,
        "date": run.date,
        "n_slides": len(results),
        "n_cells": sum(result.n_cells for result in results),
        "model_sha256": run.model.get("sha256"),
        "headline_split": "test",
        "splits": {
            split: summarise([r for r in results if r.split == split])
            for split in dict.fromkeys(result.split for result in results)
        },
        "seeds": spread(run.seeds),
        "warnings": [f"slide {slide}: {text}" for slide, text in warnings_of(list(results))],
        "quarantined": {slide: list(problems) for slide, problems in run.quarantined.items()},
        "sheet_sha256": run.sheet_sha256,
        "versions": dict(run.versions),
    }


def render_page(run: Run, results: Sequence[SlideResult]) -> str:
    """Render the page; everything that comes from outside is escaped by the template engine."""
    environment = Environment(
        loader=PackageLoader("slideunet", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "interval": _interval,
        "count": _count,
        "skipped": share_in_words,
    }
    template = environment.get_template("page.html.j2")
    style = files("slideunet").joinpath("report", "page.css").read_text(encoding="utf-8")
    return template.render(
        style=style,
        run=run,
        results=results,
        **_numbers(run, results),
        **_pictures(results),
        errors=errors_of(results),
        methods=sorted(
            {str(result.prediction["cells"].get("method")) for result in results if result.prediction}
        ),
        least_probabilities=sorted(
            {result.prediction["cells"].get("min_probability", 0) for result in results if result.prediction}
        ),
        **_masks(results),
    )


def _numbers(run: Run, results: Sequence[SlideResult]) -> dict[str, Any]:
    test = scored(results, "test")
    others = [result for result in scored(results) if result.split != "test"]
    columns = [column for column in dict.fromkeys(["stratum", *run.by]) if len(_values(test, column)) > 1]
    return {
        "headline": HEADLINE,
        "test": summarise(test),
        "test_slides": ranked(test),
        "other_slides": others,
        "others": {
            split: summarise(scored(results, split)) for split in dict.fromkeys(r.split for r in others)
        },
        "overview": split_overview(results),
        "breakdowns": [(column, breakdown(test, column)) for column in ["group", *columns] if test],
        "by": [column for column in dict.fromkeys(run.by) if column not in ("group", "stratum")],
        "warnings": warnings_of(list(results)),
        "n_cells": sum(result.n_cells for result in results),
        "config_yaml": yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        "thresholds": THRESHOLDS,
        "charts": _charts(run, test),
        "spread": spread(run.seeds),
        "has_strata": len({result.stratum for result in results}) > 1,
    }


def _charts(run: Run, test: Sequence[SlideResult]) -> dict[str, str]:
    charts = dict.fromkeys(("curves", "distributions", "precision", "counted"), "")
    if run.history is not None and len(run.history):
        charts["curves"] = curves.learning_curves(
            run.history, run.model.get("training", {}).get("best_epoch")
        )
    if test:
        scores = scores_of(test)
        total = sum(scores[1:], scores[0]).instances
        mean = pd.DataFrame([score.instances.ap for score in scores]).mean().tolist()
        charts["distributions"] = figures.distributions(scores)
        charts["precision"] = figures.precision_over_iou(mean, total.ap)
        charts["counted"] = figures.counted_cells(scores)
    return charts


def _pictures(results: Sequence[SlideResult]) -> dict[str, Any]:
    test = ranked(scored(results, "test"))
    unlabelled = [r for r in results if r.facts and r.prediction and not r.labelled]
    shown = unlabelled[:UNLABELLED_SHOWN]
    budget = _budget(3 * len(test) + 2 * len(shown))
    cases = [draw_case(result, budget) for result in test]
    few = len(cases) <= 2 * EXTREMES
    return {
        "worst": cases if few else cases[:EXTREMES],
        "best": [] if few else cases[: -EXTREMES - 1 : -1],
        "rest": [] if few else sorted(cases[EXTREMES:-EXTREMES], key=_by_id),
        "few_cases": few,
        "unlabelled": unlabelled,
        "unlabelled_cases": [draw_case(result, budget) for result in shown],
        "colours": {"correct": CORRECT, "missed": MISSED, "false": FALSE},
    }


def _masks(results: Sequence[SlideResult]) -> dict[str, Any]:
    slides = masked(results)
    return {
        "masked": slides,
        "masks": [(result, draw_mask(result, MASK_BYTES)) for result in slides[:MASKS_SHOWN]],
    }


def _budget(n_pictures: int) -> int:
    return min(max(PICTURE_BYTES // max(n_pictures, 1), 10_000), 160_000)


def _by_id(case: Case) -> str:
    return case.result.slide


def _values(results: Sequence[SlideResult], column: str) -> set[str]:
    return {result.value_of(column) for result in results}


def _number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _interval(value: Sequence[float] | None) -> str:
    return NONE if value is None else f"{value[0]:.3f} {NONE} {value[1]:.3f}"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\N{THIN SPACE}")
