"""TIFF files: plain, BigTIFF, OME-TIFF, ImageJ, and the slide formats that tifffile reads."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import tifffile
import zarr

from slideunet.errors import InputError
from slideunet.images.orientation import turn_upright
from slideunet.images.source import (
    CHUNK,
    FilePixels,
    Index,
    Stored,
    check_decode,
    check_size,
    enlarge_chunks,
    explain_damage,
    lazy_array,
)
from slideunet.images.tiff_metadata import check_tags, name_channels, pixel_size
from slideunet.images.tiff_segments import check_segments

PHOTOMETRIC = tifffile.PHOTOMETRIC
JPEG = (6, 7)
COLOUR_TRANSFORMING = (*JPEG, 22610, 33003, 33004, 33005, 33007, 34712)
"""Compressions (JPEG and JPEG 2000 families) whose decoders turn YCbCr into RGB."""
AXIS_NAMES = {
    "Z": "Z, a focus stack",
    "T": "T, a time series",
    "I": "I, pages that nothing relates to each other",
}


def open_tiff(path: Path, max_pixels: int) -> Stored:
    """Open a TIFF by its headers; tiles and strips are decoded when they are asked for.

    The first series at full resolution is taken. Several pages are channels only where the metadata (OME,
    ImageJ, tifffile) say so. Every tile and strip must lie inside the file: absent ones would be read as
    black.

    Parameters
    ----------
    path : Path
        The file.
    max_pixels : int
        Largest number of values in one compressed tile or strip.

    Returns
    -------
    Stored
        (c, y, x) in whole tiles or strips, in the file's dtype, turned as the Orientation tag asks.

    Raises
    ------
    InputError
        A header cannot be read; focus stack or time series; several images; absent or truncated tiles; a
        colour model other than grey, RGB, YCbCr in JPEG, or palette; a declared size beyond the limits;
        pixels that are not square.
    """
    with explain_damage(path, "the TIFF headers cannot be read"), tifffile.TiffFile(path) as tif:
        series = _main_series(path, tif)
        page = series.keyframe
        check_tags(path, tif, page)
        _check_colour_model(path, page)
        check_size(path, series.shape, series.dtype.itemsize, path.stat().st_size)
        check_segments(path, series)
        axes = _check_axes(path, series)
        pixels = _lazy_series(path, series, axes.lower(), max_pixels)
        names = name_channels(tif, axes, pixels.shape[0], page)
        orientation = page.tags.valueof("Orientation", 1)
        return Stored(
            pixels=turn_upright(pixels, orientation),
            channels=names,
            mpp=pixel_size(path, tif, page),
            palette=_palette(page),
            alpha=names[-1] == "alpha",
            white=_white(path, page),
            lossy=page.compression in JPEG,
        )


def _main_series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the first series, unless another one (no thumbnail of a slide format) is as large."""
    first, *others = tif.series
    is_slide = any(getattr(tif, f"is_{kind}") for kind in ("svs", "ndpi", "scn", "bif", "philips", "qpi"))
    rivals = [series for series in others if series.size >= first.size]
    if rivals and not is_slide:
        raise InputError(
            f"{path}: holds {len(tif.series)} images, {len(rivals)} of them as large as the first. "
            "Which one is meant is unclear. Save each image to its own file."
        )
    return first


def _check_axes(path: Path, series: tifffile.TiffPageSeries) -> str:
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


def _check_colour_model(path: Path, page: tifffile.TiffPage) -> None:
    photometric, compression = page.photometric, page.compression
    if photometric == PHOTOMETRIC.YCBCR and compression in COLOUR_TRANSFORMING:
        return
    known = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
    if photometric not in known and not (photometric == PHOTOMETRIC.MASK and page.samplesperpixel == 1):
        raise InputError(
            f"{path}: its colour model (photometric interpretation "
            f"{getattr(photometric, 'name', photometric)}) is not "
            "supported. Colours would be wrong. Save it as grey or RGB."
        )


def _lazy_series(path: Path, series: tifffile.TiffPageSeries, axes: str, max_pixels: int) -> da.Array:
    """Return the lazy (c, y, x) array of a series with the given lower-case axes."""
    shape = tuple(series.shape)
    dtype = np.dtype(series.dtype).newbyteorder("=")
    if series.dataoffset is not None:
        chunks = tuple(
            min(n, CHUNK) if axis in "yx" else n if axis == "s" else 1
            for axis, n in zip(axes, shape, strict=True)
        )
        stored = dtype.newbyteorder(series.keyframe.parent.byteorder)  # series.dtype has the machine's
        read = partial(_read_contiguous, offset=series.dataoffset, shape=shape, stored=stored)
    else:
        with series.aszarr(level=0) as store:
            own = zarr.open_array(store).chunks
        check_decode(path, own, max_pixels)
        chunks = enlarge_chunks(own, shape, axes)
        read = partial(_read_segments)
    array = lazy_array(FilePixels(path, shape, dtype, read), chunks)
    # What is left of the other axes has one plane.
    array = array[tuple(slice(None) if axis in "cyxs" else 0 for axis in axes)]
    axes = "".join(axis for axis in axes if axis in "cyxs").replace("s", "c")
    return array.transpose([axes.index(a) for a in "cyx"]) if "c" in axes else array[None]


def _read_contiguous(
    path: Path, index: Index, offset: int, shape: tuple[int, ...], stored: np.dtype
) -> npt.NDArray[Any]:
    """Read a part of uncompressed pixels in one piece, which tifffile would hand out as one strip."""
    return np.array(np.memmap(path, stored, "r", offset, shape)[index])


def _read_segments(path: Path, index: Index) -> npt.NDArray[Any]:
    # Through Zarr, because TiffFile.asarray shifts all that follows a damaged tile.
    with tifffile.imread(os.fspath(path), aszarr=True, series=0, level=0) as store:
        return np.asarray(zarr.open_array(store)[index])


def _palette(page: tifffile.TiffPage) -> npt.NDArray[np.unsignedinteger] | None:
    """Return the colour map as (entries, 3), in 8 bits where those hold it."""
    if page.photometric != PHOTOMETRIC.PALETTE:
        return None
    colours = np.asarray(page.colormap, np.uint16).T
    low, high = colours & 0xFF, colours >> 8
    return high.astype(np.uint8) if np.isin(low, (0, 255)).all() or (low == high).all() else colours


def _white(path: Path, page: tifffile.TiffPage) -> int | None:
    if page.photometric != PHOTOMETRIC.MINISWHITE:
        return None
    if page.dtype.kind not in "ub":
        raise InputError(
            f"{path}: zero means white (MinIsWhite) in pixels of type {page.dtype}, which has no defined "
            "black. "
            "Save it with an ordinary grey scale."
        )
    return 2**page.bitspersample - 1
