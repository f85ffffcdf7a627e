"""Watershed by climbing: every pixel goes uphill to its highest neighbour, and so to a peak.

With no two heights alike this is the watershed that floods from every maximum (skimage.segmentation.watershed
with these as markers), but for all pixels of the foreground at once and without a queue. Neighbouring basins
are joined when the saddle between them is nearly as high as the lower of their two peaks. The test is
relative to the peak, so one setting serves small and large nuclei (the dynamics of Grimaud 1992, made
scale-free).

Heights are whole numbers and equal ones are told apart by a hash of the pixel's position: the result is the
same on every machine and however the image is cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slideunet.cells.separation.tie_break import position_hash

# What a component depends on lies at most this far from it: smoothing, and a distance measured there.
ZONE = 5


@dataclass(frozen=True)
class ComponentSeparation:
    """Cells, each of which depends on nothing but its own component of the foreground.

    Attributes
    ----------
    labels : ndarray (y, x) of integers
        Cells 1..n, 0 is background.
    components : ndarray (n + 1,) of integers
        Number of the component of each cell.
    """

    labels: np.ndarray
    components: np.ndarray
    zone: int = ZONE

    def unsure(self, inner: tuple[slice, slice], sides: Iterable[tuple[slice, slice]]) -> int:
        """Count the components that have pixels inside a part and at a side behind which the slide goes on.

        Parameters
        ----------
        inner : (rows, columns)
            The part.
        sides : iterable of (rows, columns)
            The zones, `zone` wide, along those sides of the window.
        """
        outside = np.zeros(int(self.components.max(initial=0)) + 1, bool)
        for side in sides:
            outside[self.components[np.unique(self.labels[side])]] = True
        if not outside.any():
            return 0
        inside = np.zeros_like(outside)
        seen = np.zeros(len(self.components), bool)
        seen[self.labels[inner]] = True
        inside[self.components[seen]] = True
        inside[0] = False
        return int(np.count_nonzero(inside & outside))


def flood(
    foreground: np.ndarray, height: np.ndarray, merge_ratio: float, origin: tuple[int, int]
) -> ComponentSeparation:
    """Divide a foreground along the valleys of a height.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    height : ndarray (y, x) of uint16
        See `smoothed`.
    merge_ratio : float
        Two basins are one cell when the saddle between them is at least this part of the lower peak.
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.
    """
    # A frame of zeros, so that every pixel has neighbours.
    rows, columns = np.divmod(np.flatnonzero(foreground), foreground.shape[1])
    width = foreground.shape[1] + 2
    places = (rows + 1) * width + columns + 1
    keys = np.zeros((foreground.shape[0] + 2) * width, np.uint32)
    keys[places] = _keys(height[rows, columns], rows + origin[0], columns + origin[1])
    numbers = np.zeros(len(keys), np.int32)
    numbers[places] = np.arange(1, len(places) + 1)
    peaks, basins = _climb(keys, numbers, places, width)
    pairs, passes = _saddles(keys, numbers, places, width, basins)
    cells = _join(keys[places[peaks]], pairs, passes, merge_ratio)
    _, components = connected_components(
        coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(len(peaks), len(peaks)))
    )
    _, first, cells = np.unique(cells, return_index=True, return_inverse=True)
    labels = np.zeros(foreground.shape, np.int32)
    labels[rows, columns] = cells[basins] + 1
    return ComponentSeparation(labels, np.concatenate([[0], components[first] + 1]))


def smoothed(distance: np.ndarray) -> np.ndarray:
    """Smooth a distance (y, x) of uint8 or uint16 with a binomial of variance 1 along both axes: uint16.

    What comes out of uint8 is 256 times as large, so that nothing is rounded.
    """
    exact = distance.dtype == np.uint8
    framed: np.ndarray = np.pad(distance, 2, mode="symmetric").astype(np.uint16 if exact else np.uint32)
    for _ in range(4):  # [1, 1] four times is [1, 4, 6, 4, 1]
        framed = framed[1:] + framed[:-1]
    for _ in range(4):
        framed = framed[:, 1:] + framed[:, :-1]
    return framed if exact else (framed >> 8).astype(np.uint16)


def _keys(height: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return numbers from 1 on (uint32) that order pixels by their height, equal ones by their position."""
    return np.maximum(height.astype(np.uint32) << 16 | position_hash(rows, columns) >> 16, 1)


def _climb(
    keys: np.ndarray, numbers: np.ndarray, places: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that are peaks (n,), in raster order, and the basin (0 to n - 1) of every pixel."""
    best, top = places.copy(), keys[places]
    for step in (-width, -1, 1, width):
        near = keys[places + step]
        higher = near > top
        top[higher] = near[higher]
        best[higher] = places[higher] + step
    goal = numbers[best] - 1
    while not np.array_equal(further := goal[goal], goal):
        goal = further
    is_peak = goal == np.arange(len(goal))
    return np.flatnonzero(is_peak), (np.cumsum(is_peak) - 1)[goal]


def _saddles(
    keys: np.ndarray, numbers: np.ndarray, places: np.ndarray, width: int, basins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the basins that touch (m, 2) and the highest pass between each two (m,), highest first."""
    found = []
    for step in (1, width):
        own = np.flatnonzero(keys[places + step])
        other = numbers[places[own] + step] - 1
        touching = basins[own] != basins[other]
        own, other = own[touching], other[touching]
        found.append([basins[own], basins[other], np.minimum(keys[places[own]], keys[places[other]])])
    one, other, passes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    pair = np.minimum(one, other).astype(np.int64) << 32 | np.maximum(one, other)
    order = np.lexsort((pair, -passes.astype(np.int64)))
    # np.unique gives the first, that is the highest, of the contacts between two basins.
    order = order[np.sort(np.unique(pair[order], return_index=True)[1])]
    return np.stack([pair[order] >> 32, pair[order] & 0xFFFFFFFF], axis=1), passes[order]


def _join(tops: np.ndarray, pairs: np.ndarray, passes: np.ndarray, merge_ratio: float) -> np.ndarray:
    """Join the basins that no clear valley divides, from the highest saddle down; return the cell of each."""
    heights, needed = passes >> 16, merge_ratio * (tops >> 16)
    # Peaks only grow by joining, so the others are never joined.
    near = np.flatnonzero(heights >= needed[pairs].min(axis=1, initial=np.inf))
    root, top, limit = list(range(len(tops))), tops.tolist(), needed.tolist()

    def find(basin: int) -> int:
        while root[basin] != basin:
            root[basin] = root[root[basin]]
            basin = root[basin]
        return basin

    for (first, second), height in zip(pairs[near].tolist(), heights[near].tolist(), strict=True):
        one, other = find(first), find(second)
        lower, higher = (one, other) if top[one] < top[other] else (other, one)
        if lower != higher and height >= limit[lower]:
            root[lower] = higher
    return np.array([find(basin) for basin in range(len(tops))], np.int64)
