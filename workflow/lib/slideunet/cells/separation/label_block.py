"""Separating the cells of a slide block by block, with the result of doing it on the whole slide at once.

A block is separated together with a margin around it. What decides over a cell lies within a component of
the foreground (watersheds) or within some distance (centres); where that reaches the edge of such a window,
the margin is doubled, else the cell is what it would be in the whole slide. Cells are then known by their
centre and their first pixel, which every block that sees them computes alike: they get the same id from all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import Maps, kept_cells, separate_window
from slideunet.geometry.blocks import BLOCK, Region, block_at, block_count, grown

MARGIN = 256
LARGEST_MARGIN = 1024


@dataclass(frozen=True)
class BlockCells:
    """The cells that have pixels in one block.

    Attributes
    ----------
    labels : ndarray (h, w) of uint32
        Of the block; 1..n are the rows of `keys`, 0 is background.
    keys : ndarray (n, 4) of int64
        Block of the cell's centre, the centre's row and column (means of the pixels, rounded down) and the
        flat index of its first pixel, all in the whole slide.
    boxes : ndarray (n, 4) of int64
        First row and column in the slide, and those after the last.
    unfinished : int
        Components (of centres: cells) that reach farther than the largest margin: these alone may be
        separated otherwise than in the whole slide.
    """

    labels: np.ndarray
    keys: np.ndarray
    boxes: np.ndarray
    unfinished: int


class SlideMaps(Protocol):
    """The maps of a whole slide, read part by part."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slide."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Maps:
        """Read a window of every map, by its name."""


def label_block(maps: SlideMaps, index: int, decoding: Decoding) -> BlockCells:
    """Separate the cells that have pixels in one block of a slide.

    Parameters
    ----------
    maps : SlideMaps
        Only the block and its margin are read.
    index : int
        Number of the block.
    decoding : Decoding
    """
    core = block_at(maps.shape, index)
    margin = MARGIN
    while True:
        window = grown(core, maps.shape, margin)
        inner, origin = _relative(core, window), (window[0].start, window[1].start)
        seen = maps[window]
        division = separate_window(seen, decoding, origin)
        unfinished = division.count_uncertain(inner, _open_sides(window, maps.shape, division.zone))
        if not unfinished or margin >= LARGEST_MARGIN:
            found = _inside(division.labels, seen["foreground"], inner, origin, maps.shape[1], decoding)
            return BlockCells(*found, unfinished)
        margin *= 2


def _relative(core: Region, window: Region) -> Region:
    rows, columns = (
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(core, window, strict=True)
    )
    return rows, columns


def _open_sides(window: Region, shape: tuple[int, ...], width: int) -> Iterator[Region]:
    """Yield the frame of a window, so many pixels wide, along each side behind which the slide goes on."""
    everything = slice(None)
    rows, columns = window
    if rows.start > 0:
        yield slice(0, width), everything
    if rows.stop < shape[0]:
        yield slice(-width, None), everything
    if columns.start > 0:
        yield everything, slice(0, width)
    if columns.stop < shape[1]:
        yield everything, slice(-width, None)


def _inside(
    labels: np.ndarray,
    foreground: np.ndarray,
    inner: Region,
    origin: tuple[int, int],
    width: int,
    decoding: Decoding,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the cells that are kept and have pixels in the block: its labels, their keys and boxes."""
    pixels = np.flatnonzero(labels)
    cells = labels.ravel()[pixels]
    kept = np.zeros(int(labels.max(initial=0)) + 1, bool)
    kept[labels[inner]] = True
    kept &= kept_cells(cells, foreground.ravel()[pixels], len(kept), decoding)
    local = (np.cumsum(kept) * kept).astype(np.uint32)
    own = kept[cells]
    index = local[cells[own]].astype(np.intp) - 1
    rows, columns = np.divmod(pixels[own], labels.shape[1])
    rows, columns = rows + origin[0], columns + origin[1]
    keys, boxes = _keys_and_boxes(index, rows, columns, width, int(np.count_nonzero(kept)))
    return local[labels[inner]], keys, boxes


def _keys_and_boxes(
    index: np.ndarray, rows: np.ndarray, columns: np.ndarray, width: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    area = np.bincount(index, minlength=count)
    # Sums of whole numbers stay exact in float64 up to 2^53; dividing them as integers keeps the floor exact.
    row, column = (
        np.bincount(index, weights=values, minlength=count).astype(np.int64) // area
        for values in (rows, columns)
    )
    # Pixels come in raster order, and of what is written to one place the last stays.
    first, last = np.zeros((2, count), np.intp)
    first[index[::-1]] = np.arange(len(index))[::-1]
    last[index] = np.arange(len(index))
    left, right = np.full(count, width), np.zeros(count, np.int64)
    np.minimum.at(left, index, columns)
    np.maximum.at(right, index, columns)
    across = -(-width // BLOCK)
    block = row // BLOCK * across + column // BLOCK
    keys = np.stack([block, row, column, rows[first] * width + columns[first]], axis=1)
    return keys, np.stack([rows[first], left, rows[last] + 1, right + 1], axis=1)


def neighbours(shape: tuple[int, ...], index: int) -> list[int]:
    """Return a block and those that touch it, corners included."""
    across = -(-shape[-1] // BLOCK)
    down = block_count(shape) // across
    row, column = divmod(index, across)
    return [
        y * across + x
        for y in range(max(row - 1, 0), min(row + 2, down))
        for x in range(max(column - 1, 0), min(column + 2, across))
    ]


def keys_of_block(keys_seen: list[np.ndarray], index: int) -> np.ndarray:
    """Return the keys of the cells whose centre lies in a block, in the order of their ids.

    Parameters
    ----------
    keys_seen : list of ndarray (n, 4)
        Of the block and all its neighbours.
    """
    seen = np.concatenate(keys_seen)
    # np.unique sorts by block, then centre row, centre column and first pixel: the order of the contract.
    return np.unique(seen[seen[:, 0] == index], axis=0)


def ids_of_cells(keys: np.ndarray, ordered: dict[int, np.ndarray], first_ids: np.ndarray) -> np.ndarray:
    """Return the ids (n,) of the cells with these keys.

    Parameters
    ----------
    keys : ndarray (n, 4)
    ordered : dict
        Number of a block to its `keys_of_block`, for every block that is named in `keys`.
    first_ids : ndarray (blocks,)
        The id of the first cell of each block.
    """
    ids = np.zeros(len(keys), np.int64)
    for block in np.unique(keys[:, 0]):
        own = keys[:, 0] == block
        ids[own] = first_ids[block] + _places(keys[own], ordered[int(block)])
    return ids


def _places(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return where each key stands in a sorted table that holds it."""
    kind = np.dtype([(f"f{i}", np.int64) for i in range(keys.shape[1])])
    flat, table = (np.ascontiguousarray(rows).view(kind).ravel() for rows in (keys, ordered))
    return np.searchsorted(table, flat)
