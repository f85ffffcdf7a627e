"""Reading a window of a slide that reaches over the border: mirrored there, or filled."""

import numpy as np

from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import mirrored


def read_mirrored(pixels: Pixels, read: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """Read a window that may reach over the borders of a slide, where the slide is mirrored.

    Parameters
    ----------
    pixels : array-like (..., y, x)
        Only the part inside the slide is read, once.
    read : ((y0, y1), (x0, x1))
        Half-open; may start below zero and end past the slide.

    Returns
    -------
    numpy.ndarray (..., y1 - y0, x1 - x0)
    """
    rows, columns = (
        mirrored(start, stop, length) for (start, stop), length in zip(read, pixels.shape[-2:], strict=True)
    )
    top, left = rows.min(), columns.min()
    block = np.asarray(pixels[..., top : rows.max() + 1, left : columns.max() + 1])
    for axis, indices in ((-2, rows - top), (-1, columns - left)):
        # Inside the slide there is nothing to mirror and nothing to copy.
        if len(indices) != block.shape[axis] or np.any(np.diff(indices) != 1):
            block = np.take(block, indices, axis)
    return block


def read_filled(pixels: Pixels, read: tuple[tuple[int, int], tuple[int, int]], fill: int) -> np.ndarray:
    """Read a window that may reach over the borders of a slide, where it is filled with one value.

    Parameters
    ----------
    pixels : array-like (..., y, x)
        Only the part inside the slide is read, once.
    read : ((y0, y1), (x0, x1))
        Half-open; may start below zero and end past the slide, some of which it must hold.
    fill : int

    Returns
    -------
    numpy.ndarray (..., y1 - y0, x1 - x0)
    """
    spans = [(start, stop, side) for (start, stop), side in zip(read, pixels.shape[-2:], strict=True)]
    inside = [slice(max(start, 0), min(stop, side)) for start, stop, side in spans]
    beyond = [(max(-start, 0), max(stop - side, 0)) for start, stop, side in spans]
    block = np.asarray(pixels[..., *inside])
    return np.pad(block, [(0, 0)] * (block.ndim - 2) + beyond, constant_values=fill)
