"""A level at a coarser resolution as a lazy array, made piece by piece in memory that does not grow."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.images.averaging import area_taps, average
from slideunet.images.file_pixels import CHUNK, Box, Index, bounding_box, pick
from slideunet.images.levels import Level

ROUNDING = 1e-9
"""A side that exceeds whole working pixels by less is taken as whole."""
PIECE = 2**24
"""Values that are decoded at once for one part of a resampled image."""


def shrink(pixels: da.Array, full: tuple[int, int], level: Level, scale: float) -> da.Array:
    """Shrink the pixels of a level lazily to `scale` pixels of the full resolution per pixel."""
    shape = (pixels.shape[0], *working_shape(full, scale))
    shrunk = Shrunk(pixels, shape, (scale / level.step[0], scale / level.step[1]))
    # Strips are as wide as the image, and so must be the parts that are made of them.
    width = shape[2] if pixels.numblocks[2] == 1 else CHUNK
    chunks = (shape[0], min(CHUNK, shape[1]), min(width, shape[2]))
    return da.from_array(shrunk, chunks=chunks, name=False, meta=np.empty((0, 0, 0), pixels.dtype))


def working_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size (y, x) of an image that is shrunk: every pixel of the full resolution is part of it."""
    height, width = (max(math.ceil(side / scale * (1 - ROUNDING)), 1) for side in shape)
    return height, width


@dataclass(frozen=True)
class Shrunk:
    """The pixels of a level at a coarser resolution, made when they are asked for.

    Attributes
    ----------
    pixels : dask.array.Array
        (c, y, x) of the level.
    shape : tuple[int, int, int]
        (c, y, x) at the coarser resolution.
    step : tuple[float, float]
        Pixels of the level per pixel, along y and x.
    """

    pixels: da.Array
    shape: tuple[int, int, int]
    step: tuple[float, float]

    @property
    def dtype(self) -> np.dtype:
        """Type of the values: that of the level."""
        return self.pixels.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """Make the region `index`, piece by piece."""
        box, picks = bounding_box(index, self.shape)
        region = np.empty([part.stop - part.start for part in box], self.dtype)
        for rows, columns in self._pieces(box):
            part = region[:, rows.start - box[1].start : rows.stop - box[1].start]
            part[..., columns.start - box[2].start : columns.stop - box[2].start] = self._make(
                box[0], rows, columns
            )
        return pick(region, picks)

    def _make(self, channels: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        down, across = (
            area_taps(part.start, part.stop, step, length)
            for part, step, length in zip((rows, columns), self.step, self.pixels.shape[1:], strict=True)
        )
        # In this thread: this is already part of a dask task.
        old = self.pixels[channels, down.needed, across.needed].compute(scheduler="synchronous")
        return average(old, down, across)

    def _pieces(self, box: Box) -> Iterator[tuple[slice, slice]]:
        """Cut a region so that about `PIECE` values of the level are held at once, in its chunks' shape."""
        _, height, width = self.pixels.chunksize
        columns = min(self.pixels.shape[2], max(width, 2 * CHUNK))
        rows = max(height, PIECE // (columns * self.shape[0]))
        sides = (max(int(rows / self.step[0]), 1), max(int(columns / self.step[1]), 1))
        for top in range(box[1].start, box[1].stop, sides[0]):
            for left in range(box[2].start, box[2].stop, sides[1]):
                yield (
                    slice(top, min(top + sides[0], box[1].stop)),
                    slice(left, min(left + sides[1], box[2].stop)),
                )
