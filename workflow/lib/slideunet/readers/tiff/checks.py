"""What a TIFF may hold: one plane with channels, in colours and compressions that come out right."""

from pathlib import Path

import tifffile

from slideunet.errors import InputError

PHOTOMETRIC = tifffile.PHOTOMETRIC
JPEG = (6, 7)
COLOUR_TRANSFORMING = (*JPEG, 22610, 33007)
"""Compressions (of the JPEG family) whose decoders turn YCbCr into RGB.

Those of JPEG 2000 do so only where the stream itself says what its components are, which Aperio's do not.
"""
APERIO_YCBCR = 33003
AXIS_NAMES = {
    "Z": "Z, a focus stack",
    "T": "T, a time series",
    "I": "I, pages that nothing relates to each other",
}


def check_axes(path: Path, series: tifffile.TiffPageSeries) -> str:
    """Return the axes of a series, refusing any that is longer than 1 besides C, Y, X and S."""
    axes: str = series.axes
    lengths = dict(zip(axes, series.shape, strict=True))
    extra = [
        AXIS_NAMES.get(axis, axis) + f" ({n} planes)"
        for axis, n in lengths.items()
        if n > 1 and axis not in "CYXS"
    ]
    if extra:
        raise InputError(
            f"{path}: has the axis {' and the axis '.join(extra)}. Only one plane with channels can be used. "
            "Export one plane or a projection; if the pages are channels, save them as OME-TIFF with axes "
            "CYX."
        )
    if {"C", "S"} <= set(axes):
        raise InputError(
            f"{path}: has {lengths['C']} channels of {lengths['S']} samples each. "
            "Which of them are colours is unclear. Save it as RGB, or as OME-TIFF with axes CYX."
        )
    return axes


def check_colour_model(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse colours that would come out wrong: others than grey, RGB, palette, and YCbCr within JPEG."""
    photometric, compression = page.photometric, page.compression
    if photometric == PHOTOMETRIC.YCBCR and compression in COLOUR_TRANSFORMING:
        return
    if compression == APERIO_YCBCR:
        photometric = PHOTOMETRIC.YCBCR  # whatever the tag says
    known = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
    if photometric not in known and not (photometric == PHOTOMETRIC.MASK and page.samplesperpixel == 1):
        raise InputError(
            f"{path}: its colour model (photometric interpretation "
            f"{getattr(photometric, 'name', photometric)}) is not "
            "supported. Colours would be wrong. Save it as grey or RGB."
        )


def check_compression(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a compression that tifffile and imagecodecs do not know, before the first tile is read."""
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError as error:
        raise InputError(
            f"{path}: its compression ({getattr(page.compression, 'name', f'number {page.compression}')}) is "
            "not supported. "
            "Save it with deflate, LZW, ZSTD, JPEG or JPEG 2000, or uncompressed."
        ) from error
