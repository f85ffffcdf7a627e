"""Watershed by steepest ascent: every pixel climbs to its highest neighbour, and so on to a peak.

If all heights differ, this is the flooding watershed with all maxima as markers
(skimage.segmentation.watershed), computed for all foreground pixels at once and without a queue. Basins are
joined if the pass between them is nearly as high as the lower peak. The test is relative to the peak, so one
setting fits small and large nuclei (the dynamics of Grimaud 1992, made scale-free). Two steps, both local:

1. A basin is a shoulder of the higher basin behind its highest pass if that pass is at least `merge_ratio` of
   the basin's own peak; and so on, up to a summit.
2. The basins of two summits are one cell if a pass between them is at least `merge_ratio` of the lower one;
   `by_size` this ratio falls with the square root of the smaller one's diameter, see `FULL_RATIO_AREA`.

Hence a cell depends on its own pixels, and on how high and large its neighbours are, but on no cell farther
away: however many cells touch, a window that holds it and its neighbours suffices.

Heights are integers and ties are broken by a hash of the pixel's position: the result is the same on every
machine and does not depend on how the slide is cut into windows.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slideunet.cells.separation.tie_break import position_hash
from slideunet.cells.separation.window_edge import SeparatedCells

ZONE = 3
"""Pixels at least so far inside of where the distance is known climb as in the whole slide: 2 for smoothing,
1 for their neighbours."""

FULL_RATIO_AREA = 64 * np.pi
"""Of a disc of 16 px. Texture makes deeper valleys in larger cells, so the merge ratio of two groups of
basins falls with the fourth root of the smaller one's area beyond this one (decision 0010)."""


def split_at_valleys(
    foreground: np.ndarray,
    height: np.ndarray,
    merge_ratio: float,
    origin: tuple[int, int],
    doubtful: np.ndarray | None = None,
    by_size: bool = False,
) -> SeparatedCells:
    """Split a foreground along the valleys of a height map.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    height : ndarray (y, x) of uint16
        See `smoothed`.
    merge_ratio : float
        Two basins are one cell if the pass between them is at least this fraction of the lower peak.
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.
    doubtful : ndarray (y, x) of bool, optional
        Pixels that may climb elsewhere in a larger window, because they or their neighbours may differ.
    by_size : bool
        Whether the merge ratio falls with size.
    """
    rows, columns = np.divmod(np.flatnonzero(foreground), foreground.shape[1])
    width = foreground.shape[1] + 2  # padded with zeros, so that every pixel has neighbours
    places = (rows + 1) * width + columns + 1
    keys = np.zeros((foreground.shape[0] + 2) * width, np.uint32)
    # Positive keys that order pixels by height, equal heights by position.
    hashes = position_hash(rows + origin[0], columns + origin[1])
    keys[places] = np.maximum(height[rows, columns].astype(np.uint32) << 16 | hashes >> 16, 1)
    numbers = np.zeros(len(keys), np.int32)
    numbers[places] = np.arange(1, len(places) + 1)
    peaks, basins = _climb(keys, numbers, places, width)
    pairs, passes = _passes(keys, numbers, places, width, basins)
    unsure = np.zeros(len(peaks), bool)
    if doubtful is not None:
        unsure[basins[doubtful[rows, columns]]] = True
        unsure[pairs[unsure[pairs].any(axis=1)]] = True  # the peaks of their neighbours are unsure
    areas = np.bincount(basins, minlength=len(peaks)) if by_size else None
    cells = _join(keys[places[peaks]], areas, pairs, passes, merge_ratio, unsure)
    labels = np.zeros(foreground.shape, np.int32)
    labels[rows, columns] = (cells + 1)[basins]
    uncertain = np.zeros(int(cells.max(initial=-1)) + 2, bool)
    uncertain[cells[unsure] + 1] = True
    return SeparatedCells(labels, uncertain)


def smoothed(distance: np.ndarray) -> np.ndarray:
    """Smooth a distance map (y, x) of uint8 or uint16 with a binomial of variance 1 along both axes: uint16.

    The result for uint8 is 256 times as large, which avoids rounding.
    """
    exact = distance.dtype == np.uint8
    padded: np.ndarray = np.pad(distance, 2, mode="symmetric").astype(np.uint16 if exact else np.uint32)
    for _ in range(4):  # [1, 1] four times is [1, 4, 6, 4, 1]
        padded = padded[1:] + padded[:-1]
    for _ in range(4):
        padded = padded[:, 1:] + padded[:, :-1]
    return padded if exact else (padded >> 8).astype(np.uint16)


def _climb(
    keys: np.ndarray, numbers: np.ndarray, places: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the peaks (n,), in raster order, and the basin (0 to n - 1) of each pixel."""
    highest, top = places.copy(), keys[places]
    for step in (-width, -1, 1, width):
        neighbour = keys[places + step]
        higher = neighbour > top
        top[higher] = neighbour[higher]
        highest[higher] = places[higher] + step
    target = numbers[highest] - 1
    while not np.array_equal(further := target[target], target):
        target = further
    is_peak = target == np.arange(len(target))
    return np.flatnonzero(is_peak), (np.cumsum(is_peak) - 1)[target]


def _passes(
    keys: np.ndarray, numbers: np.ndarray, places: np.ndarray, width: int, basins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of basins that touch (m, 2) and the pass of each pair (m,), highest first."""
    contacts = []
    for step in (1, width):
        a = np.flatnonzero(keys[places + step])
        b = numbers[places[a] + step] - 1
        touching = basins[a] != basins[b]
        a, b = a[touching], b[touching]
        contacts.append([basins[a], basins[b], np.minimum(keys[places[a]], keys[places[b]])])
    first, second, height = (np.concatenate(parts) for parts in zip(*contacts, strict=True))
    pair = np.minimum(first, second).astype(np.int64) << 32 | np.maximum(first, second)
    order = np.lexsort((pair, -height.astype(np.int64)))
    # np.unique returns the first contact of each pair, which is the highest.
    order = order[np.sort(np.unique(pair[order], return_index=True)[1])]
    return np.stack([pair[order] >> 32, pair[order] & 0xFFFFFFFF], axis=1), height[order]


def _join(
    peaks: np.ndarray,
    areas: np.ndarray | None,
    pairs: np.ndarray,
    passes: np.ndarray,
    merge_ratio: float,
    unsure: np.ndarray,
) -> np.ndarray:
    """Return the cell (0 to n - 1) of each basin; with areas the ratio falls with size.

    An unsure basin is nobody's shoulder. Its summit is never taken for higher than it is, nor its group for
    smaller, so that it is rather joined than divided: a cell without unsure basins is the cell of every
    larger window.
    """
    heights, every = passes >> 16, np.arange(len(peaks))
    is_lower = peaks[pairs[:, 0]] < peaks[pairs[:, 1]]
    lower, higher = np.where(is_lower, pairs.T, pairs.T[::-1])
    high = heights >= merge_ratio * (peaks[lower] >> 16)
    basin, best = np.unique(lower, return_index=True)  # the first is the highest pass
    shoulder = high[best] & ~unsure[basin]
    parent = every.copy()
    parent[basin[shoulder]] = higher[best[shoulder]]
    while not np.array_equal(further := parent[parent], parent):
        parent = further
    least = merge_ratio * (peaks[parent] >> 16)[pairs].min(axis=1)
    if areas is not None:
        # Groups that an unsure basin is in or may be a shoulder of: the second step makes both one cell.
        growing = parent[np.concatenate([np.flatnonzero(unsure), higher[high & unsure[lower]]])]
        least = least * _factor(np.bincount(parent, areas, len(peaks)), growing, parent[pairs])
    joined = pairs[heights >= least]
    ends = np.concatenate([joined, np.stack([every, parent], axis=1)]).T
    graph = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(len(peaks), len(peaks)))
    return connected_components(graph, directed=False)[1]


def _factor(areas: np.ndarray, growing: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the factor (m,), at most 1, of the merge ratio of pairs (m, 2) of groups by their areas (n,).

    A group of basins with one summit that may grow in a larger window is taken for infinite beside one that
    does not; two of them are uncertain in any case, and are taken as seen. Roots, unlike powers, are the same
    on every machine.
    """
    largest = areas.astype(float)
    largest[growing] = np.inf
    smaller = largest[pairs].min(axis=1)
    smaller = np.where(np.isinf(smaller), areas[pairs].min(axis=1), smaller)
    return np.minimum(1, np.sqrt(np.sqrt(FULL_RATIO_AREA / smaller)))
