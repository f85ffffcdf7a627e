"""What the readers share: an opened image, and limits that are set before decoding."""

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.sources.levels import Level

MAX_PIXELS = int(2e9)
"""Default limit of the values decoded at once: all of a PNG or JPEG, one tile or strip of a TIFF."""
MAX_EXPANSION = 50_000
"""A file that declares more bytes of pixels than this many times its own size is refused.

An empty mask can be that small: of the usual compressions zstd reaches most, 128 KiB in 4 bytes, and a tile
needs 16 bytes to be listed.
"""
EXPANSION_FREE = 2**28
"""Bytes of pixels below which the expansion is not looked at: an empty mask compresses very well."""


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
    warnings : tuple[str, ...]
        What was accepted but deserves a look.
    full_shape : tuple[int, int] or None
        (y, x) of the image at full resolution, in which labels are given; None: that of `pixels`.
    """

    pixels: da.Array
    channels: tuple[str, ...]
    mpp: float | None
    warnings: tuple[str, ...] = ()
    full_shape: tuple[int, int] | None = None


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
        Micrometres per pixel of the full resolution, whichever level the pixels are of.
    levels : tuple[Level, ...]
        The resolutions that the file holds, the full one first; empty stands for that one alone.
    magnification : str
        Of the objective, as the file names it. Not a measurement, and never made into one.
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
    levels: tuple[Level, ...] = ()
    magnification: str = ""
    palette: npt.NDArray[np.unsignedinteger] | None = None
    alpha: bool = False
    white: int | None = None
    lossy: bool = False


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
    declared = count_values(shape) * itemsize
    if file_bytes is not None and declared > max(EXPANSION_FREE, MAX_EXPANSION * file_bytes):
        raise InputError(
            f"{path}: the header declares {_product(shape)} values, {declared:,} bytes, but the file has "
            f"{file_bytes:,} bytes. "
            f"More than {MAX_EXPANSION:,} times its size looks like a decompression bomb. "
            "If the image is genuine, save it again uncompressed or as OME-Zarr."
        )


def check_decode(path: Path, shape: tuple[int, ...], max_pixels: int) -> None:
    """Refuse a piece (a whole PNG, a TIFF strip, a Zarr chunk) of more than `max_pixels` values."""
    count = count_values(shape)
    if count > max_pixels:
        raise InputError(
            f"{path}: {_product(shape)} = {count:,} values would be decoded at once, the limit is "
            f"{max_pixels:,}. "
            "No smaller part of the file can be read. Save it as tiled TIFF or OME-Zarr."
        )


def count_values(shape: tuple[int, ...]) -> int:
    """Multiply lengths without overflow."""
    return int(np.prod(shape, dtype=object))


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
