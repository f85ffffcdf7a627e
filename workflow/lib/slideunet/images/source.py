"""What the readers share: an opened image, lazy access to its pixels, limits set before decoding."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError, SlideunetError

MAX_PIXELS = int(2e9)
"""Default limit of the pixels decoded at once: all of a PNG or JPEG, one tile or strip of a TIFF."""
MAX_EXPANSION = 10_000
"""A file that declares more bytes of pixels than this many times its own size is refused."""
EXPANSION_FREE = 2**28
"""Bytes of pixels below which the expansion is not looked at: an empty mask compresses very well."""
CHUNK = 1024
"""Side in pixels that the chunks of a lazy image have at least, in whole tiles or strips of the file."""

Index = tuple[slice | int, ...]


@dataclass(frozen=True)
class Source:
    """An image ready to be used.

    Attributes
    ----------
    pixels : dask.array.Array
        Lazy (c, y, x), uint8, uint16 or float32.
    channels : tuple[str, ...]
        Names, one per channel.
    mpp : float or None
        Micrometres per pixel, None where the file does not say.
    """

    pixels: da.Array
    channels: tuple[str, ...]
    mpp: float | None


@dataclass(frozen=True)
class Stored:
    """An image as its file stores it, before palette, transparency, inversion and dtype are dealt with.

    Attributes
    ----------
    pixels : dask.array.Array
        Lazy (c, y, x) in the file's dtype, turned upright.
    channels : tuple[str, ...]
        Names, one per channel, a transparency channel included.
    mpp : float or None
        Micrometres per pixel.
    palette : numpy.ndarray or None
        (entries, 3 or 4) colours that the pixel values stand for; the fourth is opacity.
    alpha : bool
        The last channel is opacity.
    white : int or None
        The value that means black where zero means white (TIFF MinIsWhite).
    lossy : bool
        Compressed by JPEG: values are approximate.
    """

    pixels: da.Array
    channels: tuple[str, ...]
    mpp: float | None = None
    palette: npt.NDArray[np.unsignedinteger] | None = None
    alpha: bool = False
    white: int | None = None
    lossy: bool = False


@dataclass(frozen=True)
class FilePixels:
    """The pixels of a file as an array that opens the file anew for every read.

    It holds a path and no handle, so that it can be sent to other threads and processes. What cannot be
    decoded becomes an `InputError` that names the file and the place.

    Attributes
    ----------
    path : Path
        The file or folder.
    shape : tuple[int, ...]
        In the order of the file's axes.
    dtype : numpy.dtype
        In the machine's byte order.
    read : Callable[[Path, Index], numpy.ndarray]
        Decodes one region.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Path, Index], npt.NDArray[Any]]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Index) -> npt.NDArray[Any]:
        """Decode the region `index`."""
        with explain_damage(self.path, f"its pixels {_describe(index)} cannot be decoded"):
            return np.asarray(self.read(self.path, index), dtype=self.dtype)


def lazy_array(pixels: FilePixels, chunks: tuple[int, ...]) -> da.Array:
    """Wrap a file's pixels into a dask array of the given chunks, in the file's order of axes."""
    empty = np.empty((0,) * pixels.ndim, pixels.dtype)
    return da.from_array(pixels, chunks=chunks, name=False, meta=empty)


def enlarge_chunks(chunks: tuple[int, ...], shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Multiply a file's own chunks along y and x until each reaches `CHUNK` pixels or the image's border.

    Parameters
    ----------
    chunks, shape : tuple[int, ...]
        Tile or strip and whole image, in the order of `axes`.
    axes : str
        Lower-case letters; only "y" and "x" are enlarged.

    Returns
    -------
    tuple[int, ...]
        Chunks whose borders are borders of the file's own chunks.
    """
    return tuple(
        min(length, -(-CHUNK // chunk) * chunk) if axis in "yx" else min(length, chunk)
        for chunk, length, axis in zip(chunks, shape, axes, strict=True)
    )


@contextlib.contextmanager
def explain_damage(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an `InputError`; the decoders have no common error class."""
    try:
        yield
    except (SlideunetError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: {what} ({reason}). The file is truncated, damaged or in a variant that is not "
            "supported. "
            "Copy it again from its origin, or export it again as plain TIFF, PNG or OME-Zarr."
        ) from error


def check_size(path: Path, shape: tuple[int, ...], itemsize: int, file_bytes: int | None) -> None:
    """Refuse an image without pixels and one that declares implausibly more pixels than its file can hold.

    Parameters
    ----------
    path : Path
        For the message.
    shape : tuple[int, ...]
        As declared by the header.
    itemsize : int
        Bytes per value.
    file_bytes : int or None
        Size of the file; None where it is not known (a folder).

    Raises
    ------
    InputError
        A length is zero, or the expansion exceeds `MAX_EXPANSION`.
    """
    if 0 in shape:
        raise InputError(
            f"{path}: the image has no pixels (its header says {_product(shape)}). Export it again."
        )
    declared = int(np.prod(shape, dtype=object)) * itemsize
    if file_bytes is not None and declared > max(EXPANSION_FREE, MAX_EXPANSION * file_bytes):
        raise InputError(
            f"{path}: the header declares {_product(shape)} values, {declared:,} bytes, but the file has "
            f"{file_bytes:,} bytes. "
            f"More than {MAX_EXPANSION:,} times its size looks like a decompression bomb. "
            "If the image is genuine, save it again uncompressed or as OME-Zarr."
        )


def check_decode(path: Path, shape: tuple[int, ...], max_pixels: int) -> None:
    """Refuse a piece (a whole PNG, a TIFF strip, a Zarr chunk) of more than `max_pixels` values."""
    count = int(np.prod(shape, dtype=object))
    if count > max_pixels:
        raise InputError(
            f"{path}: {_product(shape)} = {count:,} values would be decoded at once, the limit is "
            f"{max_pixels:,}. "
            "The file is not tiled, so no smaller part of it can be read. Save it as tiled TIFF or OME-Zarr."
        )


def _describe(index: Index | slice | int) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    return (
        "[" + ", ".join(f"{p.start or 0}:{p.stop}" if isinstance(p, slice) else str(p) for p in parts) + "]"
    )


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
