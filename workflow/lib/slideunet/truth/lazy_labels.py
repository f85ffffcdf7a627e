"""Images (y, x) that are made square by square when they are asked for, always the same squares."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slideunet.sources.lazy_pixels import Index, bounding_box, pick

Region = tuple[slice, slice]


def squares(shape: tuple[int, int], side: int) -> Iterator[Region]:
    """Cut a plane (y, x) into squares in raster order, those at the far borders smaller."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield slice(top, min(top + side, shape[0])), slice(left, min(left + side, shape[1]))


@dataclass(frozen=True)
class Squares:
    """An array (y, x) of uint32 of which only squares of a fixed grid are made, so that a part is a part.

    Attributes
    ----------
    shape : tuple[int, int]
        (y, x).
    side : int
        Of the squares.
    """

    shape: tuple[int, int]
    side: int

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return np.dtype(np.uint32)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 2

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Make one whole square."""
        raise NotImplementedError

    def __getitem__(self, index: Index) -> npt.NDArray[np.uint32]:
        """Make the squares that a region touches, and return the region."""
        box, picks = bounding_box(index, self.shape)
        height, width = (part.stop - part.start for part in box)
        region = np.empty((height, width), self.dtype)
        for rows, columns in self.touched(box[0], box[1]):
            (y, y_there), (x, x_there) = _overlap(rows, box[0]), _overlap(columns, box[1])
            region[y_there, x_there] = self.make(rows, columns)[y, x]
        return pick(region, picks)

    def touched(self, rows: slice, columns: slice) -> Iterator[Region]:
        """Yield the squares that a region touches."""
        for y, x in squares(self.shape, self.side):
            if _meet(y, rows) and _meet(x, columns):
                yield y, x


def _meet(one: slice, other: slice) -> bool:
    return one.start < other.stop and other.start < one.stop


def _overlap(square: slice, part: slice) -> tuple[slice, slice]:
    """What a square and a part have in common, counted from the beginning of each."""
    low, high = max(square.start, part.start), min(square.stop, part.stop)
    return slice(low - square.start, high - square.start), slice(low - part.start, high - part.start)
