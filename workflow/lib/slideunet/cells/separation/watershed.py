"""Watershed by steepest ascent: every pixel climbs to its highest neighbour, and so on to a peak.

If all heights differ, this is the flooding watershed with all maxima as markers
(skimage.segmentation.watershed), computed for all foreground pixels at once and without a queue. Neighbouring
basins are merged if the saddle between them is nearly as high as the lower of their two peaks. The test is
relative to the peak, so one setting fits small and large nuclei (the dynamics of Grimaud 1992, made
scale-free).

Heights are integers and ties are broken by a hash of the pixel's position: the result is the same on every
machine and does not depend on how the slide is cut into windows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slideunet.cells.separation.tie_break import position_hash

ZONE = 5
"""A component depends on pixels at most this far outside of it, by smoothing and the distance measured
there."""


@dataclass(frozen=True)
class ComponentCells:
    """Cells that depend only on their own component of the foreground.

    Attributes
    ----------
    labels : ndarray (y, x) of integers
        Cells 1..n, 0 is background.
    components : ndarray (n + 1,) of integers
        Component of each cell.
    zone : int
        Width of the strip inside the window's edges in which pixels may depend on pixels outside.
    """

    labels: np.ndarray
    components: np.ndarray
    zone: int = ZONE

    def count_uncertain(self, inner: tuple[slice, slice], strips: Iterable[tuple[slice, slice]]) -> int:
        """Count the components in a part of the window that might be different in a larger window.

        Parameters
        ----------
        inner : (rows, columns)
            The part.
        strips : iterable of (rows, columns)
            Strips, `zone` pixels wide, along the edges of the window that are not edges of the slide.
        """
        cut = np.zeros(int(self.components.max(initial=0)) + 1, bool)
        for strip in strips:
            cut[self.components[np.unique(self.labels[strip])]] = True
        if not cut.any():
            return 0
        present = np.zeros(len(self.components), bool)
        present[self.labels[inner]] = True
        inside = np.zeros_like(cut)
        inside[self.components[present]] = True
        inside[0] = False
        return int(np.count_nonzero(inside & cut))


def split_at_valleys(
    foreground: np.ndarray, height: np.ndarray, merge_ratio: float, origin: tuple[int, int]
) -> ComponentCells:
    """Split a foreground along the valleys of a height map.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    height : ndarray (y, x) of uint16
        See `smoothed`.
    merge_ratio : float
        Two basins are one cell if the saddle between them is at least this fraction of the lower peak.
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.
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
    pairs, saddles = _saddles(keys, numbers, places, width, basins)
    cells = _merge(keys[places[peaks]], pairs, saddles, merge_ratio)
    _, components = connected_components(
        coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(peaks), len(peaks)))
    )
    _, first, cells = np.unique(cells, return_index=True, return_inverse=True)
    labels = np.zeros(foreground.shape, np.int32)
    labels[rows, columns] = cells[basins] + 1
    return ComponentCells(labels, np.concatenate([[0], components[first] + 1]))


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


def _saddles(
    keys: np.ndarray, numbers: np.ndarray, places: np.ndarray, width: int, basins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of basins that touch (m, 2) and the saddle of each pair (m,), highest first."""
    contacts = []
    for step in (1, width):
        a = np.flatnonzero(keys[places + step])
        b = numbers[places[a] + step] - 1
        touching = basins[a] != basins[b]
        a, b = a[touching], b[touching]
        contacts.append([basins[a], basins[b], np.minimum(keys[places[a]], keys[places[b]])])
    first, second, saddle = (np.concatenate(parts) for parts in zip(*contacts, strict=True))
    pair = np.minimum(first, second).astype(np.int64) << 32 | np.maximum(first, second)
    order = np.lexsort((pair, -saddle.astype(np.int64)))
    # np.unique returns the first contact of each pair, which is the highest.
    order = order[np.sort(np.unique(pair[order], return_index=True)[1])]
    return np.stack([pair[order] >> 32, pair[order] & 0xFFFFFFFF], axis=1), saddle[order]


def _merge(peaks: np.ndarray, pairs: np.ndarray, saddles: np.ndarray, merge_ratio: float) -> np.ndarray:
    """Merge basins without a clear valley between them, the highest saddle first; return their cells."""
    heights, least = saddles >> 16, merge_ratio * (peaks >> 16)
    # Merging only raises peaks, so pairs whose saddle is too low now are never merged.
    candidates = np.flatnonzero(heights >= least[pairs].min(axis=1, initial=np.inf))
    parent, top, limit = list(range(len(peaks))), peaks.tolist(), least.tolist()

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for (first, second), height in zip(pairs[candidates].tolist(), heights[candidates].tolist(), strict=True):
        a, b = root(first), root(second)
        lower, higher = (a, b) if top[a] < top[b] else (b, a)
        if lower != higher and height >= limit[lower]:
            parent[lower] = higher
    return np.array([root(basin) for basin in range(len(peaks))], np.int64)
