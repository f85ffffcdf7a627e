"""Pictures from pixels: contrast, outlines and colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
# Okabe & Ito: distinguishable with all common colour vision deficiencies, here on a muted grey image. The
# lines differ as well (`draw_by_match`), for a printer without colours.
CORRECT: Colour = (86, 180, 233)
MISSED: Colour = (240, 228, 66)
FALSE: Colour = (230, 97, 0)
DISTINCT: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (240, 228, 66),
    (0, 190, 130),
    (230, 97, 0),
    (224, 140, 190),
)

NEAR = 6
"""Objects within this many pixels of each other get different colours."""
DASH, STRIPE = 14, 7
"""Pixels from the start of a dash, or of a stripe, to that of the next."""


def stretched(pixels: NDArray, statistics: Sequence[Mapping[str, Any]]) -> NDArray[np.uint8]:
    """Stretch the slide's 1st to 99.8th percentile over the full contrast of a picture.

    Parameters
    ----------
    pixels : numpy.ndarray, (c, y, x)
    statistics : sequence of mapping
        Percentiles "low" and "high" of each channel of the whole slide.

    Returns
    -------
    numpy.ndarray of uint8, (y, x, 3)
        Three channels are red, green and blue with a common stretch, which keeps the hue; any other number is
        shown as the grey mean of the stretched channels.
    """
    low = np.array([float(channel["low"]) for channel in statistics])[:, None, None]
    high = np.array([float(channel["high"]) for channel in statistics])[:, None, None]
    if len(pixels) == 3:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    values = (pixels.astype(np.float32) - low) / np.maximum(high - low, 1e-6)
    if len(pixels) != 3:
        values = np.repeat(values.mean(axis=0, keepdims=True), 3, axis=0)
    return (values.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def muted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture in medium greys, on which coloured outlines stand out for any stain."""
    grey = rgb.mean(axis=2, keepdims=True)
    return np.repeat((18 + 0.5 * grey).astype(np.uint8), 3, axis=2)


def draw_outlines(canvas: NDArray[np.uint8], labels: NDArray, colour_of: Mapping[int, Colour]) -> None:
    """Draw outlines, two pixels wide and inside the objects, for all ids in `colour_of`.

    Parameters
    ----------
    canvas : numpy.ndarray of uint8, (y, x, 3)
        Changed in place.
    labels : numpy.ndarray of integers, (y, x)
        0 = background.
    """
    outer = _inner_edge(labels)
    edge = outer | _inner_edge(np.where(outer, 0, labels))
    ids, index = np.unique(labels[edge], return_inverse=True)
    has_colour = np.array([int(number) in colour_of for number in ids], dtype=bool)[index]
    colours = np.array([colour_of.get(int(number), (0, 0, 0)) for number in ids], np.uint8).reshape(-1, 3)
    rows, columns = (places[has_colour] for places in np.nonzero(edge))
    canvas[rows, columns] = colours[index[has_colour]]


def _inner_edge(labels: NDArray) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of objects beside another label: `find_boundaries(labels, mode="inner")`.

    That of scikit-image takes 15 times as long, because it compares dilation and erosion.
    """
    edge = np.zeros(labels.shape, np.bool_)
    for plane, found in ((labels, edge), (labels.T, edge.T)):
        differ = plane[1:] != plane[:-1]
        found[1:] |= differ
        found[:-1] |= differ
    return edge & (labels > 0)


def draw_by_match(canvas: NDArray[np.uint8], labels: NDArray, colour_of: Mapping[int, Colour]) -> None:
    """Draw outlines as `draw_outlines`: plain if correct, dashed if missed, with stripes if false."""
    before = canvas.copy()
    draw_outlines(canvas, labels, colour_of)
    gaps = _gaps(labels, [number for number, colour in colour_of.items() if colour == MISSED])
    canvas[gaps] = before[gaps]
    striped = np.isin(labels, [number for number, colour in colour_of.items() if colour == FALSE])
    rows, columns = np.nonzero(striped)
    chosen = (rows + columns) % STRIPE < 2
    canvas[rows[chosen], columns[chosen]] = FALSE


def _gaps(labels: NDArray, numbers: Sequence[int]) -> NDArray[np.bool_]:
    """Return the sectors (y, x) of objects in which their outline has a gap, seen from their middle."""
    gaps = np.zeros(labels.shape, np.bool_)
    rows, columns = np.nonzero(np.isin(labels, numbers))
    if len(rows):
        _, index, area = np.unique(labels[rows, columns], return_inverse=True, return_counts=True)
        y, x = (place - (np.bincount(index, place) / area)[index] for place in (rows, columns))
        dashes = np.maximum(np.rint(2 * np.sqrt(np.pi * area) / DASH), 3)[index]
        gaps[rows, columns] = (np.arctan2(y, x) / (2 * np.pi) * dashes) % 1 < 0.4
    return gaps


def distinct_colours(labels: NDArray) -> dict[int, Colour]:
    """Colour the objects of a label image (y, x) so that neighbours differ.

    Greedy colouring in the order of ids: the least used colour that no neighbour has, or, if the neighbours
    have all colours, the least used of all.
    """
    near = _neighbours(labels)
    chosen: dict[int, int] = {}
    used = [0] * len(DISTINCT)
    for number in (int(number) for number in np.unique(labels) if number):
        taken = {chosen[neighbour] for neighbour in near.get(number, ()) if neighbour in chosen}
        free = [colour for colour in range(len(DISTINCT)) if colour not in taken] or range(len(DISTINCT))
        chosen[number] = min(free, key=used.__getitem__)
        used[chosen[number]] += 1
    return {number: DISTINCT[colour] for number, colour in chosen.items()}


def _neighbours(labels: NDArray) -> dict[int, set[int]]:
    """Return the objects within `NEAR` pixels of each object along rows or columns."""
    near: dict[int, set[int]] = {}
    for plane in (labels, labels.T):
        for step in range(1, min(NEAR + 1, len(plane))):
            first, second = plane[:-step], plane[step:]
            differ = (first != second) & (first > 0) & (second > 0)
            for a, b in np.unique(np.stack([first[differ], second[differ]], axis=1), axis=0).tolist():
                near.setdefault(a, set()).add(b)
                near.setdefault(b, set()).add(a)
    return near


def enlarge_labels(labels: NDArray, factor: int) -> NDArray:
    """Enlarge a label image (y, x) by an integer factor, by nearest neighbour."""
    return labels.repeat(factor, axis=0).repeat(factor, axis=1)


def enlarge_picture(rgb: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Enlarge a picture (y, x, 3) by an integer factor, by bicubic interpolation."""
    if factor == 1:
        return rgb
    size = (rgb.shape[1] * factor, rgb.shape[0] * factor)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
