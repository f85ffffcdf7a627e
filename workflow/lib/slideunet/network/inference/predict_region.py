"""Prediction of a part of a slide, tile by tile: the bytes depend on neither the tiles nor the part."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slideunet.errors import MachineError
from slideunet.geometry.pixels import Pixels
from slideunet.geometry.tiles import Context, Interval, Tile, even_cores, widened
from slideunet.geometry.windows import read_mirrored
from slideunet.network.inference.cost import array_bytes, best_tile, least_core
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
    of 2^depth of the slide, as its pooling cells do, and at the border all tiles end at the same pixel, so
    the result depends on neither the tiles nor the part. When a tile does not fit into memory, smaller ones
    are used from then on.

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
        Side of a tile without its context, in pixels; rounded up to a multiple of 2^depth. None: the
        whole part if it fits into memory, else `best_tile`.
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
    context, lengths = tile_context(engine), pixels.shape[-2:]
    grown = [context.core(part, length) for part, length in zip(core, lengths, strict=True)]
    reads = [context.read(part, length) for part, length in zip(grown, lengths, strict=True)]
    block = _Block(
        read_mirrored(pixels, (reads[0], reads[1])),
        tuple(start - first for (start, _), (first, _) in zip(grown, reads, strict=True)),
        tuple(stop - start for start, stop in grown),
        context,
    )
    room = [(start - first, last - stop) for (start, stop), (first, last) in zip(core, grown, strict=True)]
    needed = None if wanted is None else np.pad(wanted, room)
    side = tile or _best_side(engine, block, needed)
    found = _predict_block(engine, block, constants, needed, side)
    (top, bottom), (left, right) = room
    found = found[:, top : found.shape[1] - bottom, left : found.shape[2] - right]
    return found if wanted is None else np.where(wanted, found, engine.dtype.type(0))


def tile_context(engine: Engine) -> Context:
    """Return where the tiles of an engine begin and end."""
    least = least_core(engine.spec)
    return Context(engine.step, least + -least % engine.step, engine.margin, engine.halo)


@dataclass(frozen=True)
class _Block:
    """Pixels (c, y, x) of a part and its context, and where the part, `shape` (y, x), begins in them."""

    pixels: np.ndarray
    origin: tuple[int, ...]
    shape: tuple[int, ...]
    context: Context

    def tile(self, core: Core) -> Tile:
        """Return the tile of a core, given by its place in the part."""
        inside, reads = [], []
        for (start, stop), origin, length in zip(core, self.origin, self.pixels.shape[1:], strict=True):
            # The block ends a halo away from the part, or with the slide.
            first = max(origin + start - self.context.halo, 0)
            reads.append(slice(first, min(origin + stop + self.context.halo, length)))
            inside.append((origin + start - first, origin + stop - first))
        return Tile(self.pixels[:, *reads], (inside[0], inside[1]))


def _best_side(engine: Engine, block: _Block, needed: np.ndarray | None) -> int:
    """Return the side of the tiles: all of the block if it fits into memory, and no context is repeated."""
    whole = array_bytes(engine.spec, block.pixels.shape[1:], engine.precision) <= engine.memory
    if whole and (needed is None or needed.all()):
        return max(block.shape)
    return best_tile(engine.spec, engine.halo, engine.precision, engine.memory)


def _predict_block(
    engine: Engine, block: _Block, constants: Normalisation, needed: np.ndarray | None, tile: int
) -> np.ndarray:
    """Predict a block in tiles that fit into memory."""
    while True:
        side = min(tile, max(block.shape), engine.tile_limit or tile)
        found = np.zeros((len(engine.spec.maps), *block.shape), engine.dtype)
        places = list(_places(block, side, needed))
        tiles = map(block.tile, places)
        try:
            for (rows, columns), maps in zip(places, engine.predict(tiles, constants), strict=True):
                found[:, slice(*rows), slice(*columns)] = maps
            return found
        except MemoryError as error:
            # Another thread may have met a smaller limit already.
            limit = _smaller(side, block.context, error)
            engine.tile_limit = min(limit, engine.tile_limit or side)


def _places(block: _Block, side: int, needed: np.ndarray | None) -> Iterator[Core]:
    """Yield for every tile the rectangle that holds all its needed pixels, not smaller than allowed."""
    step, least = block.context.step, block.context.least
    for place in itertools.product(*(even_cores(length, max(side, least), step) for length in block.shape)):
        spans: tuple[Interval, ...] = place
        if needed is not None:
            inside = needed[tuple(slice(*span) for span in place)]
            if not inside.any():
                continue
            used = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
            spans = tuple(
                _shrunk(span, places, max(_STEP, step)) for span, places in zip(place, used, strict=True)
            )
        rows, columns = (
            widened(span, least, length) for span, length in zip(spans, block.shape, strict=True)
        )
        yield rows, columns


def _shrunk(span: Interval, places: np.ndarray, step: int) -> Interval:
    """Shorten a span to the places that are needed, in whole steps: each new shape costs a little time."""
    first, last = int(places[0]) // step * step, -(-int(places[-1] + 1) // step) * step
    return span[0] + first, min(span[0] + last, span[1])


def _smaller(side: int, context: Context, error: MemoryError) -> int:
    half = side // 2 // context.step * context.step
    if half < context.least:
        raise MachineError(
            f"Not even a tile of {side} px fits into memory ({error}). Another program may hold it. "
            "Free memory, use fewer workers at once or a smaller model."
        ) from error
    logging.warning(f"Tiles of {side} px do not fit into memory ({error}); continuing with {half} px.")
    return half
