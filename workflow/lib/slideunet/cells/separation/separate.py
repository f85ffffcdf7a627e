"""From the maps of a prediction to separated cells, by one of several methods.

components      connected components of the foreground
watershed       these divided at their necks, by their shape; see `slideunet.cells.separation.watershed`
distance        these divided along the valleys of the distance to the cell's edge that the network learned
centres         see `slideunet.cells.separation.centres`

Every step looks a bounded distance away or stays within one connected component, and ties are broken by a
hash of the pixel's position: the result is the same however the image is cut.
"""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Protocol

import numpy as np
from scipy import ndimage as ndi

from slideunet.cells.separation import centres, watershed
from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.methods import NEEDED, Method
from slideunet.geometry.blocks import Region

Maps = Mapping[str, np.ndarray]

SEPARATION_VERSION = "3"
"""Part of the fingerprint of every labelling: raise it when the same probabilities would give other cells."""

MERGE_RATIOS: dict[Method, float] = {
    # Chosen among 32 settings by AP@0.5-0.95 over 60 fluorescence images of BBBC038 (nuclei of 9 to 96 px)
    # whose true foreground was separated, no holes filled: 0.912, against at best 0.868 for smoothed peaks
    # without joining, 0.907 for a fixed depth of the saddle and 0.803 for connected components. With the
    # foreground roughened: 0.811, against 0.778, 0.801 and 0.692.
    "watershed": 0.92,
    # Chosen on the validation part of DSB2018's fluorescence images; see docs/accuracy.md.
    "distance": 0.9,
}
"""The methods that join basins, and how high the saddle between two of one cell is unless a model says it."""

_DISTANCE_UNIT = 64  # Per pixel, of the Euclidean distance.
_DIAGONALS_TOO = np.ones((3, 3), dtype=bool)


class Separation(Protocol):
    """Cells of a part of a slide, and which of them may be others when more of the slide is seen."""

    @property
    def labels(self) -> np.ndarray:
        """Cells 1..n (y, x), 0 is background."""

    @property
    def zone(self) -> int:
        """How far from the window's sides pixels may depend on what lies beyond them."""

    def unsure(self, inner: Region, sides: Iterable[Region]) -> int:
        """Count what is seen of the part `inner` and may depend on what lies beyond the zones `sides`."""


def separate(maps: Maps, decoding: Decoding, origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Label the cells of a prediction that is in memory as a whole.

    Parameters
    ----------
    maps : mapping to ndarray (y, x) of uint8
        "foreground", round(255 p), and what the method needs; see `network.architecture.output_maps`.
    decoding : Decoding
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide, when the array is a part of it.

    Returns
    -------
    ndarray (y, x) of uint32
        0 = background. Every cell is connected through pixel sides, so that its outline is one polygon. The
        ids are consecutive but in no particular order; see `slideunet.cells.separation.label_slide`.

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described.
    """
    return numbered(separate_window(maps, decoding, origin).labels, maps["foreground"], decoding)


def numbered(
    labels: np.ndarray,
    probability: np.ndarray,
    decoding: Decoding,
    inner: Region = (slice(None), slice(None)),
) -> np.ndarray:
    """Number the cells 1..n (uint32) that are large and probable enough and have pixels in a part `inner`."""
    pixels = np.flatnonzero(labels)
    cells = labels.ravel()[pixels]
    inside = np.zeros(int(labels.max(initial=0)) + 1, bool)
    inside[labels[inner]] = True
    kept = inside & kept_cells(cells, probability.ravel()[pixels], len(inside), decoding)
    result = np.zeros(labels.shape, np.uint32)
    result.ravel()[pixels] = (np.cumsum(kept) * kept)[cells]
    return result


def separate_window(maps: Maps, decoding: Decoding, origin: tuple[int, int]) -> Separation:
    """Do what `separate` does, but for dropping cells."""
    method = decoding.method
    _check(maps, method)
    foreground = fill_holes(maps["foreground"] >= foreground_cut(decoding.threshold), decoding.min_area)
    if method == "centres":
        return centres.separate_by_centres(foreground, maps["centre"], maps["dy"], maps["dx"], origin)
    if method == "components":
        labels, count = ndi.label(foreground)
        return watershed.ComponentSeparation(labels, np.arange(count + 1))
    distance = _distance(foreground) if method == "watershed" else maps["distance"] * foreground
    ratio = MERGE_RATIOS[method] if decoding.merge_ratio is None else decoding.merge_ratio
    return watershed.flood(foreground, watershed.smoothed(distance), ratio, origin)


def _check(maps: Maps, method: Method) -> None:
    if method not in NEEDED:
        raise ValueError(f"unknown method {method!r}: choose {', '.join(NEEDED)}")
    for name in ("foreground", *NEEDED[method]):
        if maps[name].dtype != np.uint8 or maps[name].ndim != 2:
            raise TypeError(
                f"expected {name} (y, x) of uint8, got {maps[name].ndim} axes of {maps[name].dtype}"
            )


def foreground_cut(threshold: float) -> int:
    """Return the smallest stored probability (1 to 255) that is foreground at a threshold.

    A pixel p is foreground when p / 255 >= threshold. The threshold is taken as the decimal number that is
    written, not as the nearest binary one: 0.2 is 51 / 255 exactly, so the cut is 51 and not 52.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold must be between 0 and 1, it is {threshold}")
    return math.ceil(Fraction(repr(float(threshold))) * 255)


def fill_holes(foreground: np.ndarray, min_area: int) -> np.ndarray:
    """Fill the holes of less than `min_area` pixels; a gap at the image's border is no hole."""
    gaps, count = ndi.label(~foreground, _DIAGONALS_TOO)
    small = np.bincount(gaps.ravel(), minlength=count + 1) < min_area
    for side in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        small[side] = False
    small[0] = False
    return foreground | small[gaps] if small.any() else foreground


def kept_cells(cells: np.ndarray, probability: np.ndarray, count: int, decoding: Decoding) -> np.ndarray:
    """Tell which cells are large and probable enough.

    Parameters
    ----------
    cells : ndarray (n,) of integers
        The cell of each pixel of the foreground.
    probability : ndarray (n,) of uint8
        Of these pixels, round(255 p).
    count : int
        More than the largest number of a cell.
    decoding : Decoding

    Returns
    -------
    ndarray (count,) of bool; False where there is no pixel.
    """
    area = np.bincount(cells, minlength=count)
    kept = area >= max(decoding.min_area, 1)
    if decoding.min_probability > 0:
        # Sums of whole numbers are exact in float64, so the result does not depend on the order of pixels.
        total = np.bincount(cells, weights=probability, minlength=count)
        kept &= total >= 255 * decoding.min_probability * area
    return kept


def _distance(foreground: np.ndarray) -> np.ndarray:
    if foreground.all():  # no background to measure from: SciPy's answer would be arbitrary
        return np.ones(foreground.shape, np.uint16)
    distance = _DISTANCE_UNIT * ndi.distance_transform_edt(foreground)
    return np.minimum(np.rint(distance), np.iinfo(np.uint16).max).astype(np.uint16)
