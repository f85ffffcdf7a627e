"""Opened images, the common result of all readers, and limits that are checked before decoding."""

from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.sources.levels import Level
from slideunet.sources.pixel_size import UNKNOWN, PixelSize

MAX_PIXELS = int(2e9)
"""Default limit of values decoded at once: a whole PNG or JPEG, one tile or strip of a TIFF."""
MAX_EXPANSION = 50_000
"""Maximum ratio of declared pixel bytes to file size.

An empty mask comes close: zstd, the strongest usual compression, packs 128 KiB into 4 bytes, and listing a
tile takes 16 bytes.
"""
EXPANSION_FREE = 2**28
"""Bytes of pixels below which the ratio is not checked: empty masks compress very well."""

RGB_NAMES = ("red", "green", "blue")


@dataclass(frozen=True)
class Source:
    """An image ready for use.

    Attributes
    ----------
    pixels : dask.array.Array
        Lazy (c, y, x), uint8, uint16 or float32.
    channels : tuple[str, ...]
        Names, one per channel.
    mpp : float or None
        Micrometres per pixel; None if unknown.
    warnings : tuple[str, ...]
        Questionable properties that were accepted.
    full_shape : tuple[int, int] or None
        (y, x) at full resolution, to which labels refer; None: that of `pixels`.
    colours : tuple[str, ...]
        Display colours ("rrggbb", or empty) of channels that are planes; none for the samples of a pixel.
    bits : int or None
        Significant bits of integers, as far as the file says.
    """

    pixels: da.Array
    channels: tuple[str, ...]
    mpp: float | None
    warnings: tuple[str, ...] = ()
    full_shape: tuple[int, int] | None = None
    colours: tuple[str, ...] = ()
    bits: int | None = None


@dataclass(frozen=True)
class Stored:
    """An image as its file stores it, before palette, transparency, inversion and dtype are applied.

    Attributes
    ----------
    pixels : dask.array.Array
        Lazy (c, y, x) in the file's dtype, turned upright.
    channels : tuple[str, ...]
        Names, one per channel, including transparency.
    size : PixelSize
        As the file states it, of the full resolution, for pixels of any level.
    levels : tuple[Level, ...]
        Resolutions of the file, the full one first; empty for the full one alone.
    magnification : str
        Nominal magnification of the objective, for messages only: it is no measured pixel size.
    palette : numpy.ndarray or None
        (entries, 3 or 4) colours of the pixel values; the fourth component is opacity.
    alpha : bool
        Whether the last channel is opacity.
    white : int or None
        The value of black if zero means white (TIFF MinIsWhite).
    lossy : bool
        Whether JPEG compression made the values approximate.
    colours, bits
        As in `Source`.
    """

    pixels: da.Array
    channels: tuple[str, ...]
    size: PixelSize = UNKNOWN
    levels: tuple[Level, ...] = ()
    magnification: str = ""
    palette: npt.NDArray[np.unsignedinteger] | None = None
    alpha: bool = False
    white: int | None = None
    lossy: bool = False
    colours: tuple[str, ...] = ()
    bits: int | None = None


def check_size(path: Path, shape: tuple[int, ...], itemsize: int, file_bytes: int | None) -> None:
    """Refuse an image without pixels, and decompression bombs.

    Parameters
    ----------
    path : Path
        For the message.
    shape : tuple[int, ...]
        As declared by the header.
    itemsize : int
        Bytes per value.
    file_bytes : int or None
        Size of the file; None for a folder.

    Raises
    ------
    InputError
        A length is zero, or the declared bytes exceed `MAX_EXPANSION` times the size of the file.
    """
    if 0 in shape:
        raise InputError(
            f"{path}: the image has no pixels (its header says {_product(shape)}). Export it again."
        )
    declared = count_values(shape) * itemsize
    if file_bytes is not None and declared > max(EXPANSION_FREE, MAX_EXPANSION * file_bytes):
        raise InputError(
            f"{path}: the header declares {_product(shape)} values, {declared:,} bytes, but the file "
            f"has {file_bytes:,} bytes. More than {MAX_EXPANSION:,} times that looks like a decompression "
            "bomb. If the image is genuine, save it uncompressed or as OME-Zarr."
        )


def check_decode(path: Path, shape: tuple[int, ...], max_pixels: int) -> None:
    """Refuse a unit of decoding (whole PNG, TIFF strip, Zarr chunk) of more than `max_pixels` values."""
    count = count_values(shape)
    if count > max_pixels:
        raise InputError(
            f"{path}: {_product(shape)} = {count:,} values would be decoded at once, the limit is "
            f"{max_pixels:,}. No smaller part of the file can be read. Save it as tiled TIFF or OME-Zarr."
        )


def count_values(shape: tuple[int, ...]) -> int:
    """Return the product of the lengths without overflow."""
    return int(np.prod(shape, dtype=object))


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
