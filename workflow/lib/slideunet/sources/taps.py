"""Weights of old pixels in new ones: means over areas to shrink, linear interpolation to enlarge.

The mean over an area keeps the total intensity, cannot overshoot, suppresses what is finer than the new
grid, and for a factor of 2 is the mean of 2 x 2 pixels, of which the pyramids of this workflow are made. A
new pixel depends on its own place and on nothing else: sums are formed tap by tap in a fixed order, so any
part of the result has the same bits as the same part of the whole.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SUMS = {"uint8": np.dtype(np.float32)}
"""Type of the sums, else float64: 24 bits hold the mean of 8-bit values with 16 bits to spare."""
BAND = 64
"""New rows that are made at once: what they need fits into the cache."""
ROUNDING = 1e-9
"""A side that exceeds whole working pixels by less is taken as whole."""


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


def working_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size (y, x) of an image that is shrunk: every pixel of the full resolution is part of it."""
    height, width = (max(math.ceil(side / scale * (1 - ROUNDING)), 1) for side in shape)
    return height, width
