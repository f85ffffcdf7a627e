"""Prediction of a part of a slide, tile by tile: the bytes depend on neither the tiles nor the part."""

import itertools
import logging
from collections.abc import Iterator

import numpy as np

from slideunet.errors import MachineError
from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import Interval, even_cores
from slideunet.geometry.windows import read_mirrored
from slideunet.network.inference.cost import best_tile
from slideunet.network.inference.engines import Engine
from slideunet.slides.normalisation import Normalisation

Core = tuple[Interval, Interval]
_STEP = 256


def predict_core(
    engine: Engine,
    pixels: Pixels,
    constants: Normalisation,
    core: Core,
    *,
    tile: int | None = None,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    """Predict the maps of a part of a slide; validation and the prediction of new slides both use it.

    The part and its context are read once; tiles are cut from them in memory. Every tile starts on a multiple
    of 2^depth of the slide, as its pooling cells do, so the result depends on neither the tiles nor the part.
    When a tile does not fit into memory, smaller ones are used from then on.

    Parameters
    ----------
    engine : Engine
    pixels : array-like (c, y, x)
        The whole slide, raw.
    constants : Normalisation
        Constants of the whole slide.
    core : ((y0, y1), (x0, x1))
        The part, inside the slide, half-open.
    tile : int, optional
        Side of a tile without its context, in pixels; rounded up to a multiple of 2^depth. None: `best_tile`.
    wanted : ndarray (y1 - y0, x1 - x0) of bool, optional
        Pixels to predict; all others are 0. A tile without any of them is skipped.

    Returns
    -------
    ndarray (maps, y1 - y0, x1 - x0) uint8
        See `output_maps.to_bytes`; the first is the foreground, round(255 p).

    Raises
    ------
    MachineError
        When not even the smallest tile fits into memory.
    """
    if wanted is not None and not wanted.any():
        return np.zeros((len(engine.spec.maps), *wanted.shape), engine.dtype)
    halo, multiple = engine.halo, engine.spec.multiple
    grown = [(start - start % multiple, stop + -stop % multiple) for start, stop in core]
    reads = [(start - halo, stop + halo) for start, stop in grown]
    block = read_mirrored(pixels, (reads[0], reads[1]))
    room = [(start - first, last - stop) for (start, stop), (first, last) in zip(core, grown, strict=True)]
    needed = None if wanted is None else np.pad(wanted, room)
    side = tile or best_tile(engine.spec, halo, engine.precision, engine.memory)
    found = _predict_block(engine, block, constants, needed, side)
    (top, bottom), (left, right) = room
    found = found[:, top : found.shape[1] - bottom, left : found.shape[2] - right]
    return found if wanted is None else np.where(wanted, found, engine.dtype.type(0))


def _predict_block(
    engine: Engine, block: np.ndarray, constants: Normalisation, needed: np.ndarray | None, tile: int
) -> np.ndarray:
    """Predict the core of a block (c, y, x) with the halo around it, in tiles that fit into memory."""
    context = 2 * engine.halo
    shape = tuple(length - context for length in block.shape[1:])
    while True:
        side = min(tile, max(shape), engine.tile_limit or tile)
        found = np.zeros((len(engine.spec.maps), *shape), engine.dtype)
        places = list(_places(shape, side, needed, engine.spec.multiple))
        tiles = (block[:, y0 : y1 + context, x0 : x1 + context] for (y0, y1), (x0, x1) in places)
        try:
            for (rows, columns), maps in zip(places, engine.predict(tiles, constants), strict=True):
                found[:, slice(*rows), slice(*columns)] = maps
            return found
        except MemoryError as error:
            # Another thread may have met a smaller limit already.
            engine.tile_limit = min(_smaller(side, engine.spec.multiple, error), engine.tile_limit or side)


def _places(shape: tuple[int, ...], side: int, needed: np.ndarray | None, multiple: int) -> Iterator[Core]:
    """Yield for every tile the rectangle that holds all its needed pixels."""
    for rows, columns in itertools.product(*(even_cores(length, side, multiple) for length in shape)):
        if needed is None:
            yield rows, columns
            continue
        inside = needed[slice(*rows), slice(*columns)]
        if inside.any():
            step = max(_STEP, multiple)
            yield (
                _shrunk(rows, np.flatnonzero(inside.any(axis=1)), step),
                _shrunk(columns, np.flatnonzero(inside.any(axis=0)), step),
            )


def _shrunk(span: Interval, places: np.ndarray, step: int) -> Interval:
    """Shorten a span to the places that are needed, in whole steps: each new shape costs a little time."""
    first, last = int(places[0]) // step * step, -(-int(places[-1] + 1) // step) * step
    return span[0] + first, min(span[0] + last, span[1])


def _smaller(side: int, multiple: int, error: MemoryError) -> int:
    half = side // 2 // multiple * multiple
    if not half:
        raise MachineError(
            f"Not even a tile of {side} px fits into memory ({error}). Another program may hold it. "
            "Free memory, use fewer workers at once or a smaller model."
        ) from error
    logging.warning(f"Tiles of {side} px do not fit into memory ({error}); continuing with {half} px.")
    return half
