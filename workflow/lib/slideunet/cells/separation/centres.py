"""Cells from their centres: every pixel goes to the centre that the network points to from it.

A pixel votes for the place (y + dy, x + dx) and belongs to the peak of the centre map nearest to it. All of
this looks a bounded distance away, so a cell never depends on how the slide is cut, however dense the tissue.
Pixels whose vote finds no peak, and pieces that lie apart from the rest of their cell, go to the cell that
they share the longest border with; where there is none they are a cell of their own.

After Panoptic-DeepLab (Cheng et al. 2020, arXiv:1911.10194), with connected cells.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label as connected

from slideunet.cells.separation.tie_break import position_hash
from slideunet.model_json import OFFSET_ZERO

# Chosen on the validation part of DSB2018; see docs/accuracy.md.
SMOOTHING = 1.5  # Standard deviation, in pixels.
APART = 4  # Two peaks are at least this far apart along an axis, in pixels.
LEAST_PEAK = 20.0  # Of 255.
CATCH = 12  # How far from its peak a vote may fall, in pixels.
REACH = 64  # The longest way to a centre, in pixels; farther pixels go to the cell that they touch.

# A pixel's peak depends on the centre map this far away: its vote, the peak's distance and the smoothing.
ZONE = REACH + CATCH + APART + int(3 * SMOOTHING + 0.5) + 1
# Far below any real difference of smoothed maps, far above their rounding errors.
_JITTER = 0.01
_RINGS = 4  # Neighbours of neighbours on which it may depend which cell a piece belongs to.
_NEIGHBOURS = ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))


@dataclass(frozen=True)
class CentreSeparation:
    """Cells, and what they were made of.

    Attributes
    ----------
    labels : ndarray (y, x)
        Cells 1..n, 0 is background.
    pieces : ndarray (y, x)
        Connected pixels of one peak, or of none.
    sources : ndarray (pieces + 1,)
        The peak of each piece; a piece without one has a number of its own behind those of the peaks.
    contacts : ndarray (m, 2)
        Pieces that touch.
    peaks : ndarray (n, 2)
        Row and column of each; number 1 is the first.
    """

    labels: np.ndarray
    pieces: np.ndarray
    sources: np.ndarray
    contacts: np.ndarray
    peaks: np.ndarray
    zone: int = ZONE

    def unsure(self, inner: tuple[slice, slice], sides: Iterable[tuple[slice, slice]]) -> int:
        """Count what the cells inside a part depend on and what itself depends on pixels beyond the window.

        Parameters
        ----------
        inner : (rows, columns)
            The part.
        sides : iterable of (rows, columns)
            The zones, `zone` wide, along the sides of the window behind which the slide goes on.
        """
        doubtful = np.zeros(int(self.sources.max(initial=0)) + len(self.peaks) + 1, bool)
        seen = np.zeros(self.labels.shape, bool)
        for side in sides:
            seen[side] = True
            doubtful[self.sources[np.unique(self.pieces[side])]] = True
        if not doubtful.any():
            return 0
        doubtful[1 + np.flatnonzero(seen[tuple(self.peaks.T)])] = True
        needed = np.zeros_like(doubtful)
        needed[self.sources[np.unique(self.pieces[inner])]] = True
        one, other = self.sources[self.contacts].T
        for _ in range(_RINGS):
            touched = needed[one] | needed[other]
            needed[one[touched]] = needed[other[touched]] = True
        doubtful[0] = False
        return int(np.count_nonzero(doubtful & needed))


def separate_by_centres(
    foreground: np.ndarray, centre: np.ndarray, dy: np.ndarray, dx: np.ndarray, origin: tuple[int, int]
) -> CentreSeparation:
    """Divide a foreground into cells.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    centre, dy, dx : ndarray (y, x) of uint8
        See `slideunet.network.architecture.output_maps`.
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.
    """
    peaks = find_peaks(foreground, centre, origin)
    owners = _owners(foreground, dy, dx, peaks)
    pieces = connected(owners, background=0, connectivity=1).astype(np.int32, copy=False)
    sources = _sources(pieces, owners, len(peaks))
    contacts, borders = _contacts(pieces)
    cells = _cells(np.bincount(pieces.ravel()), sources, len(peaks), contacts, borders)
    return CentreSeparation(cells[pieces], pieces, sources, contacts, peaks)


def find_peaks(foreground: np.ndarray, centre: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Return row and column (n, 2) of the peaks of a centre map, in raster order."""
    # float64: in float32 too many hashes would be alike.
    height = ndi.gaussian_filter(centre.astype(np.float64), SMOOTHING, truncate=3.0)
    high = np.flatnonzero((height >= LEAST_PEAK) & foreground)
    # Equal heights are told apart by a hash of the position.
    rows, columns = np.divmod(high, height.shape[1])
    height.ravel()[high] += _JITTER / 2**32 * position_hash(rows + origin[0], columns + origin[1])
    top = ndi.maximum_filter(height, 2 * APART - 1)
    found = high[height.ravel()[high] == top.ravel()[high]]
    return np.stack(np.divmod(found, height.shape[1]), axis=1)


def _owners(foreground: np.ndarray, dy: np.ndarray, dx: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return the peak (1..n) of every pixel of the foreground, n + 1 where its vote finds none."""
    pixels = np.flatnonzero(foreground)
    down, right = (offset.ravel()[pixels].astype(np.int32) - OFFSET_ZERO for offset in (dy, dx))
    near = down * down + right * right <= REACH * REACH
    height, width = foreground.shape
    rows, columns = np.divmod(pixels, width)
    rows, columns = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
    caught = _nearest_peak(foreground.shape, peaks).ravel()[rows * width + columns]
    owners = np.zeros(foreground.shape, np.int32)
    owners.ravel()[pixels] = np.where(near & (caught > 0), caught, len(peaks) + 1)
    return owners


def _nearest_peak(shape: tuple[int, ...], peaks: np.ndarray) -> np.ndarray:
    """Return the nearest peak (1..n) of every pixel, 0 where none is nearer than `CATCH`."""
    padded = np.zeros([side + 2 * CATCH for side in shape], np.int32)
    flat = (peaks[:, 0] + CATCH) * padded.shape[1] + peaks[:, 1] + CATCH
    ids = np.arange(1, len(peaks) + 1, dtype=np.int32)
    for down, right in _DISC:
        padded.ravel()[flat + down * padded.shape[1] + right] = ids
    return padded[CATCH:-CATCH, CATCH:-CATCH]


def _disc() -> list[tuple[int, int]]:
    """Return the ways to all pixels of a disc, the farthest first; of two equally far, always the same."""
    ways = itertools.product(range(-CATCH, CATCH + 1), repeat=2)
    inside = [(y, x) for y, x in ways if y * y + x * x <= CATCH * CATCH]
    return sorted(inside, key=lambda way: way[0] ** 2 + way[1] ** 2, reverse=True)


_DISC = _disc()


def _sources(pieces: np.ndarray, owners: np.ndarray, n_peaks: int) -> np.ndarray:
    """Return the peak of every piece; those without one get the numbers from n_peaks + 1 on."""
    sources = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
    inside = np.flatnonzero(pieces)
    sources[pieces.ravel()[inside]] = owners.ravel()[inside]
    homeless = sources > n_peaks
    sources[homeless] = n_peaks + 1 + np.arange(np.count_nonzero(homeless))
    return sources


def _contacts(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces that touch across pixel sides (m, 2), each pair once, and how many they share."""
    pairs = []
    for one, other in _NEIGHBOURS:
        first, second = pieces[one], pieces[other]
        touching = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.stack([first[touching], second[touching]], axis=1))
    pair = np.sort(np.concatenate(pairs), axis=1)
    # One number per pair is sorted faster than a row of two.
    keys, borders = np.unique(pair[:, 0].astype(np.int64) << 32 | pair[:, 1], return_counts=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), borders


def _cells(
    areas: np.ndarray, sources: np.ndarray, n_peaks: int, contacts: np.ndarray, borders: np.ndarray
) -> np.ndarray:
    """Return the cell (1..n) of every piece."""
    areas[0] = 0
    main = np.zeros(len(sources), bool)
    # The largest piece of each peak; of equal ones the first in raster order.
    order = np.lexsort((np.arange(len(areas)), -areas, sources))
    first = np.unique(sources[order], return_index=True)[1]
    main[order[first]] = True
    main &= (sources > 0) & (sources <= n_peaks)
    goal = np.arange(len(sources))
    both = np.concatenate([np.c_[contacts, borders], np.c_[contacts[:, ::-1], borders]])
    moves = both[~main[both[:, 0]] & main[both[:, 1]]]
    # By the longest border, of equal ones to the first cell in raster order; written last wins.
    moves = moves[np.lexsort((-moves[:, 1], moves[:, 2]))]
    goal[moves[:, 0]] = moves[:, 1]
    return np.unique(goal, return_inverse=True)[1].astype(np.int32)
