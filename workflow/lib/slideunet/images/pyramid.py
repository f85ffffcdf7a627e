"""Pyramid levels: each halves the one before, block by block, in memory that does not grow with the slide."""

from collections.abc import Iterator

import numpy as np

from slideunet.images.pixels import Pixels, WritablePixels

SMALLEST_LEVEL = 256
_BLOCK = 2048

Region = tuple[slice, slice]


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


def halve_image(source: Pixels, target: WritablePixels) -> None:
    """Fill `target` with the mean of 2 x 2 pixels of `source`; an odd last row or column is repeated.

    Parameters
    ----------
    source, target : array-like (c, y, x)
        Integers are rounded half up; `target` has half the size, rounded up.
    """
    for rows, columns in regions(target.shape[-2:], _BLOCK):
        block = np.asarray(source[..., _double(rows), _double(columns)])
        odd = [(0, 0)] * (block.ndim - 2) + [(0, side % 2) for side in block.shape[-2:]]
        block = np.pad(block, odd, mode="edge")
        target[..., rows, columns] = _mean_of_four(block)


def halve_labels(source: Pixels, target: WritablePixels) -> None:
    """Fill `target` (y, x) with every second pixel of `source`: ids are never mixed."""
    for rows, columns in regions(target.shape, _BLOCK):
        target[rows, columns] = np.asarray(source[_double(rows), _double(columns)])[::2, ::2]


def regions(shape: tuple[int, ...], block: int) -> Iterator[Region]:
    """Cut a plane (y, x) into blocks in raster order, the last ones smaller."""
    height, width = shape
    for top in range(0, height, block):
        for left in range(0, width, block):
            yield slice(top, min(top + block, height)), slice(left, min(left + block, width))


def _double(part: slice) -> slice:
    return slice(2 * part.start, 2 * part.stop)


def _mean_of_four(block: np.ndarray) -> np.ndarray:
    *planes, height, width = block.shape
    four = block.reshape(*planes, height // 2, 2, width // 2, 2)
    if np.issubdtype(block.dtype, np.integer):
        return ((four.sum(axis=(-3, -1), dtype=np.uint64) + 2) // 4).astype(block.dtype)
    return four.mean(axis=(-3, -1), dtype=np.float64).astype(block.dtype)
