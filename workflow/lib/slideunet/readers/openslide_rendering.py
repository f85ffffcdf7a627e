"""Pixels as OpenSlide renders them: in blocks of a fixed grid, on the background, with handles that last."""

import functools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
import openslide
from PIL import Image

from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import Box, FilePixels, describe_place, enlarge_chunks, lazy_array

Result = TypeVar("Result")
Identity = tuple[tuple[int, int], ...]
"""Size and time of the last change of every file of a slide."""

COLOURS = ("red", "green", "blue")
WHITE = "ffffff"
UNKNOWN_TILE = 256
OPEN_SLIDES = 4
"""Slides that stay open per process; each holds up to 32 MB of decoded tiles."""


def rendered(
    path: Path, identity: Identity, size: tuple[int, int], properties: Mapping[str, str], level: int
) -> da.Array:
    """Lazy (c, y, x) pixels of a level as OpenSlide renders them."""
    block = _block(properties, level, size)
    read = partial(_read, identity=identity, level=level, size=size, block=block)
    pixels = FilePixels(path, (len(COLOURS), *size), np.dtype(np.uint8), read)
    return lazy_array(pixels, (len(COLOURS), *block))


def use_slide(path: Path, identity: Identity, action: Callable[[openslide.OpenSlide], Result]) -> Result:
    """Do something with the open slide, and, if that fails, with a new handle that nobody else has.

    After one failed read a handle fails for ever, in all threads, so the fault may lie elsewhere.
    """
    try:
        return action(_opened(path, identity))
    except openslide.OpenSlideError:
        _opened.cache_clear()
        with openslide.OpenSlide(path) as own:
            return action(own)


def render(slide: openslide.OpenSlide, level: int, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
    """Render pixels of a level on the background colour, as (y, x, c)."""
    step = slide.level_downsamples[level]  # places are given in pixels of the full resolution
    corner = round(columns.start * step), round(rows.start * step)
    region = slide.read_region(corner, level, (columns.stop - columns.start, rows.stop - rows.start))
    opacity = region.getchannel("A")
    if opacity.getextrema() == (255, 255):
        return np.asarray(region.convert("RGB"))
    colour = slide.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, WHITE)
    ground = Image.new("RGB", region.size, f"#{colour}")
    ground.paste(region, mask=opacity)
    return np.asarray(ground)


def _block(properties: Mapping[str, str], level: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Size (y, x) of the blocks that are read at once: whole tiles of the file where their size is known."""
    tile = [int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("height", "width")]
    tile = [side if 0 < side <= length else UNKNOWN_TILE for side, length in zip(tile, shape, strict=True)]
    height, width = enlarge_chunks((tile[0], tile[1]), shape, "yx")
    return height, width


def _read(
    path: Path, box: Box, identity: Identity, level: int, size: tuple[int, int], block: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Read a region (c, y, x) in whole blocks of a fixed grid.

    The same pixel must not depend on where the region begins: between two pixels of a level OpenSlide
    interpolates, and a level of 2221 of 4443 pixels begins between two pixels almost anywhere. So each block
    is always asked for from the same place.
    """
    channels, rows, columns = box
    bands = []
    for y in _grid(rows, block[0], size[0]):
        across = _grid(columns, block[1], size[1])
        parts = [
            _read_block(path, identity, level, y, x)[_within(y, rows), _within(x, columns)] for x in across
        ]
        bands.append(np.concatenate(parts, axis=1))
    return np.moveaxis(np.concatenate(bands), -1, 0)[channels]


def _grid(part: slice, side: int, length: int) -> Iterator[slice]:
    """Yield the blocks along one axis that a part touches."""
    for start in range(part.start // side * side, part.stop, side):
        yield slice(start, min(start + side, length))


def _within(block: slice, part: slice) -> slice:
    """What of a block belongs to a part, counted from the block's beginning."""
    return slice(max(part.start - block.start, 0), part.stop - block.start)


def _read_block(
    path: Path, identity: Identity, level: int, rows: slice, columns: slice
) -> npt.NDArray[np.uint8]:
    """Read one block as (y, x, c)."""
    what = f"level {level}, the pixels {describe_place((rows, columns))} cannot be decoded"
    with explain_damage(path, what):
        return use_slide(path, identity, partial(render, level=level, rows=rows, columns=columns))


@functools.lru_cache(maxsize=OPEN_SLIDES)
def _opened(path: Path, identity: Identity) -> openslide.OpenSlide:
    """Open a slide once per process and version of its files: some makers' take seconds."""
    del identity
    return openslide.OpenSlide(path)
