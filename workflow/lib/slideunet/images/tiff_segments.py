"""Whether the tiles and strips that a TIFF lists are there; absent ones would be read as black."""

from pathlib import Path

import numpy as np
import tifffile

from slideunet.errors import InputError


def check_segments(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Refuse a file in which a tile or strip is absent or ends beyond the end of the file, before decoding.

    Parameters
    ----------
    path : Path
        For the message.
    series : tifffile.TiffPageSeries
        All its planes are looked at, their headers only.

    Raises
    ------
    InputError
        Says how many tiles or strips are absent or cut off, and which is the first.
    """
    if series.dataoffset is not None:
        size = series.keyframe.parent.filehandle.size
        if series.dataoffset + series.nbytes > size:
            missing = series.dataoffset + series.nbytes - size
            raise InputError(
                f"{path}: the file is truncated, {missing:,} bytes of pixels are missing. Copy it again."
            )
        return
    pages = list(series.pages)
    if None in pages:
        raise InputError(
            f"{path}: {pages.count(None)} of its {len(pages)} planes are absent, perhaps in another file. "
            "They would be read as black. Put all files of the OME-TIFF into one folder."
        )
    for number, page in enumerate(pages):
        _check_page(path, number, page)


def _check_page(path: Path, number: int, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    expected = int(np.prod(page.keyframe.chunked))
    if len(offsets) != len(counts) or len(counts) < expected:
        raise InputError(
            f"{path}: plane {number} lists {len(offsets)} offsets and {len(counts)} sizes for {expected} "
            "tiles or strips. "
            "The file is damaged. Copy or export it again."
        )
    absent = (offsets == 0) | (counts == 0)
    if absent.any():
        raise InputError(
            f"{path}: {absent.sum()} of {len(counts)} tiles or strips of plane {number} are absent "
            f"(the first is number {absent.argmax()}). They would be read as black. Export the image again."
        )
    beyond = offsets + counts > page.parent.filehandle.size
    if beyond.any():
        raise InputError(
            f"{path}: the file is truncated: {beyond.sum()} of {len(counts)} tiles or strips of plane "
            f"{number} end beyond it "
            f"(the first is number {beyond.argmax()}). Copy it again."
        )
