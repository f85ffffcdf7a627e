"""Prediction at another size: the network sees the slide shrunk or enlarged, and its maps are scaled back.

A network is good at cells of the sizes that it was trained on. Where a slide's cells are larger, it sees
the means of several pixels, where they are smaller, an enlarged slide. The maps have the pixels of the slide
all the same. Every pixel depends on its own place alone, so the result does not depend on blocks and tiles.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from slideunet.geometry.pixels import Pixels
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.predict_region import Core, predict_core
from slideunet.slides.normalisation import Normalisation
from slideunet.sources.taps import Taps, area_taps, average, linear_taps, working_shape


def predict_at(
    engine: Engine,
    pixels: Pixels,
    constants: Normalisation,
    core: Core,
    scale: float,
    *,
    tile: int | None = None,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    """Predict the maps of a part of a slide, which the network sees at another size.

    Parameters
    ----------
    scale : float
        Pixels of the slide, along each axis, per pixel that the network sees; below 1 the slide is enlarged.
    engine, pixels, constants, core, tile, wanted
        See `predict_region.predict_core`.

    Returns
    -------
    ndarray (maps, y1 - y0, x1 - x0) uint8
        As of `predict_core`, on the pixels of the slide.
    """
    if scale == 1:
        return predict_core(engine, pixels, constants, core, tile=tile, wanted=wanted)
    seen = Rescaled(pixels, scale)
    rows, columns = (
        _taps(start, stop, 1 / scale, length)
        for (start, stop), length in zip(core, seen.shape[-2:], strict=True)
    )
    part = tuple((taps.needed.start, taps.needed.stop) for taps in (rows, columns))
    needed = None if wanted is None else _needed(_needed(wanted, rows).T, columns).T
    maps = predict_core(engine, seen, constants, (part[0], part[1]), tile=tile, wanted=needed)
    found = average(maps, rows, columns)
    return found if wanted is None else np.where(wanted, found, engine.dtype.type(0))


def predict_whole(
    engine: Engine, pixels: Pixels, constants: Normalisation, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Return the maps (y, x) uint8 of a whole image (c, y, x) by name; see `predict_at`."""
    height, width = pixels.shape[-2:]
    planes = predict_at(engine, pixels, constants, ((0, height), (0, width)), scale)
    return dict(zip(engine.spec.maps, planes, strict=True))


@dataclass(frozen=True)
class Rescaled:
    """A slide at another size, made part by part when it is asked for.

    Attributes
    ----------
    pixels : array-like (c, y, x)
    scale : float
        Pixels of the slide per pixel: the mean of the area that it covers, or below 1 interpolated linearly.
    """

    pixels: Pixels
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes; every pixel of the slide is part of it."""
        height, width = self.pixels.shape[-2:]
        return (self.pixels.shape[0], *working_shape((height, width), self.scale))

    @property
    def dtype(self) -> np.dtype:
        """Type of the values: that of the slide."""
        return self.pixels.dtype

    def __getitem__(self, index: Any, /) -> np.ndarray:  # noqa: ANN401 (as of an array)
        """Return the part [..., rows, columns], both slices."""
        _, *parts = index
        spans = (part.indices(side) for part, side in zip(parts, self.shape[-2:], strict=True))
        rows, columns = (
            _taps(start, stop, self.scale, length)
            for (start, stop, _), length in zip(spans, self.pixels.shape[-2:], strict=True)
        )
        return average(np.asarray(self.pixels[..., rows.needed, columns.needed]), rows, columns)


def _taps(start: int, stop: int, step: float, length: int) -> Taps:
    return (area_taps if step >= 1 else linear_taps)(start, stop, step, length)


def _needed(wanted: np.ndarray, taps: Taps) -> np.ndarray:
    """Return which of the needed old rows any wanted new row (y, x) is made of."""
    used = np.zeros((taps.needed.stop - taps.needed.start, wanted.shape[1]), bool)
    for row, first in zip(wanted, taps.first - taps.needed.start, strict=True):
        used[first : first + len(taps.weights)] |= row
    return used
