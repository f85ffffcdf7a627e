"""Pages of a TIFF that lie uncompressed in one piece: any part is read directly from its place."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from slideunet.sources.lazy_pixels import Box


def uncompressed_planes(series: tifffile.TiffPageSeries) -> tuple[tuple[Path, int], ...]:
    """File and first byte of each page, where all lie uncompressed in one piece; empty otherwise."""
    if not series.keyframe.is_final:
        return ()
    if series.dataoffset is not None:
        file, size = Path(series.keyframe.parent.filehandle.path), series.keyframe.nbytes
        return tuple((file, series.dataoffset + at) for at in range(0, series.nbytes, size))
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
    """Read a region (c, y, x) of pages of which each lies uncompressed in one piece.

    Parameters
    ----------
    path : Path
        Unused: every page names its own file.
    box : tuple of slice
        (c, y, x).
    planes : tuple of (Path, int)
        File and first byte of each page.
    shape : tuple of int
        (planes of the page, y, x, samples of a pixel), the same for all pages.
    stored : numpy.dtype
        In the byte order of the file.
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
