"""Cells by grouping pixels around predicted centres.

A pixel (y, x) votes for the position (y + dy, x + dx) and belongs to the nearest peak of the centre map. All
votes are short, so a cell does not depend on how the slide is cut into windows, however dense the tissue.

A *piece* is a connected set of pixels with the same peak. The largest piece of each peak is its main piece.
Other pieces, and pixels whose vote hits no peak, join the adjacent main piece with the longest common border;
without an adjacent main piece they are cells of their own. Hence all cells are connected.

After Panoptic-DeepLab (Cheng et al. 2020, arXiv:1911.10194).
"""

import itertools

import numpy as np
from scipy import ndimage as ndi
from skimage.measure import label as connected

from slideunet.cells.separation.tie_break import position_hash
from slideunet.cells.separation.window_edge import SeparatedCells
from slideunet.geometry.runs import runs_of
from slideunet.model_json import OFFSET_ZERO

# Chosen on the validation part of DSB2018; see docs/accuracy.md. Lengths are in pixels.
SMOOTHING = 1.5  # standard deviation of the Gaussian for the centre map
MIN_SEPARATION = 4  # least distance between two peaks along an axis
LEAST_PEAK = 20.0  # of 255
CATCH = 12  # largest distance of a vote from its peak
REACH = 64  # longest vote; farther pixels join an adjacent cell

ZONE = REACH + CATCH + MIN_SEPARATION + int(3 * SMOOTHING + 0.5) + 1
"""A pixel's peak depends on pixels at most this far away: by its vote, the peak's distance and the
smoothing."""

# Breaks ties between peaks: far below real differences of the smoothed map, far above its rounding errors.
_JITTER = 0.01
# How many contacts away a piece may matter for a cell: the cell of a piece has a main piece (1), which other
# pieces join (2) unless they prefer another main piece (3); and one contact to spare.
_CONTACTS = 4
# Offsets of all pixels in a disc of radius `CATCH`, the farthest first.
_SQUARE = itertools.product(range(-CATCH, CATCH + 1), repeat=2)
_DISC = sorted(
    (p for p in _SQUARE if p[0] ** 2 + p[1] ** 2 <= CATCH**2), key=lambda p: -(p[0] ** 2) - p[1] ** 2
)
_ADJACENT = ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))


def group_by_centre(
    foreground: np.ndarray,
    centre: np.ndarray,
    dy: np.ndarray,
    dx: np.ndarray,
    origin: tuple[int, int],
    doubtful: np.ndarray | None = None,
) -> SeparatedCells:
    """Split a foreground into cells.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    centre, dy, dx : ndarray (y, x) of uint8
        See `network.architecture.output_maps`.
    origin : tuple of int
        Position (y, x) of the first pixel in the whole slide.
    doubtful : ndarray (y, x) of bool, optional
        Pixels at most `ZONE` from others that are unknown.
    """
    peaks = find_peaks(foreground, centre, origin)
    owners = _peak_of_pixels(foreground, dy, dx, peaks)
    pieces = connected(owners, background=0, connectivity=1).astype(np.int32, copy=False)
    sources = _sources(pieces, owners, len(peaks))
    contacts, borders = _contacts(pieces)
    cells = _cells_of_pieces(np.bincount(pieces.ravel()), sources, len(peaks), contacts, borders)
    uncertain = np.zeros(int(cells.max(initial=0)) + 1, bool)
    if doubtful is not None:
        uncertain[cells[_uncertain_sources(pieces, sources, contacts, peaks, doubtful)[sources]]] = True
    return SeparatedCells(runs_of(pieces).of(cells), uncertain)


def _uncertain_sources(
    pieces: np.ndarray, sources: np.ndarray, contacts: np.ndarray, peaks: np.ndarray, doubtful: np.ndarray
) -> np.ndarray:
    """Return whether the cells of each source may depend on doubtful pixels, by `_CONTACTS` at most."""
    uncertain = np.zeros(int(sources.max(initial=0)) + len(peaks) + 1, bool)
    uncertain[sources[np.unique(pieces[doubtful])]] = True
    uncertain[1 + np.flatnonzero(doubtful[tuple(peaks.T)])] = True
    uncertain[0] = False
    first, second = sources[contacts].T
    for _ in range(_CONTACTS):
        touched = uncertain[first] | uncertain[second]
        uncertain[first[touched]] = uncertain[second[touched]] = True
    return uncertain


def find_peaks(foreground: np.ndarray, centre: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Return row and column (n, 2) of the peaks of a centre map, in raster order."""
    # float64, because float32 would round many different hashes to the same height.
    height = ndi.gaussian_filter(centre.astype(np.float64), SMOOTHING, truncate=3.0)
    high = np.flatnonzero((height >= LEAST_PEAK) & foreground)
    rows, columns = np.divmod(high, height.shape[1])
    height.ravel()[high] += _JITTER / 2**32 * position_hash(rows + origin[0], columns + origin[1])
    highest = ndi.maximum_filter(height, 2 * MIN_SEPARATION - 1)
    peaks = high[height.ravel()[high] == highest.ravel()[high]]
    return np.stack(np.divmod(peaks, height.shape[1]), axis=1)


def _peak_of_pixels(foreground: np.ndarray, dy: np.ndarray, dx: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return the peak (1..n) of each foreground pixel, n + 1 where its vote hits none."""
    pixels = np.flatnonzero(foreground)
    down, right = (offset.ravel()[pixels].astype(np.int32) - OFFSET_ZERO for offset in (dy, dx))
    within_reach = down * down + right * right <= REACH * REACH
    height, width = foreground.shape
    rows, columns = np.divmod(pixels, width)
    rows, columns = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
    hit = _nearest_peak(foreground.shape, peaks).ravel()[rows * width + columns]
    owners = np.zeros(foreground.shape, np.int32)
    owners.ravel()[pixels] = np.where(within_reach & (hit > 0), hit, len(peaks) + 1)
    return owners


def _nearest_peak(shape: tuple[int, ...], peaks: np.ndarray) -> np.ndarray:
    """Return the nearest peak (1..n) of each pixel, 0 if none is within `CATCH`."""
    padded = np.zeros([side + 2 * CATCH for side in shape], np.int32)
    flat = (peaks[:, 0] + CATCH) * padded.shape[1] + peaks[:, 1] + CATCH
    ids = np.arange(1, len(peaks) + 1, dtype=np.int32)
    for down, right in _DISC:  # nearer peaks overwrite farther ones
        padded.ravel()[flat + down * padded.shape[1] + right] = ids
    return padded[CATCH:-CATCH, CATCH:-CATCH]


def _sources(pieces: np.ndarray, owners: np.ndarray, n_peaks: int) -> np.ndarray:
    """Return the peak of each piece; pieces without one are numbered from n_peaks + 1."""
    sources = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
    inside = np.flatnonzero(pieces)
    sources[pieces.ravel()[inside]] = owners.ravel()[inside]
    without_peak = sources > n_peaks
    sources[without_peak] = n_peaks + 1 + np.arange(np.count_nonzero(without_peak))
    return sources


def _contacts(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pairs of 4-connected pieces (m, 2) and the lengths of their common borders (m,)."""
    pairs = []
    for here, there in _ADJACENT:
        first, second = pieces[here], pieces[there]
        touching = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.stack([first[touching], second[touching]], axis=1))
    pair = np.sort(np.concatenate(pairs), axis=1)
    # A pair as one integer is sorted faster than a row of two.
    keys, borders = np.unique(pair[:, 0].astype(np.int64) << 32 | pair[:, 1], return_counts=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1), borders


def _cells_of_pieces(
    areas: np.ndarray, sources: np.ndarray, n_peaks: int, contacts: np.ndarray, borders: np.ndarray
) -> np.ndarray:
    """Return the cell (1..n) of each piece."""
    areas[0] = 0
    is_main = np.zeros(len(sources), bool)
    # The largest piece of each peak; among equal ones the first in raster order.
    order = np.lexsort((np.arange(len(areas)), -areas, sources))
    first = np.unique(sources[order], return_index=True)[1]
    is_main[order[first]] = True
    is_main &= (sources > 0) & (sources <= n_peaks)
    joined = np.arange(len(sources))
    directed = np.concatenate([np.c_[contacts, borders], np.c_[contacts[:, ::-1], borders]])
    moves = directed[~is_main[directed[:, 0]] & is_main[directed[:, 1]]]
    # By border length, ties by raster order: the last assignment to a piece wins.
    moves = moves[np.lexsort((-moves[:, 1], moves[:, 2]))]
    joined[moves[:, 0]] = moves[:, 1]
    return np.unique(joined, return_inverse=True)[1].astype(np.int32)
