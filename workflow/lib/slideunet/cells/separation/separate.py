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
from slideunet.cells.separation.holes import fill_holes
from slideunet.cells.separation.window_edge import EdgeDepth, SeparatedCells
from slideunet.geometry.bands import labels_at
from slideunet.geometry.blocks import Region
from slideunet.geometry.runs import runs_of

Maps = Mapping[str, np.ndarray]

SEPARATION_VERSION = "6"
"""Part of the fingerprint of every labelling: raise it when the same maps would give other cells."""

MERGE_RATIOS: dict[Method, float] = {
    # Chosen among 32 settings by AP@0.5-0.95 on 60 fluorescence images of BBBC038 (nuclei of 9 to 96 px),
    # from the true foreground, without hole filling: 0.912, against at best 0.868 with smoothed peaks and no
    # merging, 0.907 with a fixed depth of the saddle and 0.803 with connected components. With a roughened
    # foreground: 0.811, against 0.778, 0.801 and 0.692.
    "watershed": 0.92,
    # For cells of at most 12 px, see `watershed.FULL_RATIO_AREA`. Chosen by the mean over five sources, each
    # at three sizes; see docs/notebook/accuracy.md.
    "distance": 0.85,
}
"""Default merge ratio of the methods that merge basins, for models without a tuned one."""

_DISTANCE_UNIT = 64  # steps of the Euclidean distance per pixel
_FARTHEST = np.iinfo(np.uint16).max


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
    cells = separate_window(maps, decoding, origin)
    return cells.runs.of(final_numbers(cells, maps["foreground"], decoding)).image()


def final_numbers(
    cells: SeparatedCells, probability: np.ndarray, decoding: Decoding, inner: Region | None = None
) -> np.ndarray:
    """Return the number of each cell among those that are large and probable enough.

    Parameters
    ----------
    cells : SeparatedCells
    probability : ndarray (y, x) of uint8
        Of the foreground, round(255 p).
    decoding : Decoding
    inner : tuple of slice, optional
        Cells without a pixel in this part of the window are left out.

    Returns
    -------
    ndarray (n + 1,) of uint32: 1 to the number of cells, 0 for background and for what is left out.
    """
    runs, count = cells.runs, len(cells.uncertain)
    totals = runs.totals(probability, count) if decoding.min_probability > 0 else None
    kept = kept_cells(runs.areas(count), totals, decoding)
    if inner is not None:
        kept &= runs.present(inner, count)
    return (np.cumsum(kept) * kept).astype(np.uint32)


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
        return SeparatedCells(runs_of(labels), labels_at(labels, depth.below(unknown + 1), count + 1))
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


def kept_cells(areas: np.ndarray, totals: np.ndarray | None, decoding: Decoding) -> np.ndarray:
    """Select the cells that are large and probable enough.

    Parameters
    ----------
    areas : ndarray (n,) of int64
        Pixels of each number; there is no cell where it is 0.
    totals : ndarray (n,) of float64, or None
        Sums of the foreground probability, round(255 p), over these pixels; not needed without a least one.
    decoding : Decoding

    Returns
    -------
    ndarray (n,) of bool.
    """
    kept: np.ndarray = areas >= max(decoding.min_area, 1)
    if decoding.min_probability > 0 and totals is not None:
        kept &= totals >= 255 * decoding.min_probability * areas
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
