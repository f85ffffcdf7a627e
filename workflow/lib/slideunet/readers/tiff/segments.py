"""Checks that the tiles and strips listed by a TIFF are present and have the declared size."""

import struct
from pathlib import Path

import numpy as np
import tifffile

from slideunet.errors import InputError

JPEG_STREAMS = (6, 7, 34892, 33007)
JPEG_2000_STREAMS = (33003, 33004, 33005, 34712)
SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream; 4 bytes on: width, height, first column and first row of the image."""
MAX_PADDING = 4
"""Maximum ratio of encoded pixels to pixels of a tile: NDPI and others pad tiles to whole blocks."""


def check_segments(path: Path, series: tifffile.TiffPageSeries, level: int = 0) -> None:
    """Refuse a level of a series with absent or truncated tiles or strips, reading headers only.

    Raises
    ------
    InputError
        Names the number of absent or truncated tiles or strips, and the first of them.
    """
    series = series.levels[level]
    if series.dataoffset is not None:
        size = series.keyframe.parent.filehandle.size
        missing = series.dataoffset + series.nbytes - size
        if missing > 0:
            raise InputError(
                f"{path}: the file is truncated, {missing:,} bytes of pixels are missing. Copy it again."
            )
        return
    pages = list(series.pages)
    if None in pages:
        raise InputError(
            f"{path}: {pages.count(None)} of its {len(pages)} planes are absent, perhaps in another file. "
            "They would be read as black. Copy all files of the OME-TIFF into one folder."
        )
    for number, page in enumerate(pages):
        _check_page(path, f"plane {number} of level {level}" if level else f"plane {number}", page)


def check_encoded_size(path: Path, compression: int, data: bytes, segment: tuple[int, int]) -> None:
    """Refuse a decompression bomb: a tile whose own header declares far more pixels than a tile has.

    Only JPEG and JPEG 2000 tiles have headers; other decoders stop at the size of a tile.

    Parameters
    ----------
    path : Path
        For the message.
    compression : int
        TIFF number of the compression.
    data : bytes
        The encoded tile or strip.
    segment : tuple[int, int]
        (y, x) of a tile or strip.
    """
    height, width = _encoded_size(compression, data)
    if height * width > MAX_PADDING * (segment[0] + 64) * (segment[1] + 64):
        raise InputError(
            f"{path}: a tile of {segment[0]} x {segment[1]} pixels (y x x) declares {height} x {width} in "
            "its own header. It looks like a decompression bomb. Export the image again."
        )


def _encoded_size(compression: int, data: bytes) -> tuple[int, int]:
    """Height and width that a JPEG or JPEG 2000 stream declares; (0, 0) if it declares none."""
    if compression in JPEG_STREAMS:
        try:
            _, height, width, _ = tifffile.tifffile.jpeg_shape(data)
        except (ValueError, struct.error):  # the decoder explains the fault later
            return 0, 0
        return height, width
    start = data.find(SIZ, 0, 512) if compression in JPEG_2000_STREAMS else -1
    if start < 0 or len(data) < start + 24:
        return 0, 0
    right, bottom, left, top = struct.unpack(">4I", data[start + 8 : start + 24])
    return bottom - top, right - left


def _check_page(path: Path, name: str, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    expected = int(np.prod(page.keyframe.chunked))
    if len(offsets) != len(counts) or len(counts) < expected:
        raise InputError(
            f"{path}: {name} lists {len(offsets)} offsets and {len(counts)} sizes for {expected} "
            "tiles or strips. The file is damaged. Copy or export it again."
        )
    absent = (offsets == 0) | (counts == 0)
    if absent.any():
        raise InputError(
            f"{path}: {absent.sum()} of {len(counts)} tiles or strips of {name} are absent "
            f"(the first is {_name(page, int(absent.argmax()))}). They would be read as black. "
            "Export the image again."
        )
    beyond = offsets + counts > page.parent.filehandle.size
    if beyond.any():
        raise InputError(
            f"{path}: the file is truncated: {beyond.sum()} of {len(counts)} tiles or strips of "
            f"{name} end beyond it (the first is {_name(page, int(beyond.argmax()))}). Copy it again."
        )


def _name(page: tifffile.TiffPage | tifffile.TiffFrame, number: int) -> str:
    """Name a tile or strip by its number and its first pixel."""
    key = page.keyframe
    height, width = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    across, down = -(-key.imagewidth // width), -(-key.imagelength // height)
    return f"number {number}, at y {number // across % down * height}, x {number % across * width}"
