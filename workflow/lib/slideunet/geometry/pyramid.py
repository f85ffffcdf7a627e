"""Pyramid levels: each halves the one before, by the mean for images and by nearest neighbour for labels."""

from collections.abc import Callable

import numpy as np

from slideunet.geometry.blocks import BlockGrid, cuts
from slideunet.geometry.pixels import Pixels, WritablePixels

SMALLEST_LEVEL = 256

Halve = Callable[[np.ndarray], np.ndarray]


def level_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of all levels of a pyramid, full resolution first.

    Parameters
    ----------
    shape : tuple of int
        (..., y, x) of level 0.

    Returns
    -------
    list of tuple of int
        Halved (rounded up) until the longer side is at most 256 px.
    """
    shapes = [tuple(shape)]
    while max(shapes[-1][-2:]) > SMALLEST_LEVEL:
        *rest, height, width = shapes[-1]
        shapes.append((*rest, -(-height // 2), -(-width // 2)))
    return shapes


def halved_image(pixels: np.ndarray) -> np.ndarray:
    """Return the mean of 2 x 2 pixels of an image (c, y, x); an odd last row or column is repeated.

    Integers are rounded half up; floats are summed in float64.
    """
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, side % 2) for side in pixels.shape[-2:]]
    whole = np.pad(pixels, odd, mode="edge") if any(after for _, after in odd) else pixels
    *planes, height, width = whole.shape
    halved = np.empty((*planes, height // 2, width // 2), pixels.dtype)
    average = _mean_of_floats if pixels.dtype.kind == "f" else _mean_of_integers
    for part in cuts(slice(0, height), _ROWS):
        halved[..., part.start // 2 : part.stop // 2, :] = average(np.ascontiguousarray(whole[..., part, :]))
    return halved


_ROWS = 64
"""Rows that are halved at once: their sums stay in the cache."""
_PAIR: dict[int, type[np.unsignedinteger]] = {1: np.uint16, 2: np.uint32, 4: np.uint64}
"""Two neighbours as one number, by the bytes of one; it also holds the sum of four."""


def _mean_of_integers(rows: np.ndarray) -> np.ndarray:
    pair, bits = _PAIR[rows.itemsize], 8 * rows.itemsize
    one = pair(2**bits - 1)
    first, second = (rows[..., row::2, :].view(pair) for row in (0, 1))
    # Whole pairs are read, one after the other: half the time of every second pixel.
    total = first & one
    total += first >> bits
    total += second & one
    total += second >> bits
    total += 2
    total >>= 2
    return total


def _mean_of_floats(rows: np.ndarray) -> np.ndarray:
    four = [rows[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return (np.add(four[0], four[1], dtype=np.float64) + four[2] + four[3]) / 4


def halved_labels(labels: np.ndarray) -> np.ndarray:
    """Return every second pixel of labels (y, x): ids are never mixed."""
    return labels[::2, ::2]


def halve(source: Pixels, target: WritablePixels, halved: Halve, side: int = 2048) -> None:
    """Fill a level from the one above it, in memory that does not grow with the slide: squares of `side`."""
    for region in BlockGrid(target.shape, side):
        double = (slice(2 * part.start, 2 * part.stop) for part in region)
        target[..., *region] = halved(np.asarray(source[..., *double]))
