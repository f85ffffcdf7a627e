"""Decoding only those tiles and strips of a TIFF that overlap a region.

`TiffFile.asarray` would shift the pixels after a damaged tile; tifffile's Zarr store does not report the
damaged tile and parses all headers again for every read.
"""

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from slideunet.readers.tiff.metadata import main_series
from slideunet.readers.tiff.segments import check_encoded_size
from slideunet.sources.decode_errors import explain_damage
from slideunet.sources.lazy_pixels import Box, describe_place
from slideunet.sources.piece_cache import decode_cached, file_version


@dataclass(frozen=True)
class Plane:
    """Position of the tiles or strips of one page: `offsets` and `sizes` in bytes, int64 (n,)."""

    file: Path
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    options: dict[str, bytes]


@dataclass(frozen=True)
class Layout:
    """Arrangement of the tiles or strips of one level of a series.

    Attributes
    ----------
    level : int
        Index of the level.
    shape : tuple[int, int, int]
        (c, y, x); channels are pages, then planes of a page, then samples of a pixel.
    dtype : numpy.dtype
        In native byte order.
    segment : tuple[int, int]
        (y, x) of a tile or strip.
    samples : int
        Channels stored together in a tile or strip.
    planes : tuple[Plane, ...]
        One per page.
    decode : Callable
        tifffile's decoder of a page.
    compression : int
        TIFF number of the compression.
    """

    level: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    segment: tuple[int, int]
    samples: int
    planes: tuple[Plane, ...]
    decode: Callable[..., Any]
    compression: int

    @property
    def groups(self) -> int:
        """Groups of channels per page; the channels of a group are stored together."""
        return self.shape[0] // self.samples // len(self.planes)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles or strips."""
        return -(-self.shape[1] // self.segment[0]), -(-self.shape[2] // self.segment[1])


def series_shape(series: tifffile.TiffPageSeries) -> tuple[int, int, int]:
    """Return (c, y, x) of a series whose other axes have length 1; samples count as channels."""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return lengths.get("C", 1) * lengths.get("S", 1), lengths["Y"], lengths["X"]


def shape_of_pages(series: tifffile.TiffPageSeries) -> tuple[int, int, int]:
    """Return (c, y, x) according to the pages.

    It differs from `series_shape` in some one-row or one-column images of tifffile, which writes (2, 1, 1)
    channels, rows and columns into a page of two rows. `read_whole` reads these.
    """
    separate, _, height, width, samples = series.keyframe.shaped
    count = int(np.prod(series.shape)) // series.keyframe.size
    return count * separate * samples, height, width


def layout_of(series: tifffile.TiffPageSeries, level: int) -> Layout:
    """Read the layout of a level of a series from its headers."""
    series = series.levels[level]
    page = series.keyframe
    separate, _, height, width, samples = page.shaped
    pages = list(series.pages)
    return Layout(
        level=level,
        shape=(len(pages) * separate * samples, height, width),
        dtype=np.dtype(series.dtype).newbyteorder("="),
        segment=(page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width),
        samples=samples,
        planes=tuple(_plane(page, each) for each in pages),
        decode=page.decode,
        compression=int(page.compression),
    )


def read_segments(path: Path, box: Box, level: int) -> npt.NDArray[Any]:
    """Decode a region (c, y, x) of one level of the main series, in the file's dtype."""
    key = (path, file_version(path), level)
    layout = _parsed_layout(*key)
    region = np.empty([part.stop - part.start for part in box], layout.dtype)
    samples, (height, width) = layout.samples, layout.segment
    for group in _overlapping(box[0], samples):
        with _plane_of(layout, group).file.open("rb") as file:
            for row in _overlapping(box[1], height):
                for column in _overlapping(box[2], width):
                    segment = _segment(key, layout, file, (group, row, column))
                    _paste(region, box, segment, (group * samples, row * height, column * width))
    return region


def read_whole(path: Path, box: Box, level: int, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Decode all of a level and return a region (c, y, x)."""
    with tifffile.TiffFile(path) as tif:
        series = main_series(path, tif).levels[level]
        axes = "".join(axis for axis in series.axes if axis in "CYXS")
        pixels = series.asarray().reshape(
            [n for a, n in zip(series.axes, series.shape, strict=True) if a in axes]
        )
    order = [axes.index(axis) for axis in "CSYX" if axis in axes]
    return pixels.transpose(order).reshape(shape)[box]


@functools.lru_cache(maxsize=8)
def _parsed_layout(path: Path, identity: tuple[int, int], level: int) -> Layout:
    """Parse the headers once per process and version of the file: 10^6 tiles take a second."""
    del identity
    with tifffile.TiffFile(path) as tif:
        return layout_of(main_series(path, tif), level)


def _plane(keyframe: tifffile.TiffPage, page: tifffile.TiffPage | tifffile.TiffFrame) -> Plane:
    options = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    return Plane(
        file=Path(page.parent.filehandle.path),
        offsets=np.asarray(page.dataoffsets, np.int64),
        sizes=np.asarray(page.databytecounts, np.int64),
        options={name: value for name, value in options.items() if value is not None},
    )


def _plane_of(layout: Layout, group: int) -> Plane:
    """Return the page that contains a group of channels."""
    return layout.planes[group // layout.groups]


def _overlapping(part: slice, side: int) -> range:
    return range(part.start // side, -(-part.stop // side))


def _segment(key: Hashable, layout: Layout, file: BinaryIO, place: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Decode one tile or strip as (c, y, x); `place` is its group of channels, row and column."""
    group, row, column = place
    down, across = layout.grid
    plane = _plane_of(layout, group)
    number = ((group % layout.groups * down) + row) * across + column
    rows, columns = (
        slice(index * side, min((index + 1) * side, length))
        for index, side, length in zip(place[1:], layout.segment, layout.shape[1:], strict=True)
    )
    where = f"level {layout.level}, the tile or strip {describe_place((rows, columns))} cannot be decoded"
    values = layout.segment[0] * layout.segment[1] * layout.samples
    with explain_damage(plane.file, where):
        decode = functools.partial(_decode, layout, plane, number, file)
        pixels = decode_cached((key, place), values, decode)
        if pixels.shape[0] < rows.stop - rows.start or pixels.shape[1] < columns.stop - columns.start:
            raise EOFError("incomplete tile")
    return np.moveaxis(pixels, -1, 0)


def _decode(layout: Layout, plane: Plane, number: int, file: BinaryIO) -> npt.NDArray[Any]:
    """Decode a tile or strip (y, x, sample)."""
    file.seek(plane.offsets[number])
    data = file.read(plane.sizes[number])
    if len(data) < plane.sizes[number]:
        raise EOFError("truncated")
    check_encoded_size(plane.file, layout.compression, data, layout.segment)
    return layout.decode(data, number, **plane.options)[0][0]


def _paste(region: npt.NDArray[Any], box: Box, segment: npt.NDArray[Any], corner: tuple[int, ...]) -> None:
    """Copy the overlap of a segment, which starts at `corner`, into the region of `box`."""
    target = tuple(
        slice(max(first - part.start, 0), first + length - part.start)
        for part, first, length in zip(box, corner, segment.shape, strict=True)
    )
    source = tuple(
        slice(max(part.start - first, 0), part.stop - first) for part, first in zip(box, corner, strict=True)
    )
    region[target] = segment[source]


def uncompressed_planes(series: tifffile.TiffPageSeries) -> tuple[tuple[Path, int], ...]:
    """Return file and first byte of each page if all are contiguous and uncompressed; empty otherwise."""
    if not series.keyframe.is_final:
        return ()
    if series.dataoffset is not None:
        file, size = Path(series.keyframe.parent.filehandle.path), series.keyframe.nbytes
        return tuple((file, series.dataoffset + offset) for offset in range(0, series.nbytes, size))
    planes = []
    for page in series.pages:
        offsets, sizes = np.asarray(page.dataoffsets), np.asarray(page.databytecounts)
        if sizes.sum() != series.keyframe.nbytes or (offsets[1:] != offsets[:-1] + sizes[:-1]).any():
            return ()
        planes.append((Path(page.parent.filehandle.path), int(offsets[0])))
    return tuple(planes)


def read_uncompressed(
    path: Path, box: Box, planes: tuple[tuple[Path, int], ...], shape: tuple[int, ...], stored: np.dtype
) -> npt.NDArray[Any]:
    """Read a region (c, y, x) of contiguous, uncompressed pages.

    `planes` are file and first byte of each page, so `path` is unused; `shape` is that of a page (planes, y,
    x, samples of a pixel); `stored` is the dtype in the byte order of the file.
    """
    del path
    channels, rows, columns = box
    per_page = shape[0] * shape[3]
    first = channels.start // per_page
    pages = [
        np.array(np.memmap(file, stored, "r", offset, shape)[:, rows, columns])
        for file, offset in planes[first : -(-channels.stop // per_page)]
    ]
    # (page, plane, y, x, sample) to (channel, y, x)
    stack = np.moveaxis(np.stack(pages), -1, 2)
    stack = stack.reshape(-1, *stack.shape[3:])
    return stack[channels.start - first * per_page : channels.stop - first * per_page]
