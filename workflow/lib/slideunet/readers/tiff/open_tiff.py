"""TIFF files: plain, BigTIFF, OME-TIFF, ImageJ, and the slide formats that tifffile reads."""

from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import numpy.typing as npt
import tifffile

from slideunet.errors import InputError
from slideunet.readers.tiff.checks import (
    JPEG,
    PHOTOMETRIC,
    check_axes,
    check_colour_model,
    check_companion,
    check_compression,
)
from slideunet.readers.tiff.decoding import (
    layout_of,
    read_segments,
    read_uncompressed,
    read_whole,
    series_shape,
    shape_of_pages,
    uncompressed_planes,
)
from slideunet.readers.tiff.metadata import (
    check_tags,
    display_colours,
    main_series,
    name_channels,
    pixel_size,
    significant_bits,
)
from slideunet.readers.tiff.segments import check_segments
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import (
    CHUNK,
    LARGE_CHUNK,
    FilePixels,
    enlarge_chunks,
    is_transposed,
    lazy_array,
    turn_upright,
)
from slideunet.sources.levels import pyramid_levels
from slideunet.sources.source import Stored, check_decode, check_size


def open_tiff(path: Path, max_pixels: int, level: int = 0) -> Stored:
    """Open the first series of a TIFF by its headers; tiles and strips are decoded on request.

    Several pages are channels only if the metadata (OME, ImageJ, tifffile) say so.

    Parameters
    ----------
    path : Path
        The file.
    max_pixels : int
        Maximum number of values in one compressed tile or strip.
    level : int
        Pyramid level: sub-IFDs, or smaller pages of the same picture. 0 is the full resolution.

    Returns
    -------
    Stored
        (c, y, x) in chunks of whole tiles or strips, in the file's dtype, upright.

    Raises
    ------
    InputError
        Unreadable headers; focus stack or time series; several images; absent or truncated tiles; a colour
        model other than grey, RGB, YCbCr in JPEG, or palette; unsupported compression; decompression bomb.
    """
    with explain_damage(path, "the TIFF headers cannot be read"), tifffile.TiffFile(path) as tif:
        # First, because tifffile fails to build a series from a page without pixels.
        check_size(path, (tif.pages.first.imagelength, tif.pages.first.imagewidth), 1, None)
        check_companion(path, tif)
        series = main_series(path, tif)
        page = series.keyframe
        check_tags(path, tif, page)
        check_size(path, series.shape, series.dtype.itemsize, path.stat().st_size)
        check_colour_model(path, page)
        check_compression(path, series.levels[level].keyframe)
        check_segments(path, series, level)
        axes = check_axes(path, series)
        orientation = page.tags.valueof("Orientation", 1)
        pixels = lazy_level(path, series, level, max_pixels)
        names = name_channels(tif, axes, pixels.shape[0], page)
        return Stored(
            pixels=turn_upright(pixels, orientation),
            channels=names,
            size=pixel_size(tif, page),
            levels=pyramid_levels([_upright_shape(each, orientation) for each in series.levels]),
            palette=_palette(page),
            alpha=names[-1] == "alpha",
            white=_white(path, page),
            lossy=page.compression in JPEG,
            colours=() if "S" in axes else display_colours(tif, len(names)),
            bits=significant_bits(tif, page),
        )


def lazy_level(path: Path, series: tifffile.TiffPageSeries, level: int, max_pixels: int) -> da.Array:
    """Return one level of the main series of an open file as a lazy array (c, y, x), not yet upright.

    Chunks are whole tiles or strips, each with at most `max_pixels` values.
    """
    image = series.levels[level]
    dtype = np.dtype(image.dtype).newbyteorder("=")
    shape = series_shape(image)
    if shape != shape_of_pages(image):
        check_decode(path, shape, max_pixels)
        read = partial(read_whole, level=level, shape=shape)
        return lazy_array(FilePixels(path, shape, dtype, read), shape)
    planes = uncompressed_planes(image)
    if planes:
        separate, _, height, width, samples = image.keyframe.shaped
        stored = dtype.newbyteorder(image.keyframe.parent.byteorder)
        pages = (separate, height, width, samples)
        read = partial(read_uncompressed, planes=planes, shape=pages, stored=stored)
        chunks = (samples, min(height, CHUNK), min(width, CHUNK))
        return lazy_array(FilePixels(path, shape, dtype, read), chunks)
    layout = layout_of(series, level)
    check_decode(path, (*layout.segment, layout.samples), max_pixels)
    # The strips of a chunk are decoded one after the other, and rows of chunks in parallel.
    side = LARGE_CHUNK if image.keyframe.is_tiled else CHUNK
    tiles = enlarge_chunks((layout.samples, *layout.segment), shape, "cyx", side)
    return lazy_array(FilePixels(path, shape, dtype, partial(read_segments, level=level)), tiles)


def _upright_shape(series: tifffile.TiffPageSeries, orientation: int) -> tuple[int, int]:
    _, height, width = series_shape(series)
    return (width, height) if is_transposed(orientation) else (height, width)


def _palette(page: tifffile.TiffPage) -> npt.NDArray[np.unsignedinteger] | None:
    """Return the colour map as (entries, 3), as uint8 if that is exact."""
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
            "black. Save it with an ordinary grey scale."
        )
    return 2**page.bitspersample - 1
