"""Shrinking by area: every new pixel is the mean of the area that it covers, border pixels counted in part.

The mean over an area keeps the total intensity, cannot overshoot, suppresses what is finer than the new
grid, and for a factor of 2 is the mean of 2 x 2 pixels, of which the pyramids of this workflow are made. A
new pixel depends on its own place and on nothing else: sums are formed tap by tap in a fixed order, so any
part of the result has the same bits as the same part of the whole.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.geometry.blocks import Region, cuts, within
from slideunet.sources.lazy_pixels import CHUNK, Box, Index, bounding_box, lazy_array, pick
from slideunet.sources.levels import Level

SUMS = {"uint8": np.dtype(np.float32)}
"""Type of the sums, else float64: 24 bits hold the mean of 8-bit values with 16 bits to spare."""
BAND = 64
"""New rows that are made at once: what they need fits into the cache."""
ROUNDING = 1e-9
"""A side that exceeds whole working pixels by less is taken as whole."""
PIECE = 2**24
"""Values that are decoded at once for one part of a resampled image."""


@dataclass(frozen=True)
class Taps:
    """What the new pixels along one axis are made of.

    Attributes
    ----------
    first : numpy.ndarray
        (new pixels,) int64, the first old pixel of each.
    weights : numpy.ndarray
        (taps, new pixels) float64, of the old pixels from the first on; every column sums to 1.
    """

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @property
    def needed(self) -> slice:
        """The old pixels that have a weight."""
        used = (self.weights > 0) * np.arange(1, len(self.weights) + 1)[:, None]
        return slice(int(self.first[0]), int((self.first + used.max(axis=0)).max()))


def area_taps(start: int, stop: int, step: float, length: int) -> Taps:
    """Weights of the old pixels in the new pixels `start` to `stop` along one axis.

    New pixel i covers [i * step, (i + 1) * step) of the old axis; old pixel j covers [j, j + 1).

    Parameters
    ----------
    start, stop : int
        New pixels; at least one.
    step : float
        Old pixels per new pixel.
    length : int
        Of the old axis. Nothing lies beyond it; a new pixel wholly beyond it takes the last old pixel.
    """
    low = np.minimum(np.arange(start, stop) * step, length - 1)
    high = np.clip(np.arange(start + 1, stop + 1) * step, low, length)
    first = np.floor(low).astype(np.int64)
    taps = first + np.arange(math.ceil(step) + 1)[:, None]
    cover = np.clip(np.minimum(high, taps + 1) - np.maximum(low, taps), 0, None)
    cover[0, high <= low] = 1
    return Taps(first, cover / cover.sum(axis=0))


def linear_taps(start: int, stop: int, step: float, length: int) -> Taps:
    """Weights of the two nearest old pixels in the new pixels `start` to `stop` of an enlarged axis.

    The centre of new pixel i is at (i + 0.5) * step of the old axis, that of old pixel j at j + 0.5. Beyond
    the outermost centres nothing is extrapolated.

    Parameters
    ----------
    start, stop : int
        New pixels; at least one.
    step : float
        Old pixels per new pixel, at most 1.
    length : int
        Of the old axis.
    """
    centres = np.clip((np.arange(start, stop) + 0.5) * step - 0.5, 0, length - 1)
    first = np.floor(centres).astype(np.int64)
    return Taps(first, np.stack([first + 1 - centres, centres - first]))


def average(pixels: npt.NDArray[Any], rows: Taps, columns: Taps) -> npt.NDArray[Any]:
    """Return weighted sums of pixels (c, y, x) that begin with the first needed row and column.

    Parameters
    ----------
    pixels : numpy.ndarray
        (c, y, x), the needed rows and columns, uint8, uint16 or float32.
    rows, columns : Taps
        Of the wanted part.

    Returns
    -------
    numpy.ndarray
        (c, y, x) in the dtype of `pixels`; integers are rounded half up.
    """
    sums = SUMS.get(pixels.dtype.name, np.dtype(np.float64))
    result = np.empty((len(pixels), len(rows.first), len(columns.first)), pixels.dtype)
    for top in range(0, len(rows.first), BAND):
        band = Taps(rows.first[top : top + BAND], rows.weights[:, top : top + BAND])
        old = slice(band.needed.start - rows.needed.start, band.needed.stop - rows.needed.start)
        # Whole rows and, transposed, whole columns are added up: single values would be far slower.
        means = _sum(pixels[:, old].swapaxes(0, 1), band, sums)
        means = _sum(means.transpose(2, 0, 1), columns, sums).transpose(2, 1, 0)
        result[:, top : top + BAND] = np.floor(means + 0.5) if pixels.dtype.kind == "u" else means
    return result


def _sum(values: npt.NDArray[Any], taps: Taps, dtype: np.dtype) -> npt.NDArray[Any]:
    """Sum the weighted old values along the first axis, one tap after the other."""
    total = np.zeros((len(taps.first), *values.shape[1:]), dtype)
    product = np.empty_like(total)
    places = taps.first - taps.needed.start
    for tap, weights in enumerate(taps.weights.astype(dtype)):
        old = values[np.minimum(places + tap, len(values) - 1)]
        total += np.multiply(old, weights[:, None, None], out=product)
    return total


def shrink(pixels: da.Array, full: tuple[int, int], level: Level, scale: float) -> da.Array:
    """Shrink the pixels of a level lazily to `scale` pixels of the full resolution per pixel."""
    shape = (pixels.shape[0], *working_shape(full, scale))
    shrunk = Shrunk(pixels, shape, (scale / level.step[0], scale / level.step[1]))
    # Strips are as wide as the image, and so must be the parts that are made of them.
    width = shape[2] if pixels.numblocks[2] == 1 else CHUNK
    chunks = (shape[0], min(CHUNK, shape[1]), min(width, shape[2]))
    return lazy_array(shrunk, chunks)


def working_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size (y, x) of an image that is shrunk: every pixel of the full resolution is part of it."""
    height, width = (max(math.ceil(side / scale * (1 - ROUNDING)), 1) for side in shape)
    return height, width


@dataclass(frozen=True)
class Shrunk:
    """The pixels of a level at a coarser resolution, made when they are asked for.

    Attributes
    ----------
    pixels : dask.array.Array
        (c, y, x) of the level.
    shape : tuple[int, int, int]
        (c, y, x) at the coarser resolution.
    step : tuple[float, float]
        Pixels of the level per pixel, along y and x.
    """

    pixels: da.Array
    shape: tuple[int, int, int]
    step: tuple[float, float]

    @property
    def dtype(self) -> np.dtype:
        """Type of the values: that of the level."""
        return self.pixels.dtype

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """Make the region `index`, piece by piece."""
        box, picks = bounding_box(index, self.shape)
        region = np.empty([part.stop - part.start for part in box], self.dtype)
        for piece in self._pieces(box):
            region[:, *within(piece, (box[1], box[2]))] = self._make(box[0], *piece)
        return pick(region, picks)

    def _make(self, channels: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        down, across = (
            area_taps(part.start, part.stop, step, length)
            for part, step, length in zip((rows, columns), self.step, self.pixels.shape[1:], strict=True)
        )
        # In this thread: this is already part of a dask task.
        old = self.pixels[channels, down.needed, across.needed].compute(scheduler="synchronous")
        return average(old, down, across)

    def _pieces(self, box: Box) -> Iterator[Region]:
        """Cut a region so that about `PIECE` values of the level are held at once, in its chunks' shape."""
        _, height, width = self.pixels.chunksize
        columns = min(self.pixels.shape[2], max(width, 2 * CHUNK))
        rows = max(height, PIECE // (columns * self.shape[0]))
        sides = (max(int(rows / self.step[0]), 1), max(int(columns / self.step[1]), 1))
        return itertools.product(cuts(box[1], sides[0]), cuts(box[2], sides[1]))
