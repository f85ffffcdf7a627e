"""The region of a slide that a picture shows: a small slide as a whole, the best part of a large one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from slideunet.geometry.blocks import Region

WHOLE = 768
"""Slides up to this size are shown as a whole."""
WINDOW = 512
"""Size of the part of a larger slide that is shown."""
COARSE = 1024
SURROUNDINGS = 1.6
"""Least size of a crop, relative to the longer side of its object."""


def coarse_level(shape: tuple[int, int], side: int = COARSE) -> int:
    """Return the finest pyramid level whose longer side is at most `side` px."""
    level = 0
    while max(shape) > side << level:
        level += 1
    return level


def densest_region(interest: NDArray, scale: int, shape: tuple[int, int], size: int = WINDOW) -> Region:
    """Return the rows and columns with the highest sum of interest.

    Parameters
    ----------
    interest : numpy.ndarray, (y, x)
        Of each pixel of a downsampled slide, e.g. 1 where truth and prediction differ.
    scale : int
        Working pixels per pixel of `interest`.
    shape : (int, int)
        Height and width of the slide in working pixels; up to `WHOLE` it is shown as a whole.
    size : int
        Side of the region in working pixels.
    """
    if max(shape) <= WHOLE:
        return slice(0, shape[0]), slice(0, shape[1])
    height, width = (max(min(size, side) // scale, 1) for side in shape)
    smooth = uniform_filter(interest.astype(np.float32), (height, width), mode="constant")
    y, x = np.unravel_index(int(smooth.argmax()), smooth.shape)
    return _square((int(y) * scale, int(x) * scale), size, shape)


def square_around(box: Region, sides: Sequence[int], shape: tuple[int, int]) -> tuple[Region, int]:
    """Return a square around an object, moved into the slide, and cropped where the slide is smaller.

    Parameters
    ----------
    box : Region
        Bounding box of the object.
    sides : sequence of int
        Possible sides in working pixels, ascending; the last one also for larger objects.
    shape : (int, int)
        Height and width of the slide in working pixels.

    Returns
    -------
    Region
    int
        The side of the square before cropping.
    """
    extent = SURROUNDINGS * max(part.stop - part.start for part in box)
    side = next((side for side in sides if side >= extent), sides[-1])
    y, x = middle(box)
    return _square((int(y), int(x)), side, shape), side


def middle(region: Region) -> tuple[float, float]:
    """Return row and column of the middle of a region."""
    rows, columns = region
    return (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2


def _square(centre: tuple[int, int], side: int, shape: tuple[int, int]) -> Region:
    """Return a square inside a slide, as close to the centre as possible."""
    lengths = [min(side, length) for length in shape]
    starts = (
        min(max(place - length // 2, 0), full - length)
        for place, length, full in zip(centre, lengths, shape, strict=True)
    )
    rows, columns = (slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
    return rows, columns
