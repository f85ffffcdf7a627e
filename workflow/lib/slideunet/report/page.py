"""The report page, rendered from the facts of a run and the results of all slides, and summary.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from slideunet.provenance.run_provenance import RunProvenance, digest_of_data
from slideunet.report.gallery import errors_of
from slideunet.report.masks import draw_mask, masked, share_in_words
from slideunet.report.measures import MEASURES, common_pixel_size
from slideunet.report.page_environment import DASH, page_environment
from slideunet.report.pictures import CORRECT, FALSE, MISSED
from slideunet.report.results import SlideResult, warnings_of
from slideunet.report.side_by_side import draw_case, ranked
from slideunet.report.tables import breakdown, scored, scores_of, split_overview, spread, summarise
from slideunet.slides.slide_image import image_is_there

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test", "predict": "prediction only"}
EXTREMES = 3
UNLABELLED_SHOWN = 24
MASKS_SHOWN = 24
MASK_BYTES = 24_000
PICTURE_BYTES = 11_000_000
"""Of all pictures together before base64, which adds a third."""


@dataclass(frozen=True)
class RunRecord:
    """Facts of a run as a whole.

    Attributes
    ----------
    title, date, command : str
        As printed; `command` repeats the run.
    config, model : mapping
        Configuration with all defaults, and content of model.json.
    history : pandas.DataFrame or None
        Content of history.csv; None for a pretrained model.
    by : sequence of str
        Columns of the sheet by which results are broken down.
    sheet_sha256 : str or None
        Of the sample sheet.
    versions : mapping
        Of the software that scored and reported.
    seeds : pandas.DataFrame or None
        Metrics of the networks of several seeds and of their ensemble; see `tables.spread`.
    quarantined : mapping
        Problems of each slide in quarantine.
    provenance : RunProvenance or None
        Workflow, machine and costs; None is unknown.
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
    provenance: RunProvenance | None = None

    @property
    def learned(self) -> Sequence[str]:
        """Content (sha256) of all slides that the model was trained and validated on, if it lists them."""
        return self.model.get("training", {}).get("contents", ())


def summary_of(run: RunRecord, results: Sequence[SlideResult]) -> dict[str, Any]:
    """Return summary.json: the run, and a summary of each split."""
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
        "warnings": [f"slide {slide}: {text}" for slide, text in warnings_of(results, run.learned)],
        "quarantined": {slide: list(problems) for slide, problems in run.quarantined.items()},
        "sheet_sha256": run.sheet_sha256,
        "data_sha256": data_sha256(results),
        "versions": dict(run.versions),
        "provenance": run.provenance.as_dict() if run.provenance else None,
        "command": run.command,
        "config": dict(run.config),
    }


def data_sha256(results: Sequence[SlideResult]) -> str:
    """Return the digest of the pixels and labels of all slides that were converted."""
    return digest_of_data(
        (result.slide, result.content, result.facts.get("truth_content"))
        for result in results
        if result.facts
    )


def render_page(run: RunRecord, results: Sequence[SlideResult]) -> str:
    """Render the page; the template engine escapes all text from outside."""
    environment = page_environment("report")
    environment.filters["skipped"] = share_in_words
    environment.filters["split_name"] = lambda split: SPLIT_NAMES.get(split, split)
    environment.filters["signed"] = lambda value, digits: DASH if value is None else f"{value:+.{digits}f}"
    environment.filters["duration"] = duration_in_words
    environment.globals |= {
        "colours": {"correct": CORRECT, "missed": MISSED, "false": FALSE},
        "run": run,
        "training": run.model.get("training", {}),
        "config_yaml": yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True),
        "results": results,
        "errors": errors_of(results),
    }
    test = scored(results, "test")
    numbers = _numbers(run, results, test)
    return environment.get_template("page.html.j2").render(
        **numbers, charts=_charts(run, test, numbers["test"]), **_pictures(results, test)
    )


def duration_in_words(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _numbers(run: RunRecord, results: Sequence[SlideResult], test: Sequence[SlideResult]) -> dict[str, Any]:
    others = [result for result in scored(results) if result.split != "test"]
    columns = [
        column
        for column in dict.fromkeys(["stratum", *run.by])
        if len({result.value_of(column) for result in test}) > 1
    ]
    cells = [result.prediction["cells"] for result in results if result.prediction]
    return {
        "test": summarise(test),
        "measures": MEASURES,
        "pixel_size": common_pixel_size(test),
        "test_slides": ranked(test),
        "other_slides": others,
        "others": {
            split: summarise(scored(results, split)) for split in dict.fromkeys(r.split for r in others)
        },
        "overview": split_overview(results),
        "breakdowns": [(column, breakdown(test, column)) for column in ["group", *columns] if test],
        "by": [column for column in dict.fromkeys(run.by) if column not in ("group", "stratum")],
        "warnings": warnings_of(results, run.learned),
        "n_cells": sum(result.n_cells for result in results),
        "data_sha256": data_sha256(results),
        "spread": spread(run.seeds),
        "has_strata": len({result.stratum for result in results}) > 1,
        "methods": sorted({str(facts.get("method")) for facts in cells}),
        "least_probabilities": sorted({facts.get("min_probability", 0) for facts in cells}),
    }


def _charts(run: RunRecord, test: Sequence[SlideResult], summary: Mapping[str, Any]) -> dict[str, str]:
    history = pd.DataFrame() if run.history is None else run.history
    charts = {"curves": ""}
    # Matplotlib takes longer to load than such a page without a chart takes to be written.
    if len(history):
        from slideunet.figures.curves import learning_curves

        charts["curves"] = learning_curves(history, run.model.get("training", {}).get("best_epoch"))
    if scores := scores_of(test):
        from slideunet.report import figures

        charts["distributions"] = figures.distributions(scores)
        charts["precision"] = figures.precision_over_iou(summary["ap_curve"])
        charts["counted"] = figures.counted_cells(scores)
        charts["differences"] = figures.count_differences(scores, summary["count_agreement"])
        size = common_pixel_size(test)
        charts["distances"] = figures.distances_of_outlines(summary["boundary_curve"], size)
        charts["reliability"] = figures.reliability_diagram(summary["calibration"])
        charts["sizes"] = figures.recall_by_size(summary["size_classes"], size)
    return charts


def _pictures(results: Sequence[SlideResult], test: Sequence[SlideResult]) -> dict[str, Any]:
    unlabelled = [r for r in results if r.facts and r.prediction and not r.labelled]
    shown = [result for result in unlabelled if result.drawable][:UNLABELLED_SHOWN]
    test = [result for result in test if result.drawable]
    slides = masked(results)
    with_image = [result for result in slides if image_is_there(result.facts or {})]
    budget = min(max(PICTURE_BYTES // max(3 * len(test) + 2 * len(shown), 1), 10_000), 160_000)
    cases = [draw_case(result, budget) for result in ranked(test)]
    few = len(cases) <= 2 * EXTREMES
    return {
        "worst": cases if few else cases[:EXTREMES],
        "best": [] if few else cases[: -EXTREMES - 1 : -1],
        "rest": [] if few else sorted(cases[EXTREMES:-EXTREMES], key=lambda case: case.result.slide),
        "few_cases": few,
        "unlabelled": unlabelled,
        "unlabelled_cases": [draw_case(result, budget) for result in shown],
        "masked": slides,
        "masks": [(result, draw_mask(result, MASK_BYTES)) for result in with_image[:MASKS_SHOWN]],
        "undrawn": [result for result in results if result.prediction and not result.drawable],
    }
