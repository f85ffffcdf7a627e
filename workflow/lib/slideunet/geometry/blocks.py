"""Blocks: the fixed squares of a slide that one task owns, whatever the tiles, workers or parts.

A block is 4096 x 4096 px of the working grid, in raster order; ids of cells are numbered by the same blocks.
It holds whole shards of every level that is made inside it, so no two tasks ever write one file.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

BLOCK = 4096
LEVELS = 3  # Levels that are made inside a block: below them a block has less than one chunk.

Region = tuple[slice, slice]


@dataclass(frozen=True)
class BlockGrid:
    """The squares of a plane in raster order, as regions (rows, columns); those at the far borders are cut.

    Attributes
    ----------
    shape : tuple of int
        (..., y, x) of the plane.
    side : int
        Of a square, in pixels; that of a block when not given.

    Examples
    --------
    >>> list(BlockGrid((5, 8), side=4))[2]
    (slice(4, 5, None), slice(0, 4, None))
    """

    shape: tuple[int, ...]
    side: int = field(default_factory=lambda: BLOCK)

    @property
    def across(self) -> int:
        """Number of squares in a row."""
        return -(-self.shape[-1] // self.side)

    def __len__(self) -> int:
        """Return the number of squares."""
        return math.prod(-(-length // self.side) for length in self.shape[-2:])

    def __getitem__(self, index: int) -> Region:
        """Return the rows and columns of one square; IndexError when there is no such square."""
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        starts = (place * self.side for place in divmod(index, self.across))
        rows, columns = (
            slice(start, min(start + self.side, length))
            for start, length in zip(starts, self.shape[-2:], strict=True)
        )
        return rows, columns

    def __iter__(self) -> Iterator[Region]:
        """Yield the region of every square."""
        return map(self.__getitem__, range(len(self)))

    def inside(self, window: Region) -> list[int]:
        """Return the squares that lie wholly inside a window of the plane."""
        # A cut square ends with the plane, not at a multiple of the side.
        stops = (
            part.stop if part.stop < length else part.stop + self.side - 1
            for part, length in zip(window, self.shape[-2:], strict=True)
        )
        return self._numbers(
            range(-(-part.start // self.side), stop // self.side)
            for part, stop in zip(window, stops, strict=True)
        )

    def touching(self, window: Region) -> list[int]:
        """Return the squares that have pixels in a window of the plane."""
        return self._numbers(range(part.start // self.side, -(-part.stop // self.side)) for part in window)

    def neighbours(self, index: int, reach: float = 1) -> list[int]:
        """Return a square and all others that have places at most `reach` pixels from it."""
        return self.touching(grown(self[index], self.shape[-2:], math.ceil(reach)))

    def _numbers(self, spans: Iterable[range]) -> list[int]:
        return [row * self.across + column for row, column in itertools.product(*spans)]


def cuts(part: slice, side: int) -> list[slice]:
    """Cut a part of an axis into slices of `side` pixels, the last one of what is left."""
    return [slice(start, min(start + side, part.stop)) for start in range(part.start, part.stop, side)]


def grown(region: Region, shape: tuple[int, ...], margin: int) -> Region:
    """Return a region of a plane (y, x) with a margin in pixels on every side, cut at the plane's border."""
    rows, columns = (
        slice(max(part.start - margin, 0), min(part.stop + margin, side))
        for part, side in zip(region, shape, strict=True)
    )
    return rows, columns


def within(region: Region, window: Region) -> Region:
    """Return where a region of a plane lies in an array that begins at the first pixel of a window."""
    rows, columns = (
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(region, window, strict=True)
    )
    return rows, columns


def digest(pixels: np.ndarray) -> str:
    """Return the sha256 (hex) of the pixels of a block, in C order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
