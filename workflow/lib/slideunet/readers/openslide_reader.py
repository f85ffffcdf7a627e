"""Slide formats of scanner makers, through OpenSlide: SVS, NDPI, MRXS, SCN, VMS, BIF, DICOM and others.

Which reader takes a file is told from its content. OpenSlide knows what each maker means: which pages are
the slide, how overlapping tiles are put together, which colour model Aperio's JPEG 2000 has. So it takes
every file in which it recognises a maker. It renders everything as 8-bit RGB, though, and interpolates in
coarser levels, so tifffile takes what needs no knowledge of a maker: plain and OME-TIFF, 16 bits, channels.
"""

from functools import partial
from pathlib import Path

import dask.array as da
import numpy as np
import openslide
import tifffile

from slideunet.errors import InputError
from slideunet.readers.companion_files import files_of
from slideunet.readers.openslide_rendering import COLOURS, Identity, render, rendered, use_slide
from slideunet.readers.tiff.open_tiff import lazy_level
from slideunet.readers.tiff.segments import check_segments
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.levels import pyramid_levels
from slideunet.sources.piece_cache import file_version
from slideunet.sources.pixel_size import square_pixel
from slideunet.sources.source import Stored, check_size

GENERIC = "generic-tiff"
APERIO = "aperio"
ALIKE = (1, 5, 7, 8, 33005)
"""Compressions of Aperio that tifffile decodes as OpenSlide does. Not 33003: its YCbCr is said to be RGB."""
TRIAL = 16
"""Side of the region that both decode as a trial."""


def find_maker(path: Path) -> str | None:
    """Return OpenSlide's name of the maker of a slide file; None for what is not for OpenSlide.

    A TIFF of a maker that is not 8-bit RGB (fluorescence) is left to tifffile: OpenSlide refuses it.
    """
    maker = openslide.OpenSlide.detect_format(path)
    if maker in (None, GENERIC):
        return None
    return maker if _is_colour(path) else None


def open_slide(path: Path, max_pixels: int, level: int = 0) -> Stored:
    """Open one level of a slide; nothing but one tile is decoded before it is asked for.

    Label, macro and thumbnail images are never read: they can carry patients' names. Where the scanner
    recorded nothing, the pixels have the background colour that the file names, else white.

    Parameters
    ----------
    path : Path
        The file, of several the one that OpenSlide asks for.
    max_pixels : int
        Largest number of values in one compressed tile.
    level : int
        0 is the full resolution.

    Returns
    -------
    Stored
        Lazy (c, y, x) uint8, red, green and blue.

    Raises
    ------
    InputError
        The slide is damaged, incomplete or of a variant that OpenSlide does not read; a declared size far
        beyond its files; absent or truncated tiles; pixels that are not square.
    """
    identity = tuple(file_version(file) for file in files_of(path))
    with explain_damage(path, "the slide cannot be opened"):
        sizes, properties = use_slide(path, identity, _describe)
    check_size(path, (*sizes[0], len(COLOURS)), 1, sum(size for size, _ in identity))
    pixels = None
    if properties[openslide.PROPERTY_NAME_VENDOR] == APERIO:
        pixels = _plain_tiles(path, identity, sizes, level, max_pixels)
    mpp = (properties.get(name) for name in (openslide.PROPERTY_NAME_MPP_Y, openslide.PROPERTY_NAME_MPP_X))
    return Stored(
        pixels=rendered(path, identity, sizes[level], properties, level) if pixels is None else pixels,
        channels=COLOURS,
        mpp=square_pixel(path, *(None if size is None else float(size) for size in mpp)),
        levels=pyramid_levels(sizes),
        magnification=properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER, ""),
        lossy=True,
    )


def _describe(slide: openslide.OpenSlide) -> tuple[list[tuple[int, int]], dict[str, str]]:
    """Sizes (y, x) of all levels, and the properties."""
    return [(height, width) for width, height in slide.level_dimensions], dict(slide.properties)


def _is_colour(path: Path) -> bool:
    """Whether the first page of a TIFF is 8-bit RGB; True for what tifffile does not read."""
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            return page.bitspersample == 8 and page.samplesperpixel in (3, 4)
    except Exception:  # tifffile has many; OpenSlide will say what is wrong
        return True


def _plain_tiles(
    path: Path, identity: Identity, sizes: list[tuple[int, int]], level: int, max_pixels: int
) -> da.Array | None:
    """Decode the tiles of an Aperio file by tifffile, where that gives the same bits; None where it does not.

    It is several times faster, and exact also at levels between whose pixels OpenSlide would interpolate. One
    tile in the middle of the slide is decoded by both as a trial.

    Absent tiles are an error: OpenSlide would render them as background. (Other makers leave out tiles
    without tissue on purpose.)
    """
    with explain_damage(path, "the TIFF headers cannot be read"), tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        pages = [one.keyframe for one in series.levels]
        if [(page.imagelength, page.imagewidth) for page in pages] != sizes:
            return None
        check_segments(path, series, level)
        if any(page.compression not in ALIKE or page.samplesperpixel != len(COLOURS) for page in pages):
            return None
        full, wanted = (lazy_level(path, series, number, max_pixels) for number in (0, level))
    return wanted if _agree(path, identity, full) else None


def _agree(path: Path, identity: Identity, pixels: da.Array) -> bool:
    """Whether OpenSlide gives the same pixels (c, y, x) of level 0 in the middle of the slide.

    What OpenSlide cannot decode either is left to tifffile, which names the tile when it comes to it.
    """
    rows, columns = (slice(side // 2, min(side // 2 + TRIAL, side)) for side in pixels.shape[1:])
    try:
        expected = use_slide(path, identity, partial(render, level=0, rows=rows, columns=columns))
    except openslide.OpenSlideError:
        return True
    try:
        trial = pixels[:, rows, columns].compute(scheduler="synchronous")
    except InputError:
        return False
    return bool((np.moveaxis(trial, 0, -1) == expected).all())
