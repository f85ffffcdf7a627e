"""Separated cells from predicted maps, by one of four methods.

components      connected components of the foreground
watershed       components split at their necks: a watershed on the Euclidean distance to the background
distance        components split along the valleys of the predicted distance map
centres         pixels grouped by the centre that the network points to; see `cells.separation.centres`

Every step depends on a limited neighbourhood or on one connected component, and ties are broken by a hash of
the pixel's position: the result does not depend on how the slide is cut into windows.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from scipy import ndimage as ndi

from slideunet.cells.separation import centres, watershed
from slideunet.cells.separation.decoding import NEEDED, Decoding, Method
from slideunet.cells.separation.window_edge import EdgeDepth, SeparatedCells
from slideunet.geometry.blocks import Region

Maps = Mapping[str, np.ndarray]

SEPARATION_VERSION = "5"
"""Part of the fingerprint of every labelling: raise it when the same maps would give other cells."""

MERGE_RATIOS: dict[Method, float] = {
    # Chosen among 32 settings by AP@0.5-0.95 on 60 fluorescence images of BBBC038 (nuclei of 9 to 96 px),
    # from the true foreground, without hole filling: 0.912, against at best 0.868 with smoothed peaks and no
    # merging, 0.907 with a fixed depth of the saddle and 0.803 with connected components. With a roughened
    # foreground: 0.811, against 0.778, 0.801 and 0.692.
    "watershed": 0.92,
    # For cells of at most 16 px, see `watershed.FULL_RATIO_AREA`. Chosen by the mean over five sources, each
    # at three sizes; see docs/notebook/accuracy.md.
    "distance": 0.7,
}
"""Default merge ratio of the methods that merge basins, for models without a tuned one."""

_DISTANCE_UNIT = 64  # steps of the Euclidean distance per pixel
_FARTHEST = np.iinfo(np.uint16).max
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def separate(maps: Maps, decoding: Decoding, origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Label the cells of a prediction in memory.

    Parameters
    ----------
    maps : mapping to ndarray (y, x) of uint8
        "foreground", round(255 p), and the maps that the method needs; see
        `network.architecture.output_maps`.
    decoding : Decoding
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.

    Returns
    -------
    ndarray (y, x) of uint32
        0 = background. Every cell is 4-connected, so its outline is one polygon. Ids are consecutive, in no
        particular order; see `cells.separation.label_slide`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    return numbered(separate_window(maps, decoding, origin).labels, maps["foreground"], decoding)


def numbered(
    labels: np.ndarray,
    probability: np.ndarray,
    decoding: Decoding,
    inner: Region = (slice(None), slice(None)),
) -> np.ndarray:
    """Number the cells 1..n (uint32) that are large and probable enough and have pixels in `inner`."""
    pixels = np.flatnonzero(labels)
    cells = labels.ravel()[pixels]
    inside = np.zeros(int(labels.max(initial=0)) + 1, bool)
    inside[labels[inner]] = True
    kept = inside & kept_cells(cells, probability.ravel()[pixels], len(inside), decoding)
    result = np.zeros(labels.shape, np.uint32)
    result.ravel()[pixels] = (np.cumsum(kept) * kept)[cells]
    return result


def separate_window(
    maps: Maps, decoding: Decoding, origin: tuple[int, int], depth: EdgeDepth | None = None
) -> SeparatedCells:
    """Do the same as `separate`, without removing small and improbable cells, and find the uncertain ones.

    Without a depth the maps are the whole slide, and all cells are certain.
    """
    method = decoding.method
    _check(maps, method)
    depth = depth or EdgeDepth.of_whole(maps["foreground"].shape)
    raw = maps["foreground"] >= foreground_cut(decoding.threshold)
    foreground, unknown = fill_holes(raw, decoding.min_area, depth)
    if method == "centres":
        doubtful = depth.below(centres.ZONE + unknown)
        learned = maps["centre"], maps["dy"], maps["dx"]
        return centres.group_by_centre(foreground, *learned, origin, doubtful)
    if method == "components":
        labels, count = ndi.label(foreground)
        uncertain = np.zeros(count + 1, bool)
        uncertain[labels[depth.below(unknown + 1)]] = True
        return SeparatedCells(labels, uncertain)
    doubtful = depth.below(watershed.ZONE + unknown)
    if method == "watershed":
        distance = _distance(foreground)
        doubtful |= _near_unknown(distance, depth, unknown)
    else:
        distance = maps["distance"] * foreground
    ratio = MERGE_RATIOS[method] if decoding.merge_ratio is None else decoding.merge_ratio
    height, by_size = watershed.smoothed(distance), method == "distance"
    return watershed.split_at_valleys(foreground, height, ratio, origin, doubtful, by_size)


def _check(maps: Maps, method: Method) -> None:
    if method not in NEEDED:
        raise ValueError(f"unknown method {method!r}: choose {', '.join(NEEDED)}")
    for name in ("foreground", *NEEDED[method]):
        if maps[name].dtype != np.uint8 or maps[name].ndim != 2:
            raise TypeError(
                f"expected {name} (y, x) of uint8, got {maps[name].ndim} axes of {maps[name].dtype}"
            )


def foreground_cut(threshold: float) -> int:
    """Return the smallest stored probability (1 to 255) that is foreground: p / 255 >= threshold.

    The threshold is the decimal number as written, not the nearest binary one: 0.2 is exactly 51 / 255, so
    the cut is 51 and not 52.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold must be between 0 and 1, it is {threshold}")
    return math.ceil(Fraction(repr(float(threshold))) * 255)


def fill_holes(foreground: np.ndarray, min_area: int, depth: EdgeDepth) -> tuple[np.ndarray, int]:
    """Fill holes of fewer than `min_area` pixels; a gap at the edge of the image is not a hole.

    Returns
    -------
    ndarray (y, x) of bool
        The foreground.
    int
        How far gaps that may be small holes in a larger window extend from its open edges, in pixels.
    """
    gaps, count = ndi.label(~foreground, _EIGHT_CONNECTED)
    small = np.bincount(gaps.ravel(), minlength=count + 1) < min_area
    small[0] = False
    at_edge = np.zeros_like(small)
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        at_edge[edge] = True
    cut = np.zeros_like(small)
    cut[gaps[depth.below(1)]] = True
    cut &= small
    small &= ~at_edge
    filled = foreground | small[gaps] if small.any() else foreground
    return filled, depth.deepest(cut[gaps]) + 1 if cut.any() else 0


def kept_cells(cells: np.ndarray, probability: np.ndarray, count: int, decoding: Decoding) -> np.ndarray:
    """Select the cells that are large and probable enough.

    Parameters
    ----------
    cells : ndarray (n,) of integers
        The cell of each foreground pixel.
    probability : ndarray (n,) of uint8
        Foreground probability of these pixels, round(255 p).
    count : int
        Length of the result, more than the highest cell number.
    decoding : Decoding

    Returns
    -------
    ndarray (count,) of bool; False for numbers without a pixel.
    """
    area = np.bincount(cells, minlength=count)
    kept = area >= max(decoding.min_area, 1)
    if decoding.min_probability > 0:
        # Sums of integers are exact in float64: the result does not depend on the order of the pixels.
        total = np.bincount(cells, weights=probability, minlength=count)
        kept &= total >= 255 * decoding.min_probability * area
    return kept


def _distance(foreground: np.ndarray) -> np.ndarray:
    if foreground.all():  # without background SciPy's distance is arbitrary
        return np.full(foreground.shape, _FARTHEST, np.uint16)
    distance = _DISTANCE_UNIT * ndi.distance_transform_edt(foreground)
    return np.minimum(np.rint(distance), _FARTHEST).astype(np.uint16)


def _near_unknown(distance: np.ndarray, depth: EdgeDepth, unknown: int) -> np.ndarray:
    """Return a mask of the pixels whose way depends on a distance that may be less in a larger window."""
    if depth.closed:
        return np.zeros(distance.shape, bool)
    rows, columns = (
        np.minimum((axis + 1 - unknown) * _DISTANCE_UNIT, _FARTHEST + 1)
        for axis in (depth.rows, depth.columns)
    )
    return ndi.maximum_filter((distance >= rows[:, None]) | (distance >= columns), 2 * watershed.ZONE + 1)
