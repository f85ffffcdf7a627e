"""Pictures of one slide side by side: original, ground truth, prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from slideunet.figures.encoding import Keep, Picture
from slideunet.geometry.blocks import Region, grown
from slideunet.report import pictures
from slideunet.report.pictures import CORRECT, FALSE, MISSED, Colour
from slideunet.report.results import SlideResult
from slideunet.report.shown_region import coarse_level, densest_region
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.slides.slide_image import open_slide_image
from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid

LEAST_SIDE = 512
"""Smaller images are enlarged by an integer factor, so that outlines look thin."""
MARGIN = 128
"""Pixels that are read around the shown region, so that cells at its edge are matched as a whole."""


@dataclass(frozen=True)
class Panel:
    """A picture with its caption and alternative text."""

    caption: str
    alt: str
    picture: Picture


@dataclass(frozen=True)
class Case:
    """The panels of one slide, and the region that they show, if not all of it."""

    result: SlideResult
    panels: tuple[Panel, ...]
    region: str


def draw_case(result: SlideResult, keep: Keep) -> Case:
    """Draw a predicted slide; `keep` encodes each picture, whose name is that of the slide and of the panel.

    A labelled slide shows the region with the most wrong pixels, with outlines coloured by match at IoU 0.5;
    an unlabelled slide the region with the most cells. Large slides also get an overview.
    """
    shape = _shape(result)
    region = densest_region(_interest(result, shape), 1 << coarse_level(shape), shape)
    original, factor = _original(result, region)
    drawn = {"Original": (original, "original")}
    if result.labelled:
        drawn |= _compare(result, region, shape, original, factor)
    else:
        labels = np.asarray(open_label_store(result.prediction_manifest, "cells")[region])
        canvas = pictures.muted(original)
        colours = {int(cell): CORRECT for cell in np.unique(labels) if cell}
        pictures.draw_outlines(canvas, pictures.enlarge_labels(labels, factor), colours)
        drawn["Prediction"] = canvas, "outlines of the predicted cells"
    part = _in_words(region, shape)
    if part:
        drawn["Whole slide"] = _overview(result, region, shape), "overview with the shown part framed"
    return Case(result, _panels(result, drawn, keep), part)


def draw_several(results: Mapping[str, SlideResult], keep: Keep) -> Case:
    """Draw one labelled slide as several runs predicted it; `keep` encodes each picture.

    `results` has the slide of each run by the caption of its picture; pixels and ground truth are the same in
    all. Of a large slide the region is shown where most pixels are wrong in one run and right in another.
    """
    first = next(iter(results.values()))
    shape = _shape(first)
    interests = np.stack([_interest(result, shape) for result in results.values()])
    # Equal predictions differ nowhere: then the region with the most errors is shown.
    interest = np.ptp(interests, axis=0) + 1e-3 * interests[0]
    region = densest_region(interest, 1 << coarse_level(shape), shape)
    original, factor = _original(first, region)
    truth = pictures.enlarge_labels(np.asarray(open_label_store(first.manifest, "truth")[region]), factor)
    canvas = pictures.muted(original)
    canvas[truth == IGNORE_LABEL] //= 2
    colours = {int(number): CORRECT for number in np.unique(truth) if number not in (0, IGNORE_LABEL)}
    pictures.draw_outlines(canvas, truth, colours)
    drawn = {"Original": (original, "original"), "Truth": (canvas, "outlines of the true cells")}
    for caption, result in results.items():
        picture, alt = _compare(result, region, shape, original, factor)["Prediction"]
        drawn[caption] = picture, f"{caption}: {alt}"
    return Case(first, _panels(first, drawn, keep), _in_words(region, shape))


def _shape(result: SlideResult) -> tuple[int, int]:
    _, height, width = (result.facts or {})["shape"]
    return height, width


def _original(result: SlideResult, region: Region) -> tuple[NDArray[np.uint8], int]:
    """Return the image of a region with its contrast stretched, and the factor by which it is enlarged."""
    pixels = np.asarray(open_slide_image(result.manifest)[:, *region])
    original = pictures.stretched(pixels, (result.facts or {})["statistics"])
    factor = max(1, -(-LEAST_SIDE // max(original.shape[:2])))
    return pictures.enlarge_picture(original, factor), factor


def _panels(result: SlideResult, drawn: Mapping[str, tuple[NDArray, str]], keep: Keep) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            caption,
            f"Slide {result.slide}, {alt}",
            keep(picture, f"{result.slide}.{caption.lower().replace(' ', '-')}"),
        )
        for caption, (picture, alt) in drawn.items()
    )


def _in_words(region: Region, shape: tuple[int, int]) -> str:
    """Return rows and columns of a region; empty if it is the whole slide."""
    rows, columns = region
    if (rows.stop - rows.start, columns.stop - columns.start) == shape:
        return ""
    return f"rows {rows.start}-{rows.stop}, columns {columns.start}-{columns.stop}"


def _interest(result: SlideResult, shape: tuple[int, int]) -> NDArray:
    level = coarse_level(shape)
    cells = np.asarray(open_label_store(result.prediction_manifest, "cells", level)[...]) > 0
    if not result.labelled:
        return cells
    truth, valid = foreground_and_valid(np.asarray(open_label_store(result.manifest, "truth", level)[...]))
    # A small weight for all true cells: without errors, the region with the most cells is shown.
    return ((truth != cells) & valid) + 0.01 * truth


def _compare(
    result: SlideResult, region: Region, shape: tuple[int, int], original: NDArray, factor: int
) -> dict[str, tuple[NDArray, str]]:
    """Draw truth and prediction; return each picture with its alternative text."""
    outer = grown(region, shape, MARGIN)
    inner = tuple(slice(r.start - o.start, r.stop - o.start) for r, o in zip(region, outer, strict=True))
    truth = np.asarray(open_label_store(result.manifest, "truth")[outer])
    cells = np.asarray(open_label_store(result.prediction_manifest, "cells")[outer])
    true_colours, cell_colours = colours_by_match(truth, cells)
    truth, cells = (pictures.enlarge_labels(labels[inner], factor) for labels in (truth, cells))
    true_canvas, cell_canvas = pictures.muted(original), pictures.muted(original)
    for canvas in (true_canvas, cell_canvas):
        canvas[truth == IGNORE_LABEL] //= 2
    pictures.draw_by_match(true_canvas, truth, true_colours)
    missed = {number: colour for number, colour in true_colours.items() if colour == MISSED}
    pictures.draw_by_match(cell_canvas, truth, missed)
    pictures.draw_by_match(cell_canvas, cells, cell_colours)
    n_false = sum(colour == FALSE for colour in cell_colours.values())
    return {
        "Truth": (true_canvas, f"outlines of the true cells; {len(missed)} of {len(true_colours)} missed"),
        "Prediction": (
            cell_canvas,
            f"outlines of the predicted cells; {n_false} of {len(cell_colours)} false",
        ),
    }


def colours_by_match(truth: NDArray, cells: NDArray) -> tuple[dict[int, Colour], dict[int, Colour]]:
    """Colour objects as correct or missed, and cells as correct or false, by match at IoU 0.5."""
    rows = match_arrays(count_overlaps(truth, cells))
    matched = rows[rows["matched"]]
    true_colours = {int(number): MISSED for number in rows["truth"] if number}
    cell_colours = {int(number): FALSE for number in rows["cell"] if number}
    true_colours |= {int(number): CORRECT for number in matched["truth"]}
    cell_colours |= {int(number): CORRECT for number in matched["cell"]}
    return true_colours, cell_colours


def _overview(result: SlideResult, region: Region, shape: tuple[int, int]) -> NDArray:
    """Draw a whole slide with a frame around the shown region."""
    level = coarse_level(shape)
    pixels = np.asarray(open_slide_image(result.manifest, level)[...])
    canvas = pictures.stretched(pixels, (result.facts or {})["statistics"])
    frame = np.zeros(canvas.shape[:2], dtype=np.uint8)
    frame[tuple(slice(part.start >> level, part.stop >> level) for part in region)] = 1
    for _ in range(3):
        pictures.draw_outlines(canvas, frame, {1: FALSE})
        frame = binary_erosion(frame, iterations=2).astype(np.uint8)
    return canvas


def ranked(results: Sequence[SlideResult]) -> list[SlideResult]:
    """Sort scored slides from the worst to the best Dice, ties by AP@0.5, then by id."""

    def key(result: SlideResult) -> tuple[float, float, str]:
        values = result.score.values() if result.score else {"dice": 0.0, "ap50": 0.0}
        return values["dice"], values["ap50"], result.slide

    return sorted(results, key=key)
