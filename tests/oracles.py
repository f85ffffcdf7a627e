"""What results are compared with: the contract, computed on whole images in memory."""

import numpy as np

from slideunet.geometry.blocks import BLOCK


def number_by_blocks(labels: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Give the cells the ids 1..n in the order of their places.

    A cell's place is its centre: the mean row and column of its pixels, rounded down. The slide is cut into
    fixed blocks of `block` x `block` pixels in raster order, and a cell belongs to the block that holds its
    centre. Within a block the order is by the centre's row, then its column, then the cell's first pixel in
    raster order.

    Parameters
    ----------
    labels : ndarray (y, x) of any integer type
        0 = background, any positive ids.
    block : int
        Side of a block in pixels.

    Returns
    -------
    ndarray (y, x) of uint32
        The same for every relabelling of the same cells.

    Raises
    ------
    ValueError
        When an id is negative.
    """
    pixels = np.flatnonzero(labels)
    result = np.zeros(labels.shape, dtype=np.uint32)
    if pixels.size == 0:
        return result
    old = labels.ravel()[pixels]
    if old.min() < 0:
        raise ValueError(f"labels must not be negative, the smallest is {old.min()}")
    if old.max() > labels.size:  # tables indexed by id would be larger than the image
        old = np.unique(old, return_inverse=True)[1] + 1
    order = _order(old, pixels, labels.shape[1], block)
    new = np.zeros(int(old.max()) + 1, dtype=np.uint32)
    new[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    result.ravel()[pixels] = new[old]
    return result


def _order(ids: np.ndarray, pixels: np.ndarray, width: int, block: int) -> np.ndarray:
    """Order the distinct ids by their places, given the id and the flat index of every cell pixel."""
    rows = pixels // width
    areas = np.bincount(ids)
    present = np.flatnonzero(areas)
    # Sums of whole numbers stay exact in float64 up to 2^53; dividing them as integers keeps the floor exact.
    row = np.bincount(ids, weights=rows)[present].astype(np.int64) // areas[present]
    column = np.bincount(ids, weights=pixels - rows * width)[present].astype(np.int64) // areas[present]
    first = np.full(len(areas), np.iinfo(np.int64).max)
    np.minimum.at(first, ids, pixels)
    return present[np.lexsort((first[present], column, row, column // block, row // block))]
