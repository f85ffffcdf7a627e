"""The scale at which the network sees a slide: cells of a slide are measured on a few windows.

The cells that a network finds have the right diameter long before they are all found and separated well, so
they tell whether a slide should be shrunk or enlarged for the network.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from slideunet.cells.separation.separate import separate
from slideunet.geometry.blocks import cuts
from slideunet.geometry.pixels import Pixels
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.predict_region import Core
from slideunet.network.inference.scaling.rescaled import predict_at
from slideunet.network.inference.scaling.sizing import Sizing, scale_for
from slideunet.slides.normalisation import Normalisation

WINDOW = 512  # Side of a window as the network sees it, in pixels.
WINDOWS = 4
LEAST_CELLS = 5  # With fewer, the slide is seen as it is.


def choose_scale(
    engine: Engine, pixels: Pixels, constants: Normalisation, coarse: Pixels, sizing: Sizing
) -> dict[str, Any]:
    """Measure the cells of a slide and return the scale at which the network should see it.

    A scale other than 1 is taken when cells that are measured at it ask for it, too.

    Parameters
    ----------
    engine : Engine
    pixels : array-like (c, y, x)
        The slide.
    constants : Normalisation
    coarse : array-like (c, y, x)
        The slide, or a level of its pyramid, to choose windows on; not read if the slide is small.
    sizing : Sizing

    Returns
    -------
    dict
        "scale", see `sizing.scale_for`, and "diameter", see `typical`, in pixels of the slide, None if there
        are too few cells.
    """
    level = functools.cache(lambda: np.asarray(coarse[...]))

    def measured(scale: float) -> float | None:
        cores = sample_windows(level, pixels.shape[-2:], round(WINDOW * scale))
        found = [predict_at(engine, pixels, constants, core, scale) for core in cores]
        named = [dict(zip(engine.spec.maps, maps, strict=True)) for maps in found]
        return diameter_of([separate(maps, sizing.decoding) for maps in named])

    diameter, scale = measured(1.0), 1.0
    if diameter is not None and (wanted := scale_for(diameter, sizing.best)) != 1:
        again = measured(wanted)
        confirmed = 1.0 if again is None else scale_for(again, sizing.best)
        scale = min((wanted, confirmed), key=lambda one: abs(math.log2(one)))
        diameter = diameter if again is None or scale == 1 else again
    return {"scale": scale, "diameter": None if diameter is None else round(diameter, 1)}


def sample_windows(level: Callable[[], np.ndarray], shape: tuple[int, ...], side: int) -> list[Core]:
    """Return windows of a slide to measure cells on, or the whole of a small slide.

    They are drawn at regular intervals of the summed variance of the windows, in the order of reading: bare
    background has next to none, and no single window has many.

    Parameters
    ----------
    level : callable
        Returns a level (c, y, x) of the pyramid of the slide; not called if the slide is small.
    shape : (y, x)
        Of the slide.
    side : int
        Of a window, in pixels of the slide.
    """
    if math.prod(shape) <= WINDOWS * side**2:
        return [((0, shape[0]), (0, shape[1]))]
    windows = [
        ((rows.start, rows.stop), (columns.start, columns.stop))
        for rows in cuts(slice(0, shape[0]), side)
        for columns in cuts(slice(0, shape[1]), side)
    ]
    summed = np.cumsum([_variance(level(), window, shape) for window in windows])
    wanted = summed[-1] * (np.arange(WINDOWS) + 0.5) / WINDOWS
    return [windows[index] for index in dict.fromkeys(np.searchsorted(summed, wanted).tolist())]


def diameter_of(labels: Sequence[np.ndarray]) -> float | None:
    """Return the typical diameter in pixels of the cells of label images (y, x); None if there are too few.

    See `typical`. Cells that the border cuts count if there are less than `LEAST_CELLS` others, which are
    then very large.
    """
    for whole in (True, False):
        areas = np.concatenate([_areas(image, whole) for image in labels])
        if len(areas) >= LEAST_CELLS:
            return typical(areas)
    return None


def typical(areas: np.ndarray) -> float:
    """Return the diameter below which cells have half of the area of all cells; (n,) areas in pixels.

    The diameter is that of the disc of the same area. Hundreds of specks of debris, which a plain median
    would follow, have next to no area.
    """
    ordered = np.sort(areas)
    summed = np.cumsum(ordered)
    return float(2 * np.sqrt(ordered[np.searchsorted(summed, summed[-1] / 2)] / np.pi))


def _areas(labels: np.ndarray, whole: bool) -> np.ndarray:
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    if whole:
        areas[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
    return areas[areas > 0]


def _variance(coarse: np.ndarray, window: Core, shape: tuple[int, ...]) -> float:
    """Return the variance of a window times its area; the window is in pixels of the slide."""
    spans = [
        slice(start * small // side, max(-(-stop * small // side), start * small // side + 1))
        for (start, stop), small, side in zip(window, coarse.shape[-2:], shape, strict=True)
    ]
    part = coarse[:, *spans]
    return float(part.var(axis=(1, 2)).sum()) * part[0].size
