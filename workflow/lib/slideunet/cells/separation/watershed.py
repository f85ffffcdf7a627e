"""Watershed by steepest ascent: every pixel climbs to its highest neighbour, and so on to a peak.

If all heights differ, this is the flooding watershed with all maxima as markers
(skimage.segmentation.watershed), computed for all foreground pixels at once and without a queue. Basins are
joined if the pass between them is nearly as high as the lower peak. The test is relative to the peak, so one
setting fits small and large nuclei (the dynamics of Grimaud 1992, made scale-free). Two steps, both local:

1. A basin is a shoulder of the higher basin behind its highest pass if that pass is at least `merge_ratio` of
   the basin's own peak; and so on, up to a summit.
2. The basins of two summits are one cell if a pass between them is at least `merge_ratio` of the lower one;
   `by_size` this ratio falls with the square root of the diameter of both together, see `FULL_RATIO_AREA`.

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
from slideunet.geometry.bands import BAND, bands, labels_at
from slideunet.geometry.blocks import cuts
from slideunet.geometry.runs import runs_of

ZONE = 3
"""Pixels at least so far inside of where the distance is known climb as in the whole slide: 2 for smoothing,
1 for their neighbours."""

FULL_RATIO_AREA = 36 * np.pi
"""Of a disc of 12 px. Texture makes deeper valleys in larger cells, so the merge ratio of two groups of
basins falls with the fourth root of the area of both beyond this one (decision 0018)."""
LEAST_FACTOR = 0.5
"""Reached at 48 px: with less, more large nuclei of tissue that touch are merged."""


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
    keys, width = _keys(foreground, height, origin)
    peaks, basins = _climb(keys, width)
    pairs, passes = _passes(keys, width, basins)
    padded = basins.reshape(-1, width)[1:-1, :-1]
    runs, unsure = runs_of(padded), np.zeros(len(peaks), bool)
    if doubtful is not None:
        unsure = labels_at(padded, doubtful, len(peaks) + 1)[1:]
        unsure[pairs[unsure[pairs].any(axis=1)]] = True  # the peaks of their neighbours are unsure
    areas = runs.areas(len(peaks) + 1)[1:] if by_size else None
    cells = _join(keys[peaks], areas, pairs, passes, merge_ratio, unsure)
    uncertain = np.zeros(int(cells.max(initial=-1)) + 2, bool)
    uncertain[cells[unsure] + 1] = True
    of_basin = np.concatenate([[0], cells + 1]).astype(np.int32)
    return SeparatedCells(runs.of(of_basin), uncertain)


def _keys(foreground: np.ndarray, height: np.ndarray, origin: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return keys that order pixels by height, equal heights by position, and the length of their rows.

    They are positive in the foreground, 0 outside of it and around the image: above and below it is a row of
    zeros, beside it one column, which is right of a row and left of the next.
    """
    rows, width = len(foreground), foreground.shape[1] + 1
    keys = np.zeros((rows + 2, width), np.uint32)
    columns = np.arange(width - 1) + origin[1]
    for part in bands(foreground.shape):
        places = np.arange(part.start, part.stop)[:, None] + origin[0]
        key = position_hash(places, columns) >> np.uint32(16)
        key |= height[part].astype(np.uint32) << np.uint32(16)
        np.maximum(key, 1, out=key)
        np.multiply(key, foreground[part], out=keys[part.start + 1 : part.stop + 1, :-1])
    return keys.ravel(), width


def smoothed(distance: np.ndarray) -> np.ndarray:
    """Smooth a distance map (y, x) of uint8 or uint16 with a binomial of variance 1 along both axes: uint16.

    The result for uint8 is 256 times as large, which avoids rounding.
    """
    exact = distance.dtype == np.uint8
    padded = np.pad(distance, 2, mode="symmetric")
    smooth = np.empty(distance.shape, np.uint16)
    for part in bands(distance.shape):
        sums: np.ndarray = padded[part.start : part.stop + 4].astype(np.uint16 if exact else np.uint32)
        for _ in range(4):  # [1, 1] four times is [1, 4, 6, 4, 1]
            sums = sums[1:] + sums[:-1]
        for _ in range(4):
            sums = sums[:, 1:] + sums[:, :-1]
        smooth[part] = sums if exact else sums >> 8
    return smooth


def _climb(keys: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the peaks (n,), in raster order, and the basin (1 to n, or 0) of each place."""
    # The place that a pixel points to; of a peak, and of all that has arrived at it, minus the peak's number.
    target = np.zeros(len(keys), np.int32)
    peaks, below, count = [np.zeros(0, np.intp)], [], 0
    for part in cuts(slice(width, len(keys) - width), BAND):
        uphill = _steepest(keys, part, width)
        climbing = np.flatnonzero(uphill) + part.start
        target[climbing] = climbing + uphill[climbing - part.start]
        peaks.append(np.flatnonzero((uphill == 0) & (keys[part] > 0)) + part.start)
        target[peaks[-1]] = -1 - count - np.arange(len(peaks[-1]))
        below.append(climbing.astype(np.int32))
        count += len(peaks[-1])
    # Downwards and upwards in turns: ways lead in both directions.
    while below := [left for places in reversed(below) if len(left := _follow(target, places))]:
        pass
    return np.concatenate(peaks), np.negative(target, out=target)


def _steepest(keys: np.ndarray, part: slice, width: int) -> np.ndarray:
    """Return the step (n,) of int32 from each place of a part to its highest neighbour, if one is higher."""
    top, uphill = keys[part].copy(), np.zeros(part.stop - part.start, np.int32)
    for step in (-width, -1, 1, width):
        neighbour = keys[part.start + step : part.stop + step]
        np.copyto(uphill, step, where=neighbour > top)
        np.maximum(top, neighbour, out=top)
    uphill *= keys[part] > 0
    return uphill


def _follow(target: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Point places to the targets of their targets, again and again; return those that have not arrived."""
    for _ in range(4):  # while they are in the cache; more or fewer take longer
        further = target[target[places]]
        target[places] = further
        places = places[further > 0]
    return places


def _passes(keys: np.ndarray, width: int, basins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of basins that touch (m, 2), 0 to n - 1, and the pass of each, highest first."""
    contacts = [np.zeros((3, 0), np.uint32)]
    for part in cuts(slice(width, len(keys) - width), BAND):
        for step in (1, width):
            beside = slice(part.start + step, part.stop + step)
            a, b = basins[part], basins[beside]
            places = np.flatnonzero((a != b) & (a > 0) & (b > 0))
            height = np.minimum(keys[part][places], keys[beside][places])
            contacts.append(
                np.stack([a[places] - 1, b[places] - 1, height], dtype=np.uint32, casting="unsafe")
            )
    first, second, height = np.concatenate(contacts, axis=1)
    pair = np.minimum(first, second).astype(np.int64) << 32 | np.maximum(first, second)
    pairs, index = np.unique(pair, return_inverse=True)
    highest = np.zeros(len(pairs), np.uint32)
    np.maximum.at(highest, index, height)
    order = np.argsort(~highest, kind="stable")
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)[order], highest[order]


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
    """Return the factor (m,), 0.5 to 1, of the merge ratio of pairs (m, 2) of groups by their areas (n,).

    A group of basins with one summit that may grow in a larger window is taken for infinite beside one that
    does not; two of them are uncertain in any case, and are taken as seen. Roots, unlike powers, are the same
    on every machine.
    """
    grows = np.zeros(len(areas), bool)
    grows[growing] = True
    first, second = grows[pairs].T
    both = np.where(first != second, np.inf, areas[pairs].sum(axis=1))
    return np.clip(np.sqrt(np.sqrt(FULL_RATIO_AREA / both)), LEAST_FACTOR, 1)
