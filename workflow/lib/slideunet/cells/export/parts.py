"""The parts of cells: their pixels that are connected through sides, found from runs of pixels."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from slideunet.cells.measurement.regions import Regions


def parts(regions: Regions) -> np.ndarray:
    """Number the parts of all cells.

    Only the pixels of cells are looked at, a run of them in a row at a time; `skimage.measure.label` looks at
    all pixels of the image. Boxes have frames, so no run touches one of another cell.

    Returns
    -------
    ndarray (p,) of int64
        For each pixel a number from 1 that no other part has. It is greater for later cells and, within one,
        for parts that begin later in raster order.
    """
    begins = np.diff(regions.places, prepend=-1) != 1
    ends = np.roll(begins, -1)
    part = _parts_of_runs(regions, np.flatnonzero(begins), np.flatnonzero(ends))
    first_run = np.unique(part, return_index=True)[1]
    return 1 + first_run[part][np.cumsum(begins) - 1]


def _parts_of_runs(regions: Regions, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return to which part each run belongs, given its first and last pixel."""
    width = regions.width[regions.index[first]]
    begin, end = regions.places[first], regions.places[last]
    # Those of the next row of the same cell that share a column; begins and ends ascend from run to run.
    low = np.searchsorted(end, begin + width)
    high = np.searchsorted(begin, end + width, side="right")
    below = np.append(0, np.cumsum(high - low))
    to = np.arange(below[-1]) + np.repeat(low - below[:-1], high - low)
    graph = csr_array((np.ones(len(to), bool), to, below), shape=[len(first)] * 2)
    return connected_components(graph, directed=False)[1]
