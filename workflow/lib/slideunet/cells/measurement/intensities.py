"""Intensities of all cells at once: moments, extremes and percentiles of a channel, and stains."""

from collections.abc import Sequence

import numpy as np
from skimage.color import hed_from_rgb

from slideunet.cells.measurement.regions import Regions, stable_order

PERCENTILES = (5, 25, 50, 75, 95)
RGB = ("red", "green", "blue")
"""What the readers call the channels of a colour image."""

_STAINS = {"haematoxylin": 0, "eosin": 1}
_DARKEST = 1e-6  # of full transmission: `skimage.color.separate_stains` has it, so that there is a logarithm


def intensities(regions: Regions, plane: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean, std, min, max and percentiles of a plane (y, x) in each cell: arrays (n,) of float64.

    The standard deviation divides by the number of pixels; percentiles are interpolated linearly between the
    pixels, as `numpy.percentile` does.
    """
    pixels = regions.values(plane)
    values = pixels.astype(np.float64)
    ordered = _ordered(regions, pixels).astype(np.float64)
    last = regions.start + regions.area - 1
    found = {
        "mean": regions.mean(values),
        "std": np.sqrt(regions.mean(regions.centred(values) ** 2)),
        "min": ordered[regions.start],
        "max": ordered[last],
    }
    for percent in PERCENTILES:
        whole, rest = np.divmod(percent * (regions.area - 1), 100)
        low = ordered[regions.start + whole]
        high = ordered[np.minimum(regions.start + whole + 1, last)]
        found[f"p{percent:02}"] = low + (high - low) * (rest / 100)
    return found


def stains(regions: Regions, image: np.ndarray, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the mean optical density (n,) of each stain of an H&E image; nothing for other images.

    Parameters
    ----------
    regions : Regions
    image : ndarray (c, y, x) of uint8 or uint16
        The largest value is full transmission.
    channels : sequence of str
        The image is one of colours when it begins with red, green and blue.

    Notes
    -----
    Colour deconvolution by A. C. Ruifrok & D. A. Johnston, Quantification of histochemical staining by color
    deconvolution, 2001, with the vectors of `skimage.color.rgb2hed`. That gives densities to the base of
    `_DARKEST`; they are turned to the base of 10 here.
    """
    if tuple(channels[:3]) != RGB or not np.issubdtype(image.dtype, np.integer):
        return {}
    full = np.iinfo(image.dtype).max
    table = -np.log10(np.maximum(np.arange(full + 1) / full, _DARKEST))
    densities = [table[regions.values(plane)] for plane in image[:3]]
    found = {}
    for name, stain in _STAINS.items():
        red, green, blue = hed_from_rgb[:, stain]
        # Added by hand: a matrix product may round by where a pixel stands in the array.
        amount = densities[0] * red + densities[1] * green + densities[2] * blue
        found[name] = regions.mean(np.maximum(amount, 0))
    return found


def _ordered(regions: Regions, pixels: np.ndarray) -> np.ndarray:
    """Sort the pixels (p,) of each cell by their value."""
    if pixels.dtype.kind in "bui" and pixels.dtype.itemsize <= 4:
        return _sorted_within(regions.index, pixels.astype(np.int64))
    if pixels.dtype == np.float32:
        codes = _sorted_within(regions.index, _flipped(pixels.view(np.int32)).astype(np.int64))
        return _flipped(codes.astype(np.int32)).view(np.float32)
    return pixels[np.lexsort((pixels, regions.index))]


def _sorted_within(index: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sort whole numbers (p,) of int64 that span at most 32 bits within each cell."""
    low = codes.min(initial=0)
    codes = codes - low
    width = int(codes.max(initial=0)).bit_length()
    key = index << width | codes
    if width <= 8:  # a table of how often each cell has each value is faster still
        counts = np.bincount(key)
        values = np.resize(np.arange(1 << width, dtype=np.uint8), len(counts))
        return np.repeat(values, counts).astype(np.int64) + low
    return (key[stable_order(key)] & ((1 << width) - 1)) + low


def _flipped(bits: np.ndarray) -> np.ndarray:
    """Turn the bits of float32 (as int32) into whole numbers of the same order, and back.

    IEEE 754 keeps the sign apart, so of negative numbers the other bits count backwards.
    """
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
