"""Predicting a part of a slide, tile by tile: the same bytes whatever the tiles and whatever the part."""

import itertools
import logging
from dataclasses import dataclass

import numpy as np

from slideunet.errors import MachineError
from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import Interval, tile_spans
from slideunet.geometry.windows import read_mirrored
from slideunet.network.inference.engines import Engine
from slideunet.network.inference.tile_size import MEMORY, best_tile
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
    halo: int | None = None,
    memory: int = MEMORY,
) -> np.ndarray:
    """Predict the maps of a part of a slide.

    The part and its context are read once; tiles are cut from that in memory. Every tile starts on a multiple
    of 2^depth of the slide, as its pooling cells do, so the result depends on neither the tiles nor the part.
    When a tile does not fit into memory, smaller ones are used from then on.

    Parameters
    ----------
    engine : Engine
    pixels : array-like (c, y, x)
        The whole slide, raw.
    constants : Normalisation
        Of the whole slide.
    core : ((y0, y1), (x0, x1))
        The part, inside the slide, half-open.
    tile : int, optional
        Side of a tile without its context, in pixels; rounded up to a multiple of 2^depth. None: `best_tile`.
    wanted : ndarray (y1 - y0, x1 - x0) of bool, optional
        The other pixels become 0. A tile is left out when none of its pixels is wanted.
    halo : int, optional
        Context in pixels, a multiple of 2^depth. Less than `engine.halo` is faster and not exact:
        see `halo_deviation`.
    memory : int
        Bytes for one tile at a time, when `tile` is to be chosen; see `best_tile`.

    Returns
    -------
    ndarray (maps, y1 - y0, x1 - x0) uint8
        See `maps.to_bytes`; the first is the foreground, round(255 p).

    Raises
    ------
    ValueError
        When `halo` is negative or not a multiple of 2^depth.
    MachineError
        When not even the smallest tile fits into memory.
    """
    mask = np.ones([stop - start for start, stop in core], bool) if wanted is None else wanted
    if not mask.any():
        return np.zeros((len(engine.spec.maps), *mask.shape), np.uint8)
    margin = engine.halo if halo is None else halo
    multiple = engine.spec.multiple
    grown = [(start - start % multiple, stop + -stop % multiple) for start, stop in core]
    reads = [(start - margin, stop + margin) for start, stop in grown]
    block = read_mirrored(pixels, (reads[0], reads[1]))
    room = [(start - first, last - stop) for (start, stop), (first, last) in zip(core, grown, strict=True)]
    side = tile or best_tile(engine.spec, margin, engine.precision, memory)
    found = _predict_block(engine, block, constants, np.pad(mask, room), side, margin)
    rows, columns = (slice(first, first + side) for (first, _), side in zip(room, mask.shape, strict=True))
    return np.where(mask, found[:, rows, columns], np.uint8(0))


def tiles_agree(engine: Engine, side: int = 512) -> bool:
    """Tell whether this engine gives every byte again in other tiles on this machine, on a random image.

    What adds up in which order is up to the engine's kernels, which it chooses by the machine.

    Parameters
    ----------
    engine : Engine
    side : int
        Of the image, in pixels.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (engine.spec.channels, side, side), np.uint8)
    constants = Normalisation((128.0,) * engine.spec.channels, (64.0,) * engine.spec.channels)
    whole, *others = (
        predict_core(engine, pixels, constants, ((0, side), (0, side)), tile=tile)
        for tile in (side, side // 2, side // 5, side // 8)
    )
    return all(np.array_equal(whole, other) for other in others)


@dataclass(frozen=True)
class HaloDeviation:
    """How far a prediction with a short halo is from the exact one.

    Attributes
    ----------
    largest : int
        Largest difference of a probability, in 255ths.
    crossing : float
        Share of the pixels that change sides of the threshold.
    """

    largest: int
    crossing: float


def halo_deviation(
    engine: Engine,
    pixels: Pixels,
    constants: Normalisation,
    core: Core,
    *,
    halo: int,
    threshold: float,
    tile: int | None = None,
) -> HaloDeviation:
    """Measure on a part of a slide what a short halo changes; see `predict_core` for the parameters.

    Parameters
    ----------
    threshold : float
        Foreground is probability >= threshold (0 to 1).
    """
    exact, short = (
        predict_core(engine, pixels, constants, core, tile=tile, halo=reach)[0] for reach in (None, halo)
    )
    limit = np.ceil(threshold * 255)
    largest = np.abs(exact.astype(np.int16) - short).max()
    return HaloDeviation(int(largest), float(((exact >= limit) != (short >= limit)).mean()))


def _predict_block(
    engine: Engine,
    block: np.ndarray,
    constants: Normalisation,
    needed: np.ndarray,
    tile: int,
    margin: int,
) -> np.ndarray:
    """Predict the core of a block (c, y, x) with `margin` around it, in tiles that fit into memory."""
    while True:
        side = min(tile, max(needed.shape), engine.tile_limit or tile)
        try:
            return _predict_tiles(engine, block, constants, needed, side, margin)
        except MemoryError as error:
            engine.tile_limit = _smaller(side, engine.spec.multiple, error)


def _predict_tiles(
    engine: Engine, block: np.ndarray, constants: Normalisation, needed: np.ndarray, side: int, margin: int
) -> np.ndarray:
    """Predict of every tile the rectangle that holds all that is needed of it; the rest is 0."""
    found = np.zeros((len(engine.spec.maps), *needed.shape), np.uint8)
    multiple = engine.spec.multiple
    cuts = (tile_spans(length, _even(length, side, multiple), margin, multiple) for length in needed.shape)
    for (rows, _), (columns, _) in itertools.product(*cuts):
        inside = needed[slice(*rows), slice(*columns)]
        if inside.any():
            y0, y1 = _shrunk(rows, np.flatnonzero(inside.any(axis=1)), max(_STEP, multiple))
            x0, x1 = _shrunk(columns, np.flatnonzero(inside.any(axis=0)), max(_STEP, multiple))
            part = block[:, y0 : y1 + 2 * margin, x0 : x1 + 2 * margin]
            found[:, y0:y1, x0:x1] = engine.predict(part, constants, margin)
    return found


def _even(length: int, side: int, multiple: int) -> int:
    """Return the side of as few tiles as possible that are as equal as possible.

    A large and a narrow tile would need as much context, and more memory.
    """
    tiles = -(-length // (side + -side % multiple))
    even = -(-length // tiles)
    return even + -even % multiple


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
    logging.warning(f"Tiles of {side} px do not fit into memory ({error}); going on with {half} px.")
    return half
