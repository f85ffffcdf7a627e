"""Crops of errors on test slides: image, true objects and cells, adjacent ones in different colours."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slideunet.figures.encoding import in_page
from slideunet.geometry.blocks import Region, grown
from slideunet.geometry.pixels import Pixels
from slideunet.report import pictures
from slideunet.report.results import SlideResult
from slideunet.report.shown_region import middle, square_around
from slideunet.report.side_by_side import Panel
from slideunet.report.tables import metrics_table, scored
from slideunet.scoring.error_examples import ErrorKind, Example, in_words
from slideunet.slides.slide_image import open_slide_image
from slideunet.stores.verified import open_label_store
from slideunet.truth.ignore_label import cells_alone

SHOWN = 8
"""Crops of each kind."""
SIDES = (64, 128, 256)
"""Possible sides of a crop in working pixels: the smallest with the object and its neighbours is used."""
TILE = 256
GAP = 8
SEARCHED = 256
"""Pixels around an example's position that are searched for the extent of its object."""
CROP_BYTES = 24_000

ERRORS: tuple[tuple[ErrorKind, str, str], ...] = (
    ("missed", "fn_50", "True objects without a cell of IoU 0.5 or more"),
    ("false", "fp_50", "Cells without a true object of IoU 0.5 or more"),
    ("split", "splits", "True objects that contain more than half of each of two or more cells"),
    ("merged", "merges", "Cells that contain more than half of each of two or more true objects"),
)
"""Each kind of error, the column of metrics.csv with its number, and its definition."""


@dataclass(frozen=True)
class Errors:
    """All errors of one kind on the test slides: their number, and some of them as crops."""

    kind: ErrorKind
    meaning: str
    count: int
    crops: Sequence[tuple[SlideResult, Panel]]


def errors_of(results: Iterable[SlideResult]) -> list[Errors]:
    """Count and draw the errors of every kind on the scored test slides; empty without such slides."""
    test = scored(results, "test")
    counts = metrics_table(test)
    return [
        Errors(kind, meaning, int(counts[column].sum()), draw_crops(test, kind))
        for kind, column, meaning in ERRORS
        if test
    ]


def draw_crops(results: Iterable[SlideResult], kind: ErrorKind) -> list[tuple[SlideResult, Panel]]:
    """Draw up to `SHOWN` errors of one kind, from as many slides as possible.

    Captions have the centre of the object, or of the shown part of a large object, in full-resolution pixels
    of the original, and the side of a tile in working pixels.
    """
    drawable = [result for result in results if result.drawable]
    return [(result, _draw(result, example)) for result, example in choose(drawable, kind)]


def choose(
    results: Iterable[SlideResult], kind: ErrorKind, shown: int = SHOWN
) -> Sequence[tuple[SlideResult, Example]]:
    """Choose the first error of every slide before the second of any, in an order of slides for each kind."""
    candidates = []
    for result in results:
        order = hashlib.sha256(f"{kind} {result.slide}".encode()).hexdigest()
        examples = [example for example in result.examples if example.kind == kind]
        candidates += [(rank, order, result, example) for rank, example in enumerate(examples)]
    candidates.sort(key=lambda candidate: candidate[:2])
    return [(result, example) for _, _, result, example in candidates[:shown]]


def _draw(result: SlideResult, example: Example) -> Panel:
    """Read the region around one error and draw three tiles side by side."""
    facts = result.facts or {}
    shape = (facts["shape"][1], facts["shape"][2])
    truth = open_label_store(result.manifest, "truth")
    cells = open_label_store(result.prediction_manifest, "cells")
    is_true = example.kind in ("missed", "split")
    box = _extent(truth if is_true else cells, example, shape)
    region, side = square_around(box, SIDES, shape)
    pixels = np.asarray(open_slide_image(result.manifest)[(..., *region)])
    strip = _strip(
        pictures.enlarge_picture(pictures.stretched(pixels, facts["statistics"]), TILE // side),
        [
            pictures.enlarge_labels(plane, TILE // side)
            for plane in (cells_alone(truth[region]), cells[region])
        ],
        [example.id if is_true else 0, 0 if is_true else example.id],
    )
    finding = in_words(example)
    alt = f"Slide {result.slide}, {example.kind}, {finding}: image, true objects, cells"
    y, x = (round(place * facts.get("scale", 1.0)) for place in middle(box))
    caption = f"y {y}, x {x} · {finding} · tile of {side} px"
    return Panel(caption, alt, in_page(CROP_BYTES)(strip, result.slide))


def _extent(labels: Pixels, example: Example, shape: tuple[int, int]) -> Region:
    """Return the bounding box of an object, or a region around its known pixel if it is too large to show."""
    pixel = slice(example.y, example.y + 1), slice(example.x, example.x + 1)
    searched = grown(pixel, shape, SEARCHED)
    found = np.nonzero(np.asarray(labels[searched]) == example.id)
    # The middle of a large object, e.g. of a ring, may not belong to it.
    if max(np.ptp(places) for places in found) >= SIDES[-1]:
        return grown(pixel, shape, SIDES[-1] // 4)
    rows, columns = (
        slice(part.start + int(places.min()), part.start + int(places.max()) + 1)
        for part, places in zip(searched, found, strict=True)
    )
    return rows, columns


def _strip(image: NDArray[np.uint8], labels: Sequence[NDArray], subjects: Sequence[int]) -> NDArray[np.uint8]:
    """Put the image and its two label images side by side, the subject of the crop lightly filled."""
    tiles = [image]
    for plane, subject in zip(labels, subjects, strict=True):
        canvas = pictures.muted(image)
        colours = pictures.distinct_colours(plane)
        if subject:
            inside = plane == subject
            canvas[inside] = (0.65 * canvas[inside] + 0.35 * np.array(colours[subject])).astype(np.uint8)
        pictures.draw_outlines(canvas, plane, colours)
        tiles.append(canvas)
    strip = np.full((TILE, 3 * TILE + 2 * GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (TILE + GAP)
        strip[: tile.shape[0], left : left + tile.shape[1]] = tile
    return strip
