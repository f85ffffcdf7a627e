"""Shrinking by area, lazily: every new pixel is the mean of the area that it covers; see `sources.taps`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.geometry.blocks import Region, cuts, within
from slideunet.sources.lazy_pixels import CHUNK, Box, Index, bounding_box, lazy_array, pick
from slideunet.sources.levels import Level
from slideunet.sources.taps import area_taps, average, working_shape

PIECE = 2**24
"""Values that are decoded at once for one part of a resampled image."""


def shrink(pixels: da.Array, full: tuple[int, int], level: Level, scale: float) -> da.Array:
    """Shrink the pixels of a level lazily to `scale` pixels of the full resolution per pixel."""
    shape = (pixels.shape[0], *working_shape(full, scale))
    shrunk = Shrunk(pixels, shape, (scale / level.step[0], scale / level.step[1]))
    # Strips are as wide as the image, and so must be the parts that are made of them.
    width = shape[2] if pixels.numblocks[2] == 1 else CHUNK
    chunks = (shape[0], min(CHUNK, shape[1]), min(width, shape[2]))
    return lazy_array(shrunk, chunks)


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

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """Make the region `index`, piece by piece."""
        box, picks = bounding_box(index, self.shape)
        region = np.empty([part.stop - part.start for part in box], self.dtype)
        for piece in self._pieces(box):
            region[:, *within(piece, (box[1], box[2]))] = self._make(box[0], *piece)
        return pick(region, picks)

    def _make(self, channels: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        down, across = (
            area_taps(part.start, part.stop, step, length)
            for part, step, length in zip((rows, columns), self.step, self.pixels.shape[1:], strict=True)
        )
        # In this thread: this is already part of a dask task.
        old = self.pixels[channels, down.needed, across.needed].compute(scheduler="synchronous")
        return average(old, down, across)

    def _pieces(self, box: Box) -> Iterator[Region]:
        """Cut a region so that about `PIECE` values of the level are held at once, in its chunks' shape."""
        _, height, width = self.pixels.chunksize
        columns = min(self.pixels.shape[2], max(width, 2 * CHUNK))
        rows = max(height, PIECE // (columns * self.shape[0]))
        sides = (max(int(rows / self.step[0]), 1), max(int(columns / self.step[1]), 1))
        return itertools.product(cuts(box[1], sides[0]), cuts(box[2], sides[1]))
