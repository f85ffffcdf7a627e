"""Pictures of the slides on the report page: which are drawn, in which size, and where they are kept."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from slideunet.figures.encoding import Keep, beside_page, in_page
from slideunet.report.masks import draw_mask, masked
from slideunet.report.results import SlideResult
from slideunet.report.side_by_side import Case, draw_case, ranked
from slideunet.report.tables import scored
from slideunet.slides.slide_image import image_is_there

EXTREMES = 3
UNLABELLED_SHOWN = 24
MASKS_SHOWN = 24
MASK_BYTES = 24_000
PICTURE_BYTES, THUMBNAIL_BYTES = 8_500_000, 12_000
"""Of all pictures of slides together, and of a thumbnail, before base64, which adds a third."""
WHOLE_UP_TO = 50
"""Slides with pictures up to which these are in the page; of more it has thumbnails."""
MOST_CASES = 800
"""Test slides that are drawn: the page of more would be slow to open."""


def draw_slides(
    results: Sequence[SlideResult], test: Sequence[SlideResult], folder: Path, link: str, threads: int
) -> dict[str, Any]:
    """Draw test slides, unlabelled slides and tissue masks; return what the templates know of them.

    Parameters
    ----------
    results, test : sequence of SlideResult
        All slides, and the scored test slides.
    folder : Path
        Gets the pictures if there are many.
    link : str
        This folder as the page names it.
    threads : int
    """
    unlabelled = [r for r in results if r.facts and r.prediction and not r.labelled]
    shown = [result for result in unlabelled if result.drawable][:UNLABELLED_SHOWN]
    slides = masked(results)
    with_image = [result for result in slides if image_is_there(result.facts or {})][:MASKS_SHOWN]
    order = ranked([result for result in test if result.drawable])
    drawn = order if len(order) <= MOST_CASES else [*order[: MOST_CASES - EXTREMES], *order[-EXTREMES:]]
    keep = _keep(len(drawn), len(shown), folder, link)
    cases, unlabelled_cases = (_draw(part, keep, threads) for part in (drawn, shown))
    few = len(cases) <= 2 * EXTREMES
    others = [result.slide for result in scored(results) if result.split != "test"]
    pictured = {case.result.slide for case in [*cases, *unlabelled_cases]}
    return {
        "worst": cases if few else cases[:EXTREMES],
        "best": [] if few else cases[: -EXTREMES - 1 : -1],
        "rest": [] if few else sorted(cases[EXTREMES:-EXTREMES], key=lambda case: case.result.slide),
        "few_cases": few,
        "cases_drawn": len(cases),
        "cases_left_out": len(order) - len(cases),
        "unlabelled": unlabelled,
        "unlabelled_cases": unlabelled_cases,
        "pictured": pictured,
        "placed": pictured.union(others, (result.slide for result in [*test, *unlabelled])),
        "thumbnails": any(panel.picture.link for case in cases for panel in case.panels),
        "masked": slides,
        "masks": [(result, draw_mask(result, in_page(MASK_BYTES))) for result in with_image],
        "undrawn": [result for result in results if result.prediction and not result.drawable],
    }


def _keep(n_cases: int, n_unlabelled: int, folder: Path, link: str) -> Keep:
    # A large slide has an overview, too.
    budget = PICTURE_BYTES // max(4 * n_cases + 3 * n_unlabelled, 1)
    if n_cases + n_unlabelled <= WHOLE_UP_TO:
        return in_page(budget)
    return beside_page(folder, link, min(budget, THUMBNAIL_BYTES))


def _draw(results: Sequence[SlideResult], keep: Keep, threads: int) -> list[Case]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(partial(draw_case, keep=keep), results))
