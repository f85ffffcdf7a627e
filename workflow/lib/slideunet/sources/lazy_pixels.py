"""The pixels of a file as a lazy array, which decodes requested regions only and explains damage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.geometry.pixels import Pixels
from slideunet.sources.decode_errors import explain_damage

CHUNK = 1024
"""Minimum side in pixels of the chunks of a lazy image, which are whole tiles or strips of the file."""
LARGE_CHUNK = 4 * CHUNK
"""The same where a part of a chunk costs no more than its own tiles: each chunk costs a task and a copy."""

# Values of the Orientation tag (TIFF 6.0, p. 36).
TRANSPOSED = range(5, 9)
FLIPPED_Y = (3, 4, 7, 8)
FLIPPED_X = (2, 3, 6, 7)

Index = tuple[slice | int | Sequence[int] | npt.NDArray[np.int64], ...]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class FilePixels:
    """The pixels of a file, in the order of its axes, as an array that reopens the file for every read.

    Without an open handle it can be sent to other threads and processes. A decoding failure becomes an
    `InputError` that names file and place.

    Attributes
    ----------
    dtype : numpy.dtype
        In native byte order.
    read : Callable[[Path, Box], numpy.ndarray]
        Decodes one region, given as a slice with start and stop for every axis.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Path, Box], npt.NDArray[Any]]

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """Decode the region `index`."""
        box, picks = bounding_box(index, self.shape)
        if any(part.start == part.stop for part in box):
            return pick(np.empty([part.stop - part.start for part in box], self.dtype), picks)
        with explain_damage(self.path, f"the pixels {describe_place(box)} cannot be decoded"):
            return pick(np.asarray(self.read(self.path, box), dtype=self.dtype), picks)


def bounding_box(index: Index, shape: tuple[int, ...]) -> tuple[Box, Index]:
    """Return the smallest box that holds all indexed values, and the index relative to its corner.

    Parameters
    ----------
    index : tuple
        For every axis a slice with any step, a number, or a list of numbers, as dask indexes arrays.
    shape : tuple[int, ...]
        Lengths of the axes.
    """
    box: list[slice] = []
    picks: list[slice | int | npt.NDArray[np.int64]] = []
    for part, length in zip(index, shape, strict=True):
        places = np.arange(length)[part]
        low, high = (int(places.min()), int(places.max()) + 1) if places.size else (0, 0)
        box.append(slice(low, high))
        picks.append(slice(None, None, part.step) if isinstance(part, slice) else places - low)
    return tuple(box), tuple(picks)


def pick(region: npt.NDArray[Any], picks: Index) -> npt.NDArray[Any]:
    """Index a region axis by axis, from last to first because numbers remove their axis."""
    for axis in reversed(range(len(picks))):
        region = region[(slice(None),) * axis + (picks[axis],)]
    return region


def lazy_array(pixels: Pixels, chunks: tuple[int, ...]) -> da.Array:
    """Wrap pixels that are read on request into a dask array of the given chunks."""
    empty = np.empty((0,) * len(pixels.shape), pixels.dtype)
    # Not `fancy=False`, with which dask reads whole chunks instead of the requested slices.
    return da.from_array(pixels, chunks=chunks, name=False, meta=empty)


def enlarge_chunks(
    chunks: tuple[int, ...], shape: tuple[int, ...], axes: str, side: int = CHUNK
) -> tuple[int, ...]:
    """Multiply a file's chunks along y and x until each reaches `side` pixels or the image border.

    Strips, which span the image width, are combined up to `side` x `side` pixels only.

    Parameters
    ----------
    chunks, shape : tuple[int, ...]
        Tile or strip and whole image, in the order of `axes`.
    axes : str
        Lower-case letters, including "y" and "x".
    """
    wide = max(chunks[axes.index("x")], side)
    sides = {"y": side * side // wide, "x": side}
    return tuple(
        min(length, max(-(-sides.get(axis, 1) // chunk), 1) * chunk)
        for chunk, length, axis in zip(chunks, shape, axes, strict=True)
    )


def describe_place(box: Sequence[slice]) -> str:
    """Name the last two axes of a region as "at y 0:10, x 5:9"."""
    y, x = (f"{part.start}:{part.stop}" for part in box[-2:])
    return f"at y {y}, x {x}"


def is_transposed(orientation: int) -> bool:
    """Whether an Orientation tag exchanges rows and columns."""
    return orientation in TRANSPOSED


def turn_upright(pixels: da.Array, orientation: int) -> da.Array:
    """Apply the Orientation tag (TIFF 6.0, p. 36) to (c, y, x) pixels, lazily.

    Invalid values, other than 1 to 8, count as 1, as in viewers.
    """
    if is_transposed(orientation):
        pixels = pixels.swapaxes(1, 2)
    if orientation in FLIPPED_Y:
        pixels = pixels[:, ::-1, :]
    if orientation in FLIPPED_X:
        pixels = pixels[:, :, ::-1]
    return pixels
