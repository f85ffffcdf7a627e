"""Slide formats of scanner vendors, through OpenSlide: SVS, NDPI, MRXS, SCN, VMS, BIF, DICOM and others.

OpenSlide knows the vendors' conventions: which pages are the slide, how overlapping tiles are stitched, which
colour model Aperio's JPEG 2000 has. So it reads every file whose content it recognises. But it renders
everything as 8-bit RGB and interpolates coarser levels, so tifffile reads what needs no such knowledge: plain
and OME-TIFF, 16 bits, channels.
"""

import functools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
import openslide
import tifffile
from PIL import Image

from slideunet.errors import InputError
from slideunet.readers.companion_files import files_of
from slideunet.readers.tiff.open_tiff import lazy_level
from slideunet.readers.tiff.segments import check_segments
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import Box, FilePixels, describe_place, enlarge_chunks, lazy_array
from slideunet.sources.levels import pyramid_levels
from slideunet.sources.piece_cache import file_version
from slideunet.sources.pixel_size import stated_size
from slideunet.sources.source import RGB_NAMES, Stored, check_size

GENERIC = "generic-tiff"
APERIO = "aperio"
EXACT_COMPRESSIONS = (1, 5, 7, 8, 33005)
"""Compressions of Aperio that tifffile decodes like OpenSlide. Not 33003, whose YCbCr is declared as RGB."""
TRIAL = 16
"""Side of the region that both decode as a trial."""
UNKNOWN_TILE = 256
OPEN_SLIDES = 4
"""Slides that stay open per process, each with up to 32 MB of decoded tiles."""

Identity = tuple[tuple[int, int], ...]
"""Version of every file of a slide."""
_Result = TypeVar("_Result")


def find_vendor(path: Path) -> str | None:
    """Return OpenSlide's name of the vendor of a slide; None for files that other readers open.

    Vendor TIFFs that are not 8-bit RGB (fluorescence) are left to tifffile, because OpenSlide refuses them.
    """
    vendor = openslide.OpenSlide.detect_format(path)
    return None if vendor in (None, GENERIC) or not _is_colour(path) else vendor


def open_vendor_slide(path: Path, max_pixels: int, level: int = 0) -> Stored:
    """Open one level of a slide; only one trial tile is decoded before pixels are requested.

    Label, macro and thumbnail images, which may show patients' names, are never read. Areas that were not
    scanned get the background colour of the file, or white.

    Parameters
    ----------
    path : Path
        The file that OpenSlide opens, where the slide has several.
    max_pixels : int
        Maximum number of values in one compressed tile.
    level : int
        0 is the full resolution.

    Returns
    -------
    Stored
        Lazy (c, y, x) uint8, RGB.

    Raises
    ------
    InputError
        Damaged, incomplete or unsupported slide; decompression bomb; absent or truncated tiles.
    """
    identity = tuple(file_version(file) for file in files_of(path))
    with explain_damage(path, "the slide cannot be opened"):
        sizes, properties = _use_slide(path, identity, _describe)
    check_size(path, (*sizes[0], len(RGB_NAMES)), 1, sum(size for size, _ in identity))
    pixels = None
    if properties[openslide.PROPERTY_NAME_VENDOR] == APERIO:
        pixels = _aperio_tiles(path, identity, sizes, level, max_pixels)
    return Stored(
        pixels=_rendered(path, identity, sizes[level], properties, level) if pixels is None else pixels,
        channels=RGB_NAMES,
        size=stated_size(
            properties.get(openslide.PROPERTY_NAME_MPP_Y), properties.get(openslide.PROPERTY_NAME_MPP_X)
        ),
        levels=pyramid_levels(sizes),
        magnification=properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER, ""),
        lossy=True,
    )


def _describe(slide: openslide.OpenSlide) -> tuple[list[tuple[int, int]], dict[str, str]]:
    """Sizes (y, x) of all levels, and the properties."""
    return [(height, width) for width, height in slide.level_dimensions], dict(slide.properties)


def _is_colour(path: Path) -> bool:
    """Whether the first page of a TIFF is 8-bit RGB; True for files that tifffile cannot read."""
    try:
        with tifffile.TiffFile(path) as tif:
            page = tif.pages.first
            return page.bitspersample == 8 and page.samplesperpixel in (3, 4)
    except Exception:  # tifffile raises many types; OpenSlide explains the fault later
        return True


def _aperio_tiles(
    path: Path, identity: Identity, sizes: list[tuple[int, int]], level: int, max_pixels: int
) -> da.Array | None:
    """Decode the tiles of an Aperio file by tifffile; None if that would change any value.

    This is several times faster, and exact at levels between whose pixels OpenSlide would interpolate.

    Absent tiles are an error here, while OpenSlide would render them as background. (Other vendors omit
    tiles without tissue on purpose.)
    """
    with explain_damage(path, "the TIFF headers cannot be read"), tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        pages = [pyramid_level.keyframe for pyramid_level in series.levels]
        if [(page.imagelength, page.imagewidth) for page in pages] != sizes:
            return None
        check_segments(path, series, level)
        if any(page.compression not in EXACT_COMPRESSIONS or page.samplesperpixel != 3 for page in pages):
            return None
        full, pixels = (lazy_level(path, series, number, max_pixels) for number in (0, level))
    return pixels if _agree(path, identity, full) else None


def _agree(path: Path, identity: Identity, pixels: da.Array) -> bool:
    """Whether OpenSlide returns the same pixels (c, y, x) in the centre of level 0.

    Tiles that OpenSlide cannot decode either are left to tifffile, which names them when it reads them.
    """
    rows, columns = (slice(side // 2, min(side // 2 + TRIAL, side)) for side in pixels.shape[1:])
    try:
        expected = _use_slide(path, identity, partial(_render, level=0, rows=rows, columns=columns))
    except openslide.OpenSlideError:
        return True
    try:
        trial = pixels[:, rows, columns].compute(scheduler="synchronous")
    except InputError:
        return False
    return bool((np.moveaxis(trial, 0, -1) == expected).all())


def _rendered(
    path: Path, identity: Identity, size: tuple[int, int], properties: Mapping[str, str], level: int
) -> da.Array:
    """Lazy (c, y, x) pixels of a level as OpenSlide renders them, in chunks of whole tiles of the file."""
    sides = [int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("height", "width")]
    tile = [side if 0 < side <= length else UNKNOWN_TILE for side, length in zip(sides, size, strict=True)]
    chunks = enlarge_chunks((len(RGB_NAMES), *tile), (len(RGB_NAMES), *size), "cyx")
    read = partial(_read, identity=identity, level=level, size=size, chunk=chunks[1:])
    return lazy_array(FilePixels(path, (len(RGB_NAMES), *size), np.dtype(np.uint8), read), chunks)


def _read(
    path: Path, box: Box, identity: Identity, level: int, size: tuple[int, int], chunk: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Read a region (c, y, x) of one chunk.

    The whole chunk is rendered, because values must not depend on the corner of the region: OpenSlide
    interpolates at a level of 2221 of 4443 pixels, where nearly every corner falls between two pixels.
    """
    starts = [part.start // side * side for part, side in zip(box[1:], chunk, strict=True)]
    rows, columns = (
        slice(start, min(start + side, length))
        for start, side, length in zip(starts, chunk, size, strict=True)
    )
    what = f"level {level}, the pixels {describe_place((rows, columns))} cannot be decoded"
    with explain_damage(path, what):
        pixels = _use_slide(path, identity, partial(_render, level=level, rows=rows, columns=columns))
    y, x = (slice(part.start - start, part.stop - start) for part, start in zip(box[1:], starts, strict=True))
    return np.moveaxis(pixels[y, x], -1, 0)[box[0]]


def _render(slide: openslide.OpenSlide, level: int, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
    """Render pixels of a level on the background colour, as (y, x, c)."""
    step = slide.level_downsamples[level]  # read_region takes the corner at full resolution
    corner = round(columns.start * step), round(rows.start * step)
    region = slide.read_region(corner, level, (columns.stop - columns.start, rows.stop - rows.start))
    opacity = region.getchannel("A")
    if opacity.getextrema() == (255, 255):
        return np.asarray(region.convert("RGB"))
    colour = slide.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")
    background = Image.new("RGB", region.size, f"#{colour}")
    background.paste(region, mask=opacity)
    return np.asarray(background)


def _use_slide(path: Path, identity: Identity, action: Callable[[openslide.OpenSlide], _Result]) -> _Result:
    """Apply a function to the open slide, and after an error once more to a new handle.

    A handle fails forever, in all threads, after one failed read, so the fault may be another region's.
    """
    try:
        return action(_opened(path, identity))
    except openslide.OpenSlideError:
        _opened.cache_clear()
        with openslide.OpenSlide(path) as slide:
            return action(slide)


@functools.lru_cache(maxsize=OPEN_SLIDES)
def _opened(path: Path, identity: Identity) -> openslide.OpenSlide:
    """Open a slide once per process and version of its files, which takes seconds for some vendors."""
    del identity
    return openslide.OpenSlide(path)
