"""Small holes in a foreground, found from the runs of pixels outside of it."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from slideunet.cells.separation.window_edge import EdgeDepth
from slideunet.geometry.runs import Runs, runs_of


def fill_holes(foreground: np.ndarray, min_area: int, depth: EdgeDepth) -> tuple[np.ndarray, int]:
    """Fill holes of fewer than `min_area` pixels; a gap at the edge of the image is not a hole.

    Parameters
    ----------
    foreground : ndarray (y, x) of bool
    min_area : int
    depth : EdgeDepth

    Returns
    -------
    ndarray (y, x) of bool
        The foreground.
    int
        How far gaps that may be small holes in a larger window extend from its open edges, in pixels.
    """
    runs = runs_of(~foreground)
    gap = _gaps(runs)
    small = np.bincount(gap, runs.lengths) < min_area
    height, width = foreground.shape
    first, last = runs.starts == 0, runs.starts + runs.lengths == width
    at_edge = first | last | (runs.rows == 0) | (runs.rows == height - 1)
    is_open = (
        (first & (depth.columns[0] < 1)) | (last & (depth.columns[-1] < 1)) | (depth.rows[runs.rows] < 1)
    )
    is_cut, is_hole = np.zeros_like(small), small.copy()
    is_cut[gap[is_open]] = True
    is_hole[gap[at_edge]] = False
    filled = foreground.copy()
    filled[runs.chosen(is_hole[gap]).pixels()] = True
    cut = runs.chosen((is_cut & small)[gap])
    return filled, depth.deepest(*cut.pixels()) + 1 if len(cut.rows) else 0


def _gaps(runs: Runs) -> np.ndarray:
    """Return to which gap (0 to n - 1), connected through sides and corners, each run belongs."""
    stride = runs.shape[1] + 2  # no run touches one of another row's end
    begin = runs.rows * stride + runs.starts
    end = begin + runs.lengths - 1
    # Those of the next row that a run touches; begins and ends ascend from run to run.
    low = np.searchsorted(end, begin + stride - 1)
    high = np.searchsorted(begin, end + stride + 1, side="right")
    below = np.append(0, np.cumsum(high - low))
    to = np.arange(below[-1]) + np.repeat(low - below[:-1], high - low)
    graph = csr_array((np.ones(len(to), bool), to, below), shape=[len(begin)] * 2)
    return connected_components(graph, directed=False)[1]
