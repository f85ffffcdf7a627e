"""PNG and JPEG files."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from slideunet.errors import InputError
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import CHUNK, Box, FilePixels, lazy_array, turn_upright
from slideunet.sources.piece_cache import LARGE_PIECE, decode_cached, file_version
from slideunet.sources.pixel_size import from_resolution
from slideunet.sources.source import RGB_NAMES, Stored, check_decode, check_size, count_values

CHANNELS = {
    "1": ("grey",),
    "L": ("grey",),
    "P": ("palette index",),
    "I;16": ("grey",),
    "LA": ("grey", "alpha"),
    "RGB": RGB_NAMES,
    "RGBA": (*RGB_NAMES, "alpha"),
}
PNG_DEPTH_OFFSET = 24
_limit_lock = threading.Lock()


def open_raster(path: Path, max_pixels: int) -> Stored:
    """Open a PNG or JPEG by its header; pixels are decoded on request.

    Neither format can be decoded in part, so a large image stays decoded in memory until another one is read.
    Exif orientation is applied. 16-bit colour PNGs keep 16 bits. Several frames (animated PNG), CMYK and
    colour-keyed transparency are refused.

    Parameters
    ----------
    path : Path
        The file.
    max_pixels : int
        Maximum number of values (pixels times channels).

    Returns
    -------
    Stored
        (c, y, x), uint8, uint16 or (1-bit files) bool.

    Raises
    ------
    InputError
        Unreadable header or unsupported variant.
    """
    with explain_damage(path, "the image cannot be opened"), _pillow(path, max_pixels) as image:
        names = _channel_names(path, image)
        deep = image.format == "PNG" and _png_depth(path) == 16
        dtype = np.dtype(bool if image.mode == "1" else np.uint16 if deep else np.uint8)
        shape = (image.height, image.width) + ((len(names),) if len(names) > 1 else ())
        check_size(path, shape, dtype.itemsize, path.stat().st_size)
        check_decode(path, shape, max_pixels)
        palette = _palette(image)
        # Pillow would decode a whole PNG in search of missing Exif data.
        has_exif = image.format != "PNG" or "exif" in image.info
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if has_exif else 1
        x_dpi, y_dpi = (float(r) for r in image.info.get("dpi", (0, 0)))
        lossy = image.format != "PNG"
    decode = _decode_deep_png if deep else partial(_decode, max_pixels=max_pixels)
    read = partial(_read, values=count_values(shape), decode=decode)
    side = 2 * CHUNK if count_values(shape) >= LARGE_PIECE else LARGE_PIECE
    chunks = (min(shape[0], side), min(shape[1], side), *shape[2:])
    array = lazy_array(FilePixels(path, shape, dtype, read), chunks)
    return Stored(
        pixels=turn_upright(array.transpose(2, 0, 1) if array.ndim == 3 else array[None], orientation),
        channels=names,
        size=from_resolution(y_dpi, x_dpi, "inch"),
        palette=palette,
        alpha=names[-1] == "alpha",
        lossy=lossy,
    )


def _channel_names(path: Path, image: Image.Image) -> tuple[str, ...]:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{path}: has {frames} frames. One image per file is expected. Export one frame.")
    if image.mode not in CHANNELS:
        raise InputError(f"{path}: colour mode {image.mode} is not supported. Save it as grey or RGB.")
    if "transparency" in image.info and image.mode != "P":
        raise InputError(
            f"{path}: one colour is declared transparent. Transparent pixels have no defined colour. "
            "Save it without transparency."
        )
    return CHANNELS[image.mode]


def _palette(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Return the colours of an indexed PNG as (256, 3 or 4)."""
    if image.mode != "P":
        return None
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colours = np.pad(colours, ((0, 256 - len(colours)), (0, 0)))
    transparent = image.info.get("transparency")
    if transparent is None:
        return colours
    opacity = np.full(256, 255, np.uint8)
    if isinstance(transparent, bytes):
        opacity[: len(transparent)] = np.frombuffer(transparent, np.uint8)
    else:
        opacity[transparent] = 0
    return np.column_stack([colours, opacity])


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(PNG_DEPTH_OFFSET + 1)[PNG_DEPTH_OFFSET]


@contextlib.contextmanager
def _pillow(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open with Pillow's limit for decompression bombs set to `max_pixels`, for this file only."""
    with _limit_lock:
        default = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            image = Image.open(path, formats=["PNG", "JPEG"])
        except Image.DecompressionBombError as error:
            raise InputError(
                f"{path}: more than {2 * max_pixels:,} values would be decoded at once, the limit is "
                f"{max_pixels:,}. Save it as tiled TIFF or OME-Zarr."
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = default
    with image:
        yield image


def _read(path: Path, box: Box, values: int, decode: Callable[[Path], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return decode_cached((path, file_version(path)), values, partial(decode, path))[box]


def _decode(path: Path, max_pixels: int) -> npt.NDArray[Any]:
    with _pillow(path, max_pixels) as image:
        return np.asarray(image)


def _decode_deep_png(path: Path) -> npt.NDArray[Any]:
    # Pillow silently reduces 16-bit colour to 8 bits.
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))
