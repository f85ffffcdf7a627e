"""Tile geometry: which pixels a tile writes, which it reads, and where slide borders are mirrored.

    read = core + halo on every side        +-----------------+
    core = the part that is written         |  halo           |
    All read origins lie on multiples       |   +---------+   |
    of 2^depth, so that pooling cells       |   |  core   |   |
    fall on the same pixels whatever        |   +---------+   |
    the tile size.                          |                 |
                                            +-----------------+

With a halo of at least the receptive-field radius, the network sees the same context of a pixel in every tile
and gives the same output: Majurski & Bajcsy, J. Res. NIST 126:126009 (2021), doi:10.6028/jres.126.009.
Plain arithmetic on purpose: no numpy, torch or zarr.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Interval = tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """One tile of a plane; all intervals are half-open, in pixels, (y, x).

    Attributes
    ----------
    core : ((y0, y1), (x0, x1))
        Written by this tile, inside the plane.
    read : ((y0, y1), (x0, x1))
        Given to the network; may reach over the plane's borders, where pixels are mirrored.
    """

    core: tuple[Interval, Interval]
    read: tuple[Interval, Interval]

    @property
    def write(self) -> tuple[slice, slice]:
        """Where the core lies in the plane."""
        return slice(*self.core[0]), slice(*self.core[1])

    @property
    def crop(self) -> tuple[slice, slice]:
        """Where the core lies in what was read."""
        rows, columns = (
            slice(core[0] - read[0], core[1] - read[0])
            for core, read in zip(self.core, self.read, strict=True)
        )
        return rows, columns


def tile_grid(shape: tuple[int, int], size: int, halo: int, multiple: int) -> Iterator[Tile]:
    """Cut a plane into tiles in raster order; every pixel is in exactly one core.

    Parameters
    ----------
    shape : (height, width)
        Of the plane, in pixels.
    size : int
        Side of a core; a multiple of `multiple`.
    halo : int
        Context on every side; a multiple of `multiple`.
    multiple : int
        2^depth of the network.

    Raises
    ------
    ValueError
        When `size` or `halo` is not a multiple of `multiple`.
    """
    for core_y, read_y in tile_spans(shape[0], size, halo, multiple):
        for core_x, read_x in tile_spans(shape[1], size, halo, multiple):
            yield Tile((core_y, core_x), (read_y, read_x))


def mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """Return the indices (int64) of [start, stop) in a line of `length` pixels, mirrored at both ends.

    The mirror does not repeat the border pixel (NumPy's "reflect"), and goes on to and fro for lines shorter
    than the reach; a line of one pixel is repeated.
    """
    period = max(2 * (length - 1), 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded) if length > 1 else folded


def tile_spans(length: int, size: int, halo: int, multiple: int) -> list[tuple[Interval, Interval]]:
    """Return (core, read) of every tile along one axis; the last read is rounded up to `multiple`.

    Raises
    ------
    ValueError
        When `size` or `halo` is not a multiple of `multiple`.
    """
    if size <= 0 or size % multiple or halo < 0 or halo % multiple:
        raise ValueError(
            f"tile size {size} and halo {halo} must be multiples of {multiple} (2^depth of the network)"
        )
    cores = [(start, min(start + size, length)) for start in range(0, length, size)]
    return [((start, stop), (start - halo, stop + -stop % multiple + halo)) for start, stop in cores]
