"""The pixels of all cells of a label image, cell by cell: what every measurement starts from.

Whatever is summed over a cell is summed over its own pixels in raster order, and their places count from the
cell's own bounding box, so a cell cut out of a slide gives, bit for bit, the numbers that it has there.
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
        Where the pixels of each cell begin in the arrays below.
    index : ndarray (p,) of int64
        To which cell a pixel belongs, from 0: ascending.
    rows, columns : ndarray (p,) of int64
        Of the pixels, in raster order within a cell, counted from the first row and column of its box.
    box : ndarray (n, 4) of int64
        First row and column in the image, and those after the last.
    pixels : ndarray (p,) of int64
        Flat indices of the pixels in the image.
    framed : ndarray (y + 2, x + 2)
        The label image with a frame of zeros, so that every pixel has neighbours.
    places : ndarray (p,) of int64
        Flat indices of the pixels in `framed`.
    border : ndarray (b,) of int64
        Numbers of the pixels at the border of their cell: with a side that no other of its pixels shares.
    exposed : ndarray (b, 4) of bool
        Which sides of these are such: top, right, bottom and left.
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
        """Return row and column in the image (k, 2) of the pixels of these numbers."""
        inside = np.stack([self.rows[pixels], self.columns[pixels]], axis=1)
        return inside + self.box[self.index[pixels], :2]

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over each cell what is given for each of its pixels (p,)."""
        return np.add.reduceat(values, self.start)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average over each cell what is given for each of its pixels (p,)."""
        return self.total(values) / self.area

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Subtract from each pixel's value (p,) the mean of its cell."""
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
    own = flat[places]
    sides = [flat[places + step] != own for step in (-width, 1, width, -1)]
    border = np.flatnonzero(sides[0] | sides[1] | sides[2] | sides[3])
    return border, np.stack([side[border] for side in sides], axis=1)


def stable_order(numbers: np.ndarray) -> np.ndarray:
    """Return the indices that sort whole numbers (p,) of int64 from 0 on; equal ones keep their order.

    They are sorted by one group of 16 bits after the other, from the lowest: of such numbers numpy makes a
    radix sort, which is several times as fast as its sort of wider ones.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for shift in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((numbers >> shift).astype(np.uint16)[order], kind="stable")]
    return order


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids and, for each pixel, its place among them (int64)."""
    if not len(values) or int(values.max()) - int(values.min()) > 2 * len(values):
        return np.unique(values, return_inverse=True)
    # The cells of a block are a range of ids: a table is faster than sorting.
    low = values.min()
    offset = (values - low).astype(np.int64)
    present = np.flatnonzero(np.bincount(offset))
    table = np.zeros(int(present[-1]) + 1, np.int64)
    table[present] = np.arange(len(present))
    return present.astype(values.dtype) + low, table[offset]


def _boxes(rows: np.ndarray, columns: np.ndarray, start: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the boxes (n, 4) in the image of pixels given in the frame's coordinates, cell by cell."""
    left, right = np.minimum.reduceat(columns, start), np.maximum.reduceat(columns, start)
    # Pixels of a cell are in raster order, so its first and last row are those of its ends.
    top, bottom = rows[start], rows[start + area - 1]
    return np.stack([top - 1, left - 1, bottom, right], axis=1)
