"""Errors of the test slides, cut out: image, true objects and cells, touching ones in different colours."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slideunet.geometry.pixels import Pixels
from slideunet.report import pictures
from slideunet.report.results import SlideResult
from slideunet.report.shown_region import Window, square_around
from slideunet.report.tables import metrics_table, scored
from slideunet.scoring.error_examples import Example, Kind
from slideunet.stores.verified import open_image_store, open_label_store
from slideunet.truth.ignore_label import cells_alone

SHOWN = 8
"""Of each kind."""
SIDES = (64, 128, 256)
"""Sides of a crop in working pixels: the smallest that shows the object with its neighbours."""
TILE = 256
GAP = 8
SEARCHED = 256
"""Pixels around the known one in which the extent of an object is looked for."""
CROP_BYTES = 24_000

ERRORS: tuple[tuple[Kind, str, str], ...] = (
    ("missed", "fn_50", "True objects without a cell of IoU 0.5 or more"),
    ("false", "fp_50", "Cells without a true object of IoU 0.5 or more"),
    ("split", "splits", "True objects in which two or more cells lie by more than half of their area"),
    ("merged", "merges", "Cells in which two or more true objects lie by more than half of their area"),
)
"""Kind of error, the column of metrics.csv that counts it, and what it is."""


@dataclass(frozen=True)
class Crop:
    """One error: what the caption says and the picture, three tiles side by side.

    Attributes
    ----------
    result : SlideResult
    y, x : int
        Centre of the object, of a large one of the part that is shown, in pixels of the original full
        resolution.
    side : int
        Of a tile, in working pixels.
    finding, alt, uri : str
        What is wrong in words; the text for those who cannot see it; the picture.
    """

    result: SlideResult
    y: int
    x: int
    side: int
    finding: str
    alt: str
    uri: str


@dataclass(frozen=True)
class Errors:
    """One kind of error in the test slides: how many there are, and some of them."""

    kind: Kind
    meaning: str
    count: int
    crops: Sequence[Crop]


def errors_of(results: Iterable[SlideResult]) -> list[Errors]:
    """Count and draw the errors of every kind in the scored test slides; empty without such a slide."""
    test = scored(results, "test")
    counts = metrics_table(test)
    return [
        Errors(kind, meaning, int(counts[column].sum()), draw_crops(test, kind))
        for kind, column, meaning in ERRORS
        if test
    ]


def draw_crops(results: Iterable[SlideResult], kind: Kind) -> list[Crop]:
    """Draw up to `SHOWN` errors of one kind, from as many slides as there are."""
    return [_draw(result, example) for result, example in choose(results, kind)]


def choose(
    results: Iterable[SlideResult], kind: Kind, shown: int = SHOWN
) -> Sequence[tuple[SlideResult, Example]]:
    """Take the first error of every slide before the second of any; each kind has its own order of slides."""
    found = []
    for result in results:
        own = [example for example in result.examples if example.kind == kind]
        order = hashlib.sha256(f"{kind} {result.slide}".encode()).hexdigest()
        found += [(place, order, result, example) for place, example in enumerate(own)]
    found.sort(key=lambda one: one[:2])
    return [(result, example) for _, _, result, example in found[:shown]]


def in_words(example: Example) -> str:
    """Say how far an object is from being found, or how many lie in it."""
    if example.kind == "split":
        return f"{example.pieces} cells in one true object"
    if example.kind == "merged":
        return f"{example.pieces} true objects in one cell"
    other = "cell" if example.kind == "missed" else "true object"
    return f"highest IoU {example.iou:.2f}" if example.iou else f"no {other} there"


def _draw(result: SlideResult, example: Example) -> Crop:
    """Read a window around one error and draw it."""
    facts = result.facts or {}
    shape = (facts["shape"][1], facts["shape"][2])
    truth = open_label_store(result.manifest, "truth")
    cells = open_label_store(result.prediction_manifest, "cells")
    of_truth = example.kind in ("missed", "split")
    box = _extent(truth if of_truth else cells, example, shape)
    window, side = square_around(box, SIDES, shape)
    image = pictures.picture(
        np.asarray(open_image_store(result.manifest)[(..., *window.slices)]), facts["statistics"]
    )
    planes = cells_alone(truth[window.slices]), cells[window.slices]
    strip = _strip(
        pictures.enlarge_picture(image, TILE // side),
        [pictures.enlarge_labels(plane, TILE // side) for plane in planes],
        [example.id if of_truth else 0, 0 if of_truth else example.id],
    )
    finding = in_words(example)
    alt = f"Slide {result.slide}, {example.kind}, {finding}: image, true objects, cells"
    y, x = (round(middle * facts.get("scale", 1.0)) for middle in box.middle)
    return Crop(result, y, x, side, finding, alt, pictures.data_uri(strip, CROP_BYTES))


def _extent(labels: Pixels, example: Example, shape: tuple[int, int]) -> Window:
    """Return the bounding box of an object, or the part around its known pixel if it is too large to show."""
    known = Window(example.y, example.x, example.y + 1, example.x + 1)
    searched = known.grown(SEARCHED, shape)
    rows, columns = np.nonzero(np.asarray(labels[searched.slices]) == example.id)
    # The middle of a large object, a ring or one in several places, may not belong to it.
    if max(np.ptp(rows), np.ptp(columns)) >= SIDES[-1]:
        return known.grown(SIDES[-1] // 4, shape)
    top, left = searched.top + int(rows.min()), searched.left + int(columns.min())
    return Window(top, left, top + int(np.ptp(rows)) + 1, left + int(np.ptp(columns)) + 1)


def _strip(image: NDArray[np.uint8], labels: Sequence[NDArray], subjects: Sequence[int]) -> NDArray[np.uint8]:
    """Put the image and its two label images side by side, the subject of the crop filled lightly."""
    tiles = [image]
    for plane, subject in zip(labels, subjects, strict=True):
        canvas = pictures.muted(image)
        colours = pictures.distinct_colours(plane)
        if subject:
            own = plane == subject
            canvas[own] = (0.65 * canvas[own] + 0.35 * np.array(colours[subject])).astype(np.uint8)
        pictures.draw_outlines(canvas, plane, colours)
        tiles.append(canvas)
    strip = np.full((TILE, 3 * TILE + 2 * GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        left = place * (TILE + GAP)
        strip[: tile.shape[0], left : left + tile.shape[1]] = tile
    return strip
