"""The pixels of all cells of a label image, grouped by cell: the basis of all measurements.

Sums over a cell run over its pixels in raster order, in coordinates of its bounding box, so a cell measures
the same in a slide and in any part that contains it, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slideunet.geometry.runs import Runs


@dataclass(frozen=True)
class Regions:
    """The n cells of a label image and their p pixels.

    Attributes
    ----------
    ids : ndarray (n,)
        Ascending.
    area : ndarray (n,) of int64
        Pixels of each cell.
    start : ndarray (n,) of int64
        Index of each cell's first pixel in the arrays below.
    index : ndarray (p,) of int64
        Cell of each pixel, 0 to n - 1, ascending.
    rows, columns : ndarray (p,) of int64
        Position of each pixel in the bounding box of its cell; raster order within a cell.
    box : ndarray (n, 4) of int64
        Bounding box in the image, half-open: first row, first column, last row + 1, last column + 1.
    shape : tuple of int
        Rows and columns of the image.
    pixels : ndarray (p,) of int64
        Flat indices of the pixels in the image.
    boxed : ndarray (m,) of bool
        The boxes of all cells one after the other, each with a frame of one pixel, so that every pixel has
        neighbours: true at the pixels of the box's own cell. It is much smaller than the image.
    width : ndarray (n,) of int64
        Length of a row of each cell in `boxed`.
    places : ndarray (p,) of int64
        Indices of the pixels in `boxed`, ascending.
    border : ndarray (b,) of int64
        Indices of the border pixels: those with at least one exposed side.
    exposed : ndarray (b, 4) of bool
        Whether the top, right, bottom and left neighbour of a border pixel is outside of its cell.
    """

    ids: np.ndarray
    area: np.ndarray
    start: np.ndarray
    index: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    box: np.ndarray
    shape: tuple[int, int]
    pixels: np.ndarray
    boxed: np.ndarray
    width: np.ndarray
    places: np.ndarray
    border: np.ndarray
    exposed: np.ndarray

    def values(self, plane: np.ndarray) -> np.ndarray:
        """Return the values (p,) of a plane (y, x) at the pixels."""
        return plane.ravel()[self.pixels]

    def corner(self, pixels: np.ndarray) -> np.ndarray:
        """Return row and column in the image (k, 2) of the pixels with these indices (k,)."""
        inside = np.stack([self.rows[pixels], self.columns[pixels]], axis=1)
        return inside + self.box[self.index[pixels], :2]

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of all pixels (p,) over each cell: (n,)."""
        return np.add.reduceat(values, self.start)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average the values of all pixels (p,) over each cell: (n,)."""
        return self.total(values) / self.area

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Subtract the mean of its cell from the value of each pixel (p,)."""
        return values - np.repeat(self.mean(values), self.area)


def find_regions(runs: Runs) -> Regions:
    """Find the cells of a label image, given by the runs of its pixels."""
    ids, cell = _numbered(runs.labels)
    order = stable_order(cell)
    cell, rows, starts, lengths = (part[order] for part in (cell, runs.rows, runs.starts, runs.lengths))
    area = np.bincount(cell, lengths, len(ids)).astype(np.int64)
    box = _boxes(cell, rows, starts, starts + lengths)
    width = box[:, 3] - box[:, 1] + 2
    size = (box[:, 2] - box[:, 0] + 2) * width
    row, column = rows - box[cell, 0], starts - box[cell, 1]
    place = (np.cumsum(size) - size)[cell] + (row + 1) * width[cell] + column + 1
    columns, pixels, places = (
        _along(first, lengths) for first in (column, rows * runs.shape[1] + starts, place)
    )
    boxed = np.zeros(size.sum(), bool)
    boxed[places] = True
    index = np.repeat(cell, lengths)
    border, exposed = _border(boxed, places, width[index])
    return Regions(
        ids, area, np.cumsum(area) - area, index, np.repeat(row, lengths), columns, box, runs.shape,
        pixels, boxed, width, places, border, exposed,
    )  # fmt: skip


def groups(runs: Runs, pixels: int = 1 << 18) -> Iterator[Runs]:
    """Yield the runs of some cells at a time, in the order of their ids, with about so many pixels.

    A cell is measured the same with or without others. The arrays of a group stay in the cache, and their
    memory is used again by the next; those of a whole block are new pages each time.
    """
    if not len(runs.labels):
        yield runs
        return
    number = (runs.labels - runs.labels.min()).astype(np.int64)
    group = (np.cumsum(np.bincount(number, runs.lengths)) // pixels)[number]
    for one in np.unique(group):
        yield runs.chosen(group == one)


def _along(first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return a number for each pixel of runs: that of its run for the first one, then one more for each."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + lengths, lengths)


def _border(boxed: np.ndarray, places: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `border` and `exposed` of `Regions`, given the row length of each pixel's box."""
    inside = np.stack([boxed[places + step] for step in (-width, 1, width, -1)], axis=1)
    border = np.flatnonzero(~inside.all(axis=1))
    return border, ~inside[border]


def stable_order(numbers: np.ndarray) -> np.ndarray:
    """Return the indices that sort non-negative int64 (p,); equal numbers keep their order.

    Radix sort by groups of 16 bits, from the lowest: numpy sorts 16-bit integers by radix, several times as
    fast as wider ones.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for shift in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((numbers >> shift).astype(np.uint16)[order], kind="stable")]
    return order


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids and, for each pixel, the index of its id among them (int64)."""
    if not len(values) or int(values.max()) - int(values.min()) > 2 * len(values):
        return np.unique(values, return_inverse=True)
    # The ids of a block are nearly consecutive: a table is faster than sorting.
    low = values.min()
    offset = (values - low).astype(np.int64)
    present = np.flatnonzero(np.bincount(offset))
    table = np.zeros(int(present[-1]) + 1, np.int64)
    table[present] = np.arange(len(present))
    return present.astype(values.dtype) + low, table[offset]


def _boxes(cell: np.ndarray, rows: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the bounding boxes (n, 4) in the image, given the runs of the cells, cell by cell."""
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    left, right = np.minimum.reduceat(starts, first), np.maximum.reduceat(stops, first)
    # Raster order: the first run is in the first row, the last one in the last row.
    last = np.append(first, len(cell))[1:] - 1
    return np.stack([rows[first], left, rows[last] + 1, right], axis=1)
