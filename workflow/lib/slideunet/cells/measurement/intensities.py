"""Intensity statistics of all cells at once, and optical densities of H&E stains."""

from collections.abc import Sequence

import numpy as np
from skimage.color import hed_from_rgb

from slideunet.cells.measurement.regions import Regions, stable_order

PERCENTILES = (5, 25, 50, 75, 95)
RGB = ("red", "green", "blue")
"""Channel names that the readers give to colour images."""

_STAINS = {"haematoxylin": 0, "eosin": 1}
_LEAST_TRANSMISSION = 1e-6  # keeps the logarithm finite, as in `skimage.color.separate_stains`


def intensities(regions: Regions, plane: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean, std, min, max and percentiles of a plane (y, x) in each cell: arrays (n,) of float64.

    The standard deviation is that of the population; percentiles are interpolated linearly, as in
    `numpy.percentile`.
    """
    pixels = regions.values(plane)
    values = pixels.astype(np.float64)
    ordered = _sorted_pixels(regions, pixels).astype(np.float64)
    last = regions.start + regions.area - 1
    statistics = {
        "mean": regions.mean(values),
        "std": np.sqrt(regions.mean(regions.centred(values) ** 2)),
        "min": ordered[regions.start],
        "max": ordered[last],
    }
    for percent in PERCENTILES:
        whole, rest = np.divmod(percent * (regions.area - 1), 100)
        low = ordered[regions.start + whole]
        high = ordered[np.minimum(regions.start + whole + 1, last)]
        statistics[f"p{percent:02}"] = low + (high - low) * (rest / 100)
    return statistics


def stains(
    regions: Regions, image: np.ndarray, channels: Sequence[str], white: int | None
) -> dict[str, np.ndarray]:
    """Return the mean optical density (n,) of each stain of an H&E image; nothing for other images.

    Parameters
    ----------
    regions : Regions
    image : ndarray (c, y, x) of uint8 or uint16
    channels : sequence of str
        Colour images start with red, green and blue.
    white : int or None
        The value of full transmission (brighter pixels count as that); None for other than colour images.

    Notes
    -----
    Colour deconvolution (Ruifrok & Johnston 2001) with the stain vectors of `skimage.color.rgb2hed`, whose
    logarithm has the base `_LEAST_TRANSMISSION`; the densities here have the base 10.
    """
    if tuple(channels[:3]) != RGB or not np.issubdtype(image.dtype, np.integer) or white is None:
        return {}
    values = np.arange(np.iinfo(image.dtype).max + 1)
    table = -np.log10(np.clip(values / white, _LEAST_TRANSMISSION, 1))
    densities = [table[regions.values(plane)] for plane in image[:3]]
    means = {}
    for name, stain in _STAINS.items():
        red, green, blue = hed_from_rgb[:, stain]
        # Summed by hand: the rounding of a matrix product may depend on a pixel's place in the array.
        amount = densities[0] * red + densities[1] * green + densities[2] * blue
        means[name] = regions.mean(np.maximum(amount, 0))
    return means


def _sorted_pixels(regions: Regions, pixels: np.ndarray) -> np.ndarray:
    """Sort the pixels (p,) of each cell by value."""
    if pixels.dtype.kind in "bui" and pixels.dtype.itemsize <= 4:
        return _sorted_codes(regions.index, pixels.astype(np.int64))
    if pixels.dtype == np.float32:
        codes = _sorted_codes(regions.index, _order_preserving(pixels.view(np.int32)).astype(np.int64))
        return _order_preserving(codes.astype(np.int32)).view(np.float32)
    return pixels[np.lexsort((pixels, regions.index))]


def _sorted_codes(index: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sort the codes (p,) of each cell: int64 with a range of at most 32 bits."""
    low = codes.min(initial=0)
    codes = codes - low
    width = int(codes.max(initial=0)).bit_length()
    key = index << width | codes
    if width <= 8:  # few values: a histogram per cell is faster than sorting
        counts = np.bincount(key)
        values = np.resize(np.arange(1 << width, dtype=np.uint8), len(counts))
        return np.repeat(values, counts).astype(np.int64) + low
    return (key[stable_order(key)] & ((1 << width) - 1)) + low


def _order_preserving(bits: np.ndarray) -> np.ndarray:
    """Map the bits of float32 (as int32) to integers of the same order, and back.

    IEEE 754 stores sign and magnitude, so the magnitude bits of negative numbers are inverted.
    """
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
