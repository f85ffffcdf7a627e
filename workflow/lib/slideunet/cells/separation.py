"""From the maps of a prediction to separated cells, by one of several methods.

components      connected components of the foreground
watershed       these divided at their necks, by their shape
distance        these divided along the valleys of the distance to the cell's edge that the network learned
centres         see `slideunet.cells.centres`

The watersheds flood a distance, Euclidean or learned, from its maxima; neighbouring basins are joined when
the saddle between them is nearly as high as the lower of their two peaks. The test is relative to the peak,
so one setting serves small and large nuclei (the dynamics of Grimaud 1992, made scale-free).
Every step looks a bounded distance away or stays within one connected component, and ties are broken by a
hash of the pixel's position: the result is the same however the image is cut.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from slideunet.cells import centres
from slideunet.cells.methods import NEEDED, Method
from slideunet.cells.positions import position_hash

Maps = Mapping[str, np.ndarray]

SEPARATION_VERSION = "2"
"""Part of the fingerprint of every labelling: raise it when the same probabilities would give other cells."""

# Chosen among 32 settings by AP@0.5-0.95 over 60 fluorescence images of BBBC038 (nuclei of 9 to 96 px) whose
# true foreground was separated, no holes filled: 0.912, against at best 0.868 for smoothed peaks without
# joining, 0.907 for a fixed depth of the saddle and 0.803 for connected components. With the foreground
# roughened: 0.811, against 0.778, 0.801 and 0.692.
SMOOTHING = 1.0
MERGE_RATIO = 0.92
# Chosen on the validation part of DSB2018's fluorescence images; see docs/accuracy.md.
LEARNED_MERGE_RATIO = 0.9

# Far below any real difference of smoothed distances, far above their rounding errors.
_JITTER = 1e-4
_NEIGHBOURS = ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))
_DIAGONALS_TOO = np.ones((3, 3), dtype=bool)


def separate(
    maps: Maps,
    threshold: float,
    method: Method,
    min_area: int = 10,
    origin: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Label every cell of a prediction.

    Parameters
    ----------
    maps : mapping of str to ndarray (y, x) of uint8
        "foreground", its probability (255 = certain), and those that the method needs.
    threshold : float in (0, 1)
        See `foreground_cut`.
    method : "components", "watershed", "distance" or "centres"
    min_area : int
        In pixels. Smaller cells are dropped, and smaller holes are filled first: a hole draws a false valley
        into the distances. (In the images above, filling gaps between true cells costs 0.005 of AP; not
        filling costs 0.14 when one pixel in a thousand is missing.)
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide, when the array is a part of it.

    Returns
    -------
    ndarray (y, x) of uint32
        0 = background. Every cell is connected through pixel sides, so that its outline is one polygon. The
        ids are consecutive but in no particular order; see `slideunet.cells.numbering`.

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described.
    """
    _check(maps, method)
    foreground = fill_holes(maps["foreground"] >= foreground_cut(threshold), min_area)
    if method == "components":
        labels, _ = ndi.label(foreground)
    elif method == "watershed":
        labels = _flood(foreground, _distance(foreground), MERGE_RATIO, origin)
    elif method == "distance":
        labels = _flood(foreground, maps["distance"] * foreground, LEARNED_MERGE_RATIO, origin)
    else:
        labels = centres.divide(foreground, maps["centre"], maps["dy"], maps["dx"], origin).labels
    return drop_small(labels, min_area)


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


def drop_small(labels: np.ndarray, min_area: int) -> np.ndarray:
    """Remove the labels (y, x) of less than `min_area` pixels and close up the ids, in uint32."""
    areas = np.bincount(labels.ravel())
    kept = areas >= max(min_area, 1)
    kept[0] = False
    new = np.zeros(len(areas), dtype=np.uint32)
    new[kept] = np.arange(1, np.count_nonzero(kept) + 1)
    return new[labels]


def _flood(
    foreground: np.ndarray, distance: np.ndarray, merge_ratio: float, origin: tuple[int, int]
) -> np.ndarray:
    """Divide a foreground (y, x) along the valleys of a distance (y, x)."""
    height = ndi.gaussian_filter(distance.astype(np.float64), SMOOTHING, truncate=3.0)
    rows, columns = (np.arange(first, first + side) for first, side in zip(origin, height.shape, strict=True))
    height += _JITTER * position_hash(rows[:, None], columns[None, :])
    peaks = _peaks(np.where(foreground, height, -1.0)) & foreground
    seeds, count = ndi.label(peaks)
    basins = watershed(-height, seeds, mask=foreground)
    tops = np.zeros(count + 1)
    tops[basins[peaks]] = height[peaks]
    return _join(basins, *_saddles(basins, height), tops, merge_ratio)


def _peaks(height: np.ndarray) -> np.ndarray:
    """Mark the pixels (y, x) that no neighbour across a side overtops; so every component has one."""
    peaks = np.ones(height.shape, dtype=bool)
    for one, other in _NEIGHBOURS:
        peaks[one] &= height[one] >= height[other]
        peaks[other] &= height[other] >= height[one]
    return peaks


def _distance(foreground: np.ndarray) -> np.ndarray:
    if foreground.all():  # no background to measure from: SciPy's answer would be arbitrary
        return np.ones(foreground.shape)
    return ndi.distance_transform_edt(foreground)


def _saddles(basins: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the touching basins (n, 2) and the highest pass between each two (n,), highest first."""
    pairs, passes = [], []
    for one, other in _NEIGHBOURS:
        first, second = basins[one], basins[other]
        touching = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.stack([first[touching], second[touching]], axis=1))
        passes.append(np.minimum(height[one][touching], height[other][touching]))
    pair, saddle = np.sort(np.concatenate(pairs), axis=1), np.concatenate(passes)
    order = np.argsort(-saddle, kind="stable")
    # np.unique gives the first, that is the highest, of the contacts between two basins.
    first_contact = np.sort(np.unique(pair[order], axis=0, return_index=True)[1])
    return pair[order][first_contact], saddle[order][first_contact]


def _join(
    basins: np.ndarray, pairs: np.ndarray, saddles: np.ndarray, tops: np.ndarray, merge_ratio: float
) -> np.ndarray:
    """Join the basins, from the highest saddle down, that no clear valley divides."""
    root = np.arange(len(tops))

    def find(basin: int) -> int:
        while root[basin] != basin:
            root[basin] = root[root[basin]]
            basin = root[basin]
        return basin

    for (first, second), saddle in zip(pairs, saddles, strict=True):
        lower, higher = sorted((find(first), find(second)), key=tops.__getitem__)
        if lower != higher and saddle >= merge_ratio * tops[lower]:
            root[lower] = higher
    return np.array([find(basin) for basin in range(len(tops))])[basins]
