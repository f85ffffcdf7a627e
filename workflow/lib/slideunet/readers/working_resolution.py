"""Images at the working resolution: the nearest level that is not coarser, shrunk to the wanted pixel size.

Working pixel (i, j) covers [i * scale, (i + 1) * scale) x [j * scale, (j + 1) * scale) of the full
resolution. So a coordinate in working pixels, of which the corners of pixels are whole numbers, times `scale`
is one in pixels of the full resolution.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.readers.open_source import open_stored
from slideunet.sources.area_average import shrink
from slideunet.sources.levels import RESOLUTION_TOLERANCE, Level, best_level, needs_no_resampling
from slideunet.sources.pixel_size import settle_pixel_size
from slideunet.sources.pixel_values import to_source
from slideunet.sources.source import MAX_PIXELS, Source, Stored


def open_at(
    path: Path,
    *,
    own_mpp: float | None,
    working_mpp: float | None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Source, float]:
    """Open an image at the working resolution.

    Parameters
    ----------
    path : Path
        As for `readers.open_image`.
    own_mpp : float or None
        Micrometres per pixel of the full resolution from the sample sheet; goes before the file's.
    working_mpp : float or None
        Micrometres per pixel that are wanted; None keeps the full resolution. A resolution that differs by up
        to 1 % is taken as it is.
    max_pixels : int
        Largest number of values that are decoded at once.

    Returns
    -------
    source : Source
        Lazy (c, y, x); `mpp` is that of the pixels as they are, `warnings` tell of contradictory sizes.
    scale : float
        Pixels of the full resolution per pixel of the source.

    Raises
    ------
    InputError
        As `readers.open_image`, and: the pixel size is needed and not known, not credible, or coarser than
        the wanted one.

    Examples
    --------
    >>> source, scale = open_at(Path("slide.svs"), own_mpp=None, working_mpp=0.5)  # doctest: +SKIP
    >>> source.pixels[:, :4096, :4096].compute()  # doctest: +SKIP
    """
    path = Path(path)
    stored = open_stored(path, max_pixels)
    mpp, warnings = settle_pixel_size(path, stored.size, own_mpp)
    if working_mpp is None:
        return replace(to_source(stored, path), mpp=mpp, warnings=warnings), 1.0
    wanted = _check_scale(path, stored, mpp, working_mpp)
    levels = stored.levels or (Level(0, (stored.pixels.shape[1], stored.pixels.shape[2]), (1.0, 1.0)),)
    level = best_level(levels, wanted)
    source = to_source(open_stored(path, max_pixels, level.index), path)
    if needs_no_resampling(level, wanted):
        scale, pixels = level.step[0], source.pixels
    else:
        scale, pixels = wanted, shrink(source.pixels, levels[0].shape, level, wanted)
    own = mpp and mpp * scale
    found = replace(source, pixels=pixels, mpp=own, warnings=warnings, full_shape=levels[0].shape)
    return found, scale


def centres(start: int, stop: int, scale: float, length: int) -> npt.NDArray[np.int64]:
    """Pixels of the full resolution, of `length` along an axis, at the centres of some working pixels."""
    return np.minimum(((np.arange(start, stop) + 0.5) * scale).astype(np.int64), length - 1)


def _check_scale(path: Path, stored: Stored, mpp: float | None, working_mpp: float) -> float:
    """Return how many pixels of the full resolution a wanted pixel has, at least 1 within the tolerance."""
    if mpp is None:
        known = ""
        if stored.magnification:
            known = f" An objective of {stored.magnification}x is named, but that is not a measured size."
        raise InputError(
            f"{path}: its pixel size is not known, but data.mpp asks for {working_mpp:g} micrometres per "
            f"pixel.{known} "
            "Write its micrometres per pixel into the column mpp of the sample sheet."
        )
    if working_mpp / mpp < 1 - RESOLUTION_TOLERANCE:
        raise InputError(
            f"{path}: has {mpp:g} micrometres per pixel, coarser than the {working_mpp:g} that data.mpp asks "
            "for. "
            "What was not recorded cannot be made. Raise data.mpp, correct the column mpp, or take the slide "
            "out of the sheet."
        )
    return working_mpp / mpp
