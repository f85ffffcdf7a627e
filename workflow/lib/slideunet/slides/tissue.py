"""Tissue masks of stained slides, which save the prediction of bare glass.

The mask sets pixels to 0 in slide coordinates, so predictions stay independent of the tiling. Missed tissue
would be a silent loss while bare glass only costs time, so doubtful pixels count as tissue.
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
"""Minimum of the shorter side in pixels of a whole slide; cropped fields are never masked."""
MPP = 8.0
"""Approximate micrometres per pixel of the mask."""
MOST_PIXELS = 2**24
"""Maximum number of pixels of a mask, which limits memory for slides of any size."""
UNKNOWN_MPP = (0.25, 0.5)
"""Assumed range for slides that do not state their pixel size: 40x to 20x."""

MARGIN = 32.0
"""Micrometres by which the mask is dilated: more than the diameter of a cell."""
LARGEST_HOLE = 1e6
"""Square micrometres up to which holes count as tissue (lumina, fat); glass inside a pen ring is larger."""
GREY_DENSITY, COLOUR_DENSITY = 0.05, 0.02
"""Minimum optical density above the glass, and its minimum difference between channels, of stain.

They are fixed because Otsu's method takes pale tissue beside dense tissue for glass, and splits the noise of
empty slides.
"""

_GLASS = 200
_NEUTRAL = 12
_FLAT = 3
_BLACK = 24


def needs_tissue_mask(
    shape: Sequence[int],
    statistics: Sequence[Mapping[str, float]],
    background: Background,
    white: int = 255,
) -> bool:
    """Whether a slide is predicted with a tissue mask if `prediction.tissue` is "auto".

    Parameters
    ----------
    shape : (..., y, x)
        Shape of the slide in working pixels.
    statistics : one mapping per channel
        As returned by `statistics.pooled`.
    background : str
        "dark", "bright" or "auto", as in `normalisation.normalisation`.
    white : int
        Value of white light.

    Returns
    -------
    bool
        True for whole slides (both sides at least `WHOLE_SLIDE`) of RGB integers on a bright background,
        except grey images stored as RGB.
    """
    if min(shape[-2:]) < WHOLE_SLIDE or len(statistics) != 3 or background == "dark":
        return False
    lit = (white + 1) // 2 <= max(channel["max"] for channel in statistics) <= white
    coloured = any(dict(channel) != dict(statistics[0]) for channel in statistics)
    # Bright slides are those that normalisation inverts; glass alone has too little contrast for that.
    inverted = normalisation(statistics, "percentile", background).scale[0] < 0
    mostly_glass = all(channel["median"] >= _GLASS / 255 * white for channel in statistics)
    return lit and coloured and (inverted or mostly_glass)


def mask_level(shape: Sequence[int], mpp: float | None) -> int:
    """Choose the pyramid level for the mask of a slide.

    Parameters
    ----------
    shape : (..., y, x)
        Shape of level 0; every level halves the previous one.
    mpp : float or None
        Micrometres per pixel of level 0; None counts as the coarser of `UNKNOWN_MPP`.

    Returns
    -------
    int
        The level closest to `MPP`, or a coarser one if that has more than `MOST_PIXELS`.
    """
    levels = level_shapes(tuple(shape[-2:]))
    level = min(max(round(math.log2(MPP / (mpp or UNKNOWN_MPP[1]))), 0), len(levels) - 1)
    while math.prod(levels[level]) > MOST_PIXELS:
        level += 1
    return level


def tissue_mask(thumbnail: NDArray[np.uint8], mpp_of_thumbnail: float | None) -> NDArray[np.bool_]:
    """Find the tissue of a stained slide.

    Tissue absorbs light or has a colour, relative to the glass: the brightest grey that evenly covers at
    least 1 % of the slide. Tissue is not mistaken for glass, as nuclei make it uneven at this resolution.
    Without glass the reference is white. Small holes are filled, specks are kept (one may be a cell), and the
    mask is dilated by `MARGIN`.

    Parameters
    ----------
    thumbnail : numpy.ndarray of uint8, (3, y, x)
        The slide at `mask_level`, RGB. Black, and pure white as filled in by scanners, count as not scanned.
    mpp_of_thumbnail : float or None
        Micrometres per pixel of the thumbnail; None if unknown.

    Returns
    -------
    numpy.ndarray of bool, (y, x)
        True where the slide is predicted.
    """
    mpp = mpp_of_thumbnail or MPP * UNKNOWN_MPP[0] / UNKNOWN_MPP[1]
    grey, colour = _densities(thumbnail, _colour_of_glass(thumbnail), sigma=min(MPP / 2 / mpp, 2.0))
    black = (thumbnail <= _BLACK).all(axis=0)
    # The blurred rim of areas that were not scanned is no tissue either.
    scanned = ~ndimage.binary_dilation(black, iterations=2) & (thumbnail < 255).any(axis=0)
    stained = scanned & ((grey > GREY_DENSITY) | (colour > COLOUR_DENSITY))
    holes = ndimage.binary_fill_holes(stained) & ~stained
    filled = stained | (holes & ~remove_small_objects(holes, max_size=int(LARGEST_HOLE / mpp**2)))
    reach = min(math.ceil(MARGIN / mpp), max(filled.shape))
    return ndimage.maximum_filter(filled, 2 * reach + 1, mode="constant")


def as_bytes(thumbnail: NDArray[np.unsignedinteger], white: int) -> NDArray[np.uint8]:
    """Return integers with 255 in the place of `white`."""
    if thumbnail.dtype == np.uint8:
        return thumbnail
    scaled = thumbnail * np.float32(255 / white)
    return np.rint(np.minimum(scaled, 255, out=scaled), out=scaled).astype(np.uint8)


def upsampled(mask: NDArray[np.bool_], level: int, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Return a rectangle of the mask at full resolution.

    Parameters
    ----------
    mask : numpy.ndarray of bool, (y, x)
        Mask at pyramid level `level`.
    level : int
        Pixel (y, x) of the slide corresponds to pixel (y >> level, x >> level) of the mask.
    rows, columns : slice
        Rectangle in pixels of the slide, with start and stop.

    Returns
    -------
    numpy.ndarray of bool, (h, w)
    """
    y, x = (np.arange(part.start, part.stop) >> level for part in (rows, columns))
    return mask[y[:, None], x[None, :]]


def skipped_share(mask: NDArray[np.bool_], shape: Sequence[int], level: int) -> float:
    """Return the exact fraction of the pixels of a slide, of `shape` (..., y, x), outside the mask."""
    # The last row and column of the mask may cover fewer pixels than the others.
    height, width = (np.bincount(np.arange(side) >> level) for side in shape[-2:])
    wanted = int(height @ mask.astype(np.int64) @ width)
    total = math.prod(shape[-2:])
    return (total - wanted) / total


def _colour_of_glass(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the RGB colour of the glass; white if there is none."""
    from scipy.signal import find_peaks  # slow to import, and few slides need it

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
    """Return the mean optical density ln(glass / light) of the channels, and its range between channels."""
    total: NDArray[np.float32]
    total, least, most = (np.full(thumbnail.shape[1:], start, np.float32) for start in (0, np.inf, -np.inf))
    for plane, white in zip(thumbnail, glass, strict=True):
        density = ndimage.gaussian_filter(plane, sigma, output=np.float32)
        # In place, because a mask has up to 16 million pixels.
        np.divide(white, np.maximum(density, 1, out=density), out=density)
        np.log(density, out=density)
        total += density / np.float32(len(thumbnail))
        np.minimum(least, density, out=least)
        np.maximum(most, density, out=most)
    return total, most - least
