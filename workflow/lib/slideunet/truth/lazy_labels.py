"""Images (y, x) that are made square by square when they are asked for, always the same squares."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slideunet.geometry.blocks import BlockGrid, Region, within
from slideunet.sources.lazy_pixels import Index, bounding_box, pick


@dataclass(frozen=True)
class Squares:
    """An array (y, x) of uint32 of which only squares of a fixed grid are made, so that a part is a part.

    Attributes
    ----------
    grid : BlockGrid
        The squares.
    """

    grid: BlockGrid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        height, width = self.grid.shape
        return height, width

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return np.dtype(np.uint32)

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Make one whole square."""
        raise NotImplementedError

    def __getitem__(self, index: Index) -> npt.NDArray[np.uint32]:
        """Make the squares that a region touches, and return the region."""
        (rows, columns), picks = bounding_box(index, self.shape)
        region = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        for square in map(self.grid.__getitem__, self.grid.touching((rows, columns))):
            common = _common(square, (rows, columns))
            region[within(common, (rows, columns))] = self.make(*square)[within(common, square)]
        return pick(region, picks)


def _common(one: Region, other: Region) -> Region:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns
