"""One slide as pictures side by side: original, truth, prediction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from slideunet.report import pictures
from slideunet.report.pictures import CORRECT, FALSE, MISSED, Colour
from slideunet.report.results import SlideResult
from slideunet.report.shown_region import Window, coarse_level, densest_window
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.stores.verified import open_image_store, open_label_store
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid

MARGIN = 128
"""Pixels around the shown window that are read too, so that cells cut by its edge are judged whole."""


@dataclass(frozen=True)
class Panel:
    """A picture with its caption and the text for those who cannot see it."""

    caption: str
    alt: str
    uri: str


@dataclass(frozen=True)
class Case:
    """The panels of one slide and where in it they are."""

    result: SlideResult
    panels: tuple[Panel, ...]
    place: str


def draw_case(result: SlideResult, budget: int) -> Case:
    """Draw a predicted slide, each picture of at most `budget` bytes.

    A labelled slide shows the window with the most wrong pixels, outlines coloured by match at IoU 0.5;
    an unlabelled one the window with the most cells. A large slide gets an overview besides.
    """
    facts = result.facts or {}
    shape = (facts["shape"][1], facts["shape"][2])
    window = densest_window(_interest(result, shape), 1 << coarse_level(shape), shape)
    original = pictures.picture(
        np.asarray(open_image_store(result.manifest)[:, *window.slices]), facts["statistics"]
    )
    factor = pictures.magnification(original.shape[:2])
    original = pictures.enlarge_picture(original, factor)
    panels = [_panel("Original", f"Slide {result.slide}, original", original, budget)]
    if result.labelled:
        panels += _compare(result, window, shape, original, factor, budget)
    else:
        panels.append(_cells_only(result, window, original, factor, budget))
    whole = (window.bottom - window.top, window.right - window.left) == shape
    if not whole:
        panels.append(_overview(result, window, shape, budget))
    place = "" if whole else f"rows {window.top}-{window.bottom}, columns {window.left}-{window.right}"
    return Case(result, tuple(panels), place)


def _interest(result: SlideResult, shape: tuple[int, int]) -> NDArray:
    level = coarse_level(shape)
    cells = np.asarray(open_label_store(result.prediction_manifest, "cells", level)[...]) > 0
    if not result.labelled:
        return cells
    truth, valid = foreground_and_valid(np.asarray(open_label_store(result.manifest, "truth", level)[...]))
    # A little weight for the truth itself: without errors, show where the cells are.
    return ((truth != cells) & valid) + 0.01 * truth


def _compare(
    result: SlideResult, window: Window, shape: tuple[int, int], original: NDArray, factor: int, budget: int
) -> list[Panel]:
    outer = window.grown(MARGIN, shape)
    inner = window.inside(outer).slices
    truth = np.asarray(open_label_store(result.manifest, "truth")[outer.slices])
    cells = np.asarray(open_label_store(result.prediction_manifest, "cells")[outer.slices])
    true_colours, cell_colours = colours_by_match(truth, cells)
    truth, cells = (pictures.enlarge_labels(labels[inner], factor) for labels in (truth, cells))
    true_canvas, cell_canvas = pictures.muted(original), pictures.muted(original)
    for canvas in (true_canvas, cell_canvas):
        canvas[truth == IGNORE_LABEL] //= 2
    pictures.draw_outlines(true_canvas, truth, true_colours)
    missed = {number: colour for number, colour in true_colours.items() if colour == MISSED}
    pictures.draw_outlines(cell_canvas, truth, missed)
    pictures.draw_outlines(cell_canvas, cells, cell_colours)
    n_missed, n_false = len(missed), sum(colour == FALSE for colour in cell_colours.values())
    alt = f"Slide {result.slide}, outlines of the true cells; {n_missed} of {len(true_colours)} missed"
    alt_cells = (
        f"Slide {result.slide}, outlines of the predicted cells; {n_false} of {len(cell_colours)} false"
    )
    return [_panel("Truth", alt, true_canvas, budget), _panel("Prediction", alt_cells, cell_canvas, budget)]


def colours_by_match(truth: NDArray, cells: NDArray) -> tuple[dict[int, Colour], dict[int, Colour]]:
    """Colour true objects as correct or missed, predicted cells as correct or false, by match at IoU 0.5."""
    rows = match_arrays(count_overlaps(truth, cells))
    found = rows[rows["matched"]]
    true_colours = {int(number): MISSED for number in rows["truth"] if number}
    cell_colours = {int(number): FALSE for number in rows["cell"] if number}
    true_colours |= {int(number): CORRECT for number in found["truth"]}
    cell_colours |= {int(number): CORRECT for number in found["cell"]}
    return true_colours, cell_colours


def _cells_only(result: SlideResult, window: Window, original: NDArray, factor: int, budget: int) -> Panel:
    labels = np.asarray(open_label_store(result.prediction_manifest, "cells")[window.slices])
    colours = {int(number): CORRECT for number in np.unique(labels) if number}
    canvas = pictures.muted(original)
    pictures.draw_outlines(canvas, pictures.enlarge_labels(labels, factor), colours)
    return _panel("Prediction", f"Slide {result.slide}, outlines of the predicted cells", canvas, budget)


def _overview(result: SlideResult, window: Window, shape: tuple[int, int], budget: int) -> Panel:
    facts = result.facts or {}
    level = coarse_level(shape)
    canvas = pictures.picture(np.asarray(open_image_store(result.manifest, level)[...]), facts["statistics"])
    top, left, bottom, right = (
        side >> level for side in (window.top, window.left, window.bottom, window.right)
    )
    frame = np.zeros(canvas.shape[:2], dtype=np.uint8)
    frame[top:bottom, left:right] = 1
    for _ in range(3):
        pictures.draw_outlines(canvas, frame, {1: FALSE})
        frame = binary_erosion(frame, iterations=2).astype(np.uint8)
    return _panel("Whole slide", f"Slide {result.slide}, overview with the shown part framed", canvas, budget)


def _panel(caption: str, alt: str, rgb: NDArray, budget: int) -> Panel:
    return Panel(caption, alt, pictures.data_uri(rgb, budget))


def ranked(results: Sequence[SlideResult]) -> list[SlideResult]:
    """Order scored slides from the worst to the best Dice, ties by AP@0.5, then by id."""

    def key(result: SlideResult) -> tuple[float, float, str]:
        values = result.score.values() if result.score else {"dice": 0.0, "ap50": 0.0}
        return values["dice"], values["ap50"], result.slide

    return sorted(results, key=key)
