"""Boundaries: how far the outlines of matched objects and cells are apart, in pixels.

An outline is made of the pixels of an object above, below, left or right of which there is another label. The
border of the slide is no outline, nor are pixels under the ignore label or beside it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import KDTree

from slideunet.geometry.blocks import Region
from slideunet.scoring.counts import Counts
from slideunet.scoring.crowding import edges
from slideunet.scoring.matching import match_arrays
from slideunet.scoring.overlaps import count_overlaps
from slideunet.truth.ignore_label import IGNORE_LABEL, cells_alone

TOLERANCE = 2
"""Pixels at which two outlines still agree."""
MARGIN = 128
"""Pixels around a block in which its pairs are measured; the few that reach beyond are left out."""
SEARCHED = 6
"""Distances up to here are found by looking at every place in turn, larger ones in a tree of points."""
STEPS = 2.0**20
"""Distances and scores are rounded to multiples of 2^-20, so that their sums are exact in any order."""
CLASSES = 33
"""Class k has the distances above (k - 1) / 2 up to k / 2 px; the last one everything above 15.5 px."""


@dataclass(frozen=True)
class BoundaryCounts(Counts):
    """Agreement of outlines.

    Attributes
    ----------
    n : int
        Matches at IoU 0.5 that were measured.
    sum_hd95, sum_f1 : float
        Sum over these of the 95th-percentile Hausdorff distance in pixels, and of boundary F1.
    hd95 : tuple[int, ...]
        Number of them by class of that distance, see `CLASSES`.
    true_outline, true_near : int
        Outline pixels of all objects, and those at most `TOLERANCE` from the outline of any cell.
    cell_outline, cell_near : int
        The same of all cells and any object.
    """

    n: int = 0
    sum_hd95: float = 0.0
    sum_f1: float = 0.0
    hd95: tuple[int, ...] = (0,) * CLASSES
    true_outline: int = 0
    true_near: int = 0
    cell_outline: int = 0
    cell_near: int = 0


NO_BOUNDARIES = BoundaryCounts()


@dataclass(frozen=True)
class _Outline:
    """Outline pixels (n,) of one image, each with the number of its pair, from 1; 0 without one."""

    y: NDArray[np.intp]
    x: NDArray[np.intp]
    pair: NDArray[np.uint32]

    def of(self, chosen: NDArray[np.bool_]) -> "_Outline":
        return _Outline(self.y[chosen], self.x[chosen], self.pair[chosen])


def count_boundaries(
    truth: NDArray[np.integer], cells: NDArray[np.integer], block: Region, cut: NDArray[np.bool_]
) -> BoundaryCounts:
    """Measure the outlines of one block; the counts of all blocks add up to those of the slide.

    Parameters
    ----------
    truth, cells : numpy.ndarray of integers, (y, x)
        Labels of the block and its margin.
    block : Region
        The block in these arrays. It has the pairs whose first common pixel is in it.
    cut : numpy.ndarray of bool, (y, x)
        Pixels beyond which the slide goes on: objects and cells there may be incomplete.
    """
    left_out = binary_dilation(ignored) if (ignored := truth == IGNORE_LABEL).any() else ignored
    objects, cell_ids = _pairs(truth, cells, block, cut)
    true = _outline(cells_alone(truth), left_out, objects)
    found = _outline(cells, left_out, cell_ids)
    measured = np.intersect1d(true.pair, found.pair)
    slide = _count_near(true, found, truth.shape, block)
    return slide + _count_pairs(true, found, measured[measured > 0], truth.shape)


def cut_border(window: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the outermost pixels of a window (y, x) on the sides where the slide of this shape goes on."""
    rows, columns = window
    cut = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    cut[0], cut[-1] = rows.start > 0, rows.stop < shape[0]
    cut[:, 0] |= columns.start > 0
    cut[:, -1] |= columns.stop < shape[1]
    return cut


def _pairs(
    truth: NDArray, cells: NDArray, block: Region, cut: NDArray[np.bool_]
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the ids of matched objects and of their cells (n,) that are complete and belong to the block."""
    rows = match_arrays(count_overlaps(truth, cells))
    rows = rows[rows["matched"]]
    y, x = np.divmod(rows["first"], truth.shape[1])
    own = (block[0].start <= y) & (y < block[0].stop) & (block[1].start <= x) & (x < block[1].stop)
    own &= ~np.isin(rows["truth"], truth[cut]) & ~np.isin(rows["cell"], cells[cut])
    return rows["truth"][own], rows["cell"][own]


def _outline(labels: NDArray, left_out: NDArray[np.bool_], ids: NDArray[np.integer]) -> _Outline:
    y, x = np.nonzero(edges(labels) & ~left_out)
    own, order = labels[y, x], np.argsort(ids)
    if len(ids) == 0:
        return _Outline(y, x, np.zeros(len(y), np.uint32))
    place = np.minimum(np.searchsorted(ids, own, sorter=order), len(ids) - 1)
    return _Outline(y, x, np.where(ids[order[place]] == own, order[place] + 1, 0).astype(np.uint32))


def _count_near(true: _Outline, found: _Outline, shape: tuple[int, ...], block: Region) -> BoundaryCounts:
    """Count outline pixels of a block near any outline of the other image (Csurka et al. 2013, BMVC)."""
    counts = []
    for outline, other in ((true, found), (found, true)):
        rows, columns = block
        inside = (rows.start <= outline.y) & (outline.y < rows.stop)
        own = outline.of(inside & (columns.start <= outline.x) & (outline.x < columns.stop))
        wanted, values = np.ones(len(own.y), np.bool_), np.ones(len(other.y), np.bool_)
        near = _nearest(own, wanted, other, values, shape, TOLERANCE) >= 0
        counts += [len(near), int(np.count_nonzero(near))]
    return BoundaryCounts(0, 0.0, 0.0, (0,) * CLASSES, *counts)


def _count_pairs(
    true: _Outline, found: _Outline, numbers: NDArray[np.uint32], shape: tuple[int, ...]
) -> BoundaryCounts:
    """Measure the pairs with these numbers, which have outline pixels in both images."""
    if len(numbers) == 0:
        return NO_BOUNDARIES
    true, found = true.of(np.isin(true.pair, numbers)), found.of(np.isin(found.pair, numbers))
    # Percentile and fraction of each direction, (2, n) each.
    far, near = np.transpose(
        [_by_pair(a, _distances(a, b, shape)) for a, b in ((true, found), (found, true))], (1, 0, 2)
    )
    hd95 = np.rint(far.max(axis=0) * STEPS) / STEPS
    f1 = 2 * near.prod(axis=0) / np.maximum(near.sum(axis=0), np.finfo(float).tiny)
    classes = np.bincount(np.minimum(np.ceil(2 * hd95), CLASSES - 1).astype(int), minlength=CLASSES)
    return BoundaryCounts(
        len(numbers), float(hd95.sum()), float(np.rint(f1 * STEPS).sum() / STEPS), tuple(classes.tolist())
    )


def _by_pair(outline: _Outline, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return of each pair the 95th percentile and the fraction within `TOLERANCE`, (2, n)."""
    order = np.lexsort((distance, outline.pair))
    distance = distance[order]
    _, starts, counts = np.unique(outline.pair[order], return_index=True, return_counts=True)
    place = starts + 0.95 * (counts - 1)  # linear interpolation, as numpy.percentile
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, starts + counts - 1)
    percentile = distance[low] + (place - low) * (distance[high] - distance[low])
    return np.stack([percentile, np.add.reduceat(distance <= TOLERANCE, starts, dtype=np.float64) / counts])


def _distances(outline: _Outline, other: _Outline, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the Euclidean distance of each pixel (n,) to the other outline of its pair."""
    squared = _nearest(outline, outline.pair, other, other.pair, shape, SEARCHED)
    distance = np.sqrt(np.maximum(squared, 0).astype(np.float64))
    if (missing := squared < 0).any():
        rest = outline.of(missing)
        other = other.of(np.isin(other.pair, rest.pair))
        # Pairs are layers farther from each other than any two pixels of the window.
        layer = 2.0 * sum(shape)
        tree = KDTree(np.stack([other.y, other.x, other.pair * layer], axis=-1))
        distance[missing] = tree.query(np.stack([rest.y, rest.x, rest.pair * layer], axis=-1))[0]
    return distance


def _nearest(
    outline: _Outline, wanted: NDArray, other: _Outline, values: NDArray, shape: tuple[int, ...], reach: int
) -> NDArray[np.int64]:
    """Return the squared distance of each pixel (n,) to the next of the other with its value; -1 beyond."""
    width = shape[1] + 2 * reach
    target = np.zeros((shape[0] + 2 * reach) * width, values.dtype)
    target[(other.y + reach) * width + other.x + reach] = values
    squared = np.full(len(wanted), -1, np.int64)
    left, place = np.arange(len(wanted)), (outline.y + reach) * width + outline.x + reach
    for dy, dx in _offsets(reach):
        hit = target[place + (dy * width + dx)] == wanted
        squared[left[hit]] = dy * dy + dx * dx
        left, place, wanted = left[~hit], place[~hit], wanted[~hit]
    return squared


@cache
def _offsets(reach: int) -> tuple[tuple[int, int], ...]:
    """Return the steps (dy, dx) up to a length, the shortest first."""
    span = range(-reach, reach + 1)
    steps = [(dy, dx) for dy in span for dx in span if dy * dy + dx * dx <= reach * reach]
    return tuple(sorted(steps, key=lambda step: step[0] ** 2 + step[1] ** 2))
