"""Supported TIFF content: one plane with channels, colour models and compressions that decode correctly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tifffile

from slideunet.errors import InputError

PHOTOMETRIC = tifffile.PHOTOMETRIC
JPEG = (6, 7)
YCBCR_TO_RGB = (*JPEG, 22610, 33007)
"""Compressions (of the JPEG family) whose decoders convert YCbCr to RGB.

JPEG 2000 decoders do so only if the stream declares its components, which Aperio's does not.
"""
APERIO_YCBCR = 33003
AXIS_NAMES = {
    "Z": "Z, a focus stack",
    "T": "T, a time series",
    "I": "I, unrelated pages",
}


def check_companion(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse an OME-TIFF whose description is in another file: its planes alone have no meaning."""
    description = tifffile.xml2dict(tif.ome_metadata) if tif.is_ome else {}
    binary_only = (description.get("OME") or {}).get("BinaryOnly")
    if not isinstance(binary_only, dict):
        _check_pixels(path, description)
        return
    companion = str(binary_only.get("MetadataFile") or "a file that it does not name")
    remedy = (
        "Give that file in its place."
        if companion.lower().endswith((".tif", ".tiff"))
        else "Save the image as one OME-TIFF, for example with Bio-Formats (bfconvert) or QuPath."
    )
    raise InputError(
        f"{path}: is one file of an OME-TIFF of several; the description of its channels and pixels is in "
        f"{companion}. {remedy}"
    )


def _check_pixels(path: Path, description: Mapping[str, Any]) -> None:
    images = (description.get("OME") or {}).get("Image") if description else [{"Pixels": {}}]
    images = images if isinstance(images, list) else [images]
    if not images or not all(isinstance(image, dict) and "Pixels" in image for image in images):
        raise InputError(
            f"{path}: its OME-XML describes no pixels, so channels and planes have no meaning. Save it again "
            "as OME-TIFF, for example with Bio-Formats (bfconvert) or QuPath, or as plain TIFF."
        )


def check_axes(path: Path, series: tifffile.TiffPageSeries) -> str:
    """Return the axes of a series; refuse axes longer than 1 other than C, Y, X and S."""
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
            "Export one plane or a projection; if pages are channels, save them as OME-TIFF with axes CYX."
        )
    if {"C", "S"} <= set(axes):
        raise InputError(
            f"{path}: has {lengths['C']} channels of {lengths['S']} samples each. "
            "It is unclear which of them are colours. Save it as RGB, or as OME-TIFF with axes CYX."
        )
    return axes


def check_colour_model(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse colour models other than grey, RGB, palette, and YCbCr in JPEG: colours would be wrong."""
    photometric, compression = page.photometric, page.compression
    if photometric == PHOTOMETRIC.YCBCR and compression in YCBCR_TO_RGB:
        return
    if compression == APERIO_YCBCR:
        photometric = PHOTOMETRIC.YCBCR  # Aperio declares RGB
    supported = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
    if photometric not in supported and not (photometric == PHOTOMETRIC.MASK and page.samplesperpixel == 1):
        raise InputError(
            f"{path}: its colour model (photometric interpretation "
            f"{getattr(photometric, 'name', photometric)}) is not supported. "
            "Colours would be wrong. Save it as grey or RGB."
        )


def check_compression(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a compression that tifffile and imagecodecs cannot decode, before the first tile is read."""
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError as error:
        raise InputError(
            f"{path}: its compression ({getattr(page.compression, 'name', f'number {page.compression}')}) is "
            "not supported. Save it with deflate, LZW, ZSTD, JPEG or JPEG 2000, or uncompressed."
        ) from error
