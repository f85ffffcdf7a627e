"""The pixels of all cells of a label image, grouped by cell: the basis of all measurements.

Sums over a cell run over its pixels in raster order, in coordinates of its bounding box, so a cell measures
the same in a slide and in any part that contains it, bit for bit.
"""

from dataclasses import dataclass

import numpy as np


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
    pixels : ndarray (p,) of int64
        Flat indices of the pixels in the image.
    framed : ndarray (y + 2, x + 2)
        The label image padded with zeros, so that every pixel has neighbours.
    places : ndarray (p,) of int64
        Flat indices of the pixels in `framed`.
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
    pixels: np.ndarray
    framed: np.ndarray
    places: np.ndarray
    border: np.ndarray
    exposed: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return self.framed.shape[0] - 2, self.framed.shape[1] - 2

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


def find_regions(labels: np.ndarray) -> Regions:
    """Find the cells of a label image (y, x) of non-negative integers, 0 = background."""
    framed = np.pad(labels, 1)
    places = np.flatnonzero(framed)
    ids, index = _numbered(framed.ravel()[places])
    order = stable_order(index)
    index, places = index[order], places[order]
    area = np.bincount(index, minlength=len(ids))
    start = np.cumsum(area) - area
    rows = places // framed.shape[1]
    columns = places - rows * framed.shape[1]
    pixels = places - 2 * rows - labels.shape[1] - 1
    box = _boxes(rows, columns, start, area)
    rows -= np.repeat(box[:, 0] + 1, area)
    columns -= np.repeat(box[:, 1] + 1, area)
    border, exposed = _border(framed, places)
    return Regions(ids, area, start, index, rows, columns, box, pixels, framed, places, border, exposed)


def _border(framed: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `border` and `exposed` of `Regions`."""
    flat, width = framed.ravel(), framed.shape[1]
    ids = flat[places]
    sides = [flat[places + step] != ids for step in (-width, 1, width, -1)]
    border = np.flatnonzero(sides[0] | sides[1] | sides[2] | sides[3])
    return border, np.stack([side[border] for side in sides], axis=1)


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


def _boxes(rows: np.ndarray, columns: np.ndarray, start: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the bounding boxes (n, 4) in the image, given positions in the padded image, cell by cell."""
    left, right = np.minimum.reduceat(columns, start), np.maximum.reduceat(columns, start)
    # Raster order: the first pixel is in the first row, the last pixel in the last row.
    top, bottom = rows[start], rows[start + area - 1]
    return np.stack([top - 1, left - 1, bottom, right], axis=1)
