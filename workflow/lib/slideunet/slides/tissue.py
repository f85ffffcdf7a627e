"""Where a stained slide has tissue: a small mask, so that no time goes into predicting bare glass.

The mask only decides whether a pixel is predicted or 0, pixel by pixel in the slide's own coordinates, so a
prediction with it is as independent of tiles as one without. Missing tissue would be a silent loss, bare
glass costs only time: in every doubt a pixel belongs to the tissue.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects

from slideunet.geometry.pyramid import level_shapes
from slideunet.slides.normalisation import Background, normalisation

WHOLE_SLIDE = 2048
"""Shorter side in pixels from which an image counts as a whole slide; a cropped field is never masked."""
MPP = 8.0
"""Micrometres per pixel of the mask, about."""
MOST_PIXELS = 2**24
"""Of a mask, so that memory has a bound on slides of any size."""
UNKNOWN_MPP = (0.25, 0.5)
"""Of a slide that does not state it: 40x or 20x."""

MARGIN = 32.0
"""Micrometres by which the mask is grown: more than the diameter of a cell."""
LARGEST_HOLE = 1e6
"""Square micrometres. Lumina and fat belong to the tissue, the glass inside a ring of pen does not."""
GREY_DENSITY, COLOUR_DENSITY = 0.05, 0.02
"""Optical density above the glass, and difference of it between two channels, from which there is stain.

Fixed: Otsu's method counts pale tissue beside dense tissue as glass, and divides the noise of empty slides.
"""

_GLASS = 200
_NEUTRAL = 12
_FLAT = 3
_BLACK = 24


def needs_tissue_mask(
    shape: Sequence[int], statistics: Sequence[Mapping[str, float]], background: Background
) -> bool:
    """Tell whether a slide is predicted with a tissue mask when `prediction.tissue` is "auto".

    Parameters
    ----------
    shape : (..., y, x)
        Of the slide in working pixels.
    statistics : one mapping per channel
        As `statistics.pooled` returns them.
    background : str
        "dark", "bright" or "auto", as `normalisation.normalisation` takes it.

    Returns
    -------
    bool
        True for a whole slide (both sides at least `WHOLE_SLIDE`) of 8-bit RGB on a bright background. Grey
        images that are stored as RGB are no stained slides.
    """
    if min(shape[-2:]) < WHOLE_SLIDE or len(statistics) != 3 or background == "dark":
        return False
    eight_bit = 128 <= max(channel["max"] for channel in statistics) <= 255
    coloured = any(dict(channel) != dict(statistics[0]) for channel in statistics)
    # The rule for bright slides is that they are inverted; glass alone has no contrast to judge by.
    inverted = normalisation(statistics, "percentile", background).scale[0] < 0
    mostly_glass = all(channel["median"] >= _GLASS for channel in statistics)
    return eight_bit and coloured and (inverted or mostly_glass)


def mask_level(shape: Sequence[int], mpp: float | None) -> int:
    """Choose the pyramid level from which the mask of a slide is made.

    Parameters
    ----------
    shape : (..., y, x)
        Of level 0; every level halves the one before.
    mpp : float or None
        Micrometres per pixel of level 0; None counts as the coarser of `UNKNOWN_MPP`.

    Returns
    -------
    int
        The level nearest to `MPP`, or a coarser one where that has more than `MOST_PIXELS`.
    """
    levels = level_shapes(tuple(shape[-2:]))
    level = min(max(round(math.log2(MPP / (mpp or UNKNOWN_MPP[1]))), 0), len(levels) - 1)
    while math.prod(levels[level]) > MOST_PIXELS:
        level += 1
    return level


def tissue_mask(thumbnail: NDArray[np.uint8], mpp_of_thumbnail: float | None) -> NDArray[np.bool_]:
    """Find the tissue of a stained slide.

    A pixel is tissue when it absorbs light or has a colour, compared with the glass: the brightest grey that
    covers at least 1 % of the slide evenly. At this resolution nuclei never look even, so tissue is not taken
    for glass; where no glass is found, everything is compared with white. Small holes are filled, specks
    stay (one may be a cell), and all is grown by `MARGIN` to every side.

    Parameters
    ----------
    thumbnail : numpy.ndarray of uint8, (3, y, x)
        The slide at `mask_level`, red, green, blue. Black, and the pure white that scanners fill in, count
        as not scanned.
    mpp_of_thumbnail : float or None
        Micrometres per pixel of the thumbnail; None for a slide that does not state it.

    Returns
    -------
    numpy.ndarray of bool, (y, x)
        True where the slide is to be predicted.
    """
    mpp = mpp_of_thumbnail or MPP * UNKNOWN_MPP[0] / UNKNOWN_MPP[1]
    grey, colour = _densities(thumbnail, _colour_of_glass(thumbnail), sigma=min(MPP / 2 / mpp, 2.0))
    black = (thumbnail <= _BLACK).all(axis=0)
    # The blurred rim of what was not scanned is no tissue either.
    scanned = ~ndimage.binary_dilation(black, iterations=2) & (thumbnail < 255).any(axis=0)
    stained = scanned & ((grey > GREY_DENSITY) | (colour > COLOUR_DENSITY))
    holes = ndimage.binary_fill_holes(stained) & ~stained
    filled = stained | (holes & ~remove_small_objects(holes, max_size=int(LARGEST_HOLE / mpp**2)))
    reach = min(math.ceil(MARGIN / mpp), max(filled.shape))
    return ndimage.maximum_filter(filled, 2 * reach + 1, mode="constant")


def upsampled(mask: NDArray[np.bool_], level: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Cut a rectangle of the slide out of the mask, at full resolution.

    Parameters
    ----------
    mask : numpy.ndarray of bool, (y, x)
        At pyramid level `level`.
    level : int
        Pixel (y, x) of the slide belongs to pixel (y >> level, x >> level) of the mask.
    rows, columns : slice
        In pixels of the slide, with start and stop.

    Returns
    -------
    numpy.ndarray of bool, (h, w)
    """
    y, x = (np.arange(part.start, part.stop) >> level for part in (rows, columns))
    return mask[y[:, None], x[None, :]]


def skipped_share(mask: NDArray[np.bool_], shape: Sequence[int], level: int) -> float:
    """Return the share of a slide's pixels that lie outside the mask.

    Parameters
    ----------
    mask, level
        As `upsampled` takes them.
    shape : (..., y, x)
        Of the slide at level 0.

    Returns
    -------
    float
        Exact; 1.0 when the mask is empty, 0.0 when it covers the slide.
    """
    # The last row and column of the mask may stand for fewer pixels than the others.
    height, width = (np.bincount(np.arange(side) >> level) for side in shape[-2:])
    wanted = int(height @ mask.astype(np.int64) @ width)
    total = math.prod(shape[-2:])
    return (total - wanted) / total


def _colour_of_glass(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return red, green and blue of the glass; white where there is none."""
    from scipy.signal import find_peaks  # It takes a second to import, and few slides have a thumbnail.

    brightness = np.rint(thumbnail.mean(axis=0, dtype=np.float32)).astype(np.uint8)
    flat = ndimage.maximum_filter(brightness, 3) - ndimage.minimum_filter(brightness, 3) <= _FLAT
    neutral = np.ptp(thumbnail, axis=0) <= _NEUTRAL
    bare = flat & neutral & (brightness >= _GLASS) & (thumbnail < 255).any(axis=0)
    counts = np.convolve(np.bincount(brightness[bare], minlength=256), np.ones(3), mode="same")
    peaks, _ = find_peaks(np.pad(counts, 1), height=max(0.01 * brightness.size, 1))
    if not len(peaks):
        return np.full(3, 255, np.float32)
    glass = bare & (np.abs(brightness.astype(np.int16) - (peaks[-1] - 1)) <= 1)
    return np.median(thumbnail[:, glass], axis=1).astype(np.float32)


def _densities(
    thumbnail: NDArray[np.uint8], glass: NDArray[np.float32], sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean optical density over the channels, ln(glass / light), and how far they differ."""
    total: NDArray[np.float32]
    total, least, most = (np.full(thumbnail.shape[1:], start, np.float32) for start in (0, np.inf, -np.inf))
    for plane, white in zip(thumbnail, glass, strict=True):
        density = ndimage.gaussian_filter(plane, sigma, output=np.float32)
        # In place: a mask of a whole slide has 16 million pixels.
        np.divide(white, np.maximum(density, 1, out=density), out=density)
        np.log(density, out=density)
        total += density / np.float32(len(thumbnail))
        np.minimum(least, density, out=least)
        np.maximum(most, density, out=most)
    return total, most - least
