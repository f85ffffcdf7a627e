"""Separating the cells of a slide block by block, with the result of doing it on the whole slide at once.

A block is separated together with a margin around it. What decides over a cell are itself and its neighbours
(watersheds), its component of the foreground (components) or what lies within some distance (centres); where
that reaches the edge of such a window, the margin is doubled, else the cell is what it would be in the whole
slide. Cells are then known by their
centre and their first pixel, which every block that sees them computes alike: they get the same id from all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slideunet.cells.separation.decoding import Decoding
from slideunet.cells.separation.separate import Maps, final_numbers, separate_window
from slideunet.cells.separation.window_edge import EdgeDepth
from slideunet.geometry.blocks import BlockGrid, Region, grown, within
from slideunet.geometry.runs import Runs

MARGIN = 256
LARGEST_MARGIN = 1024

KEY = np.dtype(
    [
        ("block", np.int64),  # of the cell's centre
        ("row", np.int64),  # of the centre: the mean of the pixels, rounded down
        ("column", np.int64),
        ("first", np.int64),  # the cell's first pixel in raster order: row * width of the slide + column
    ]
)
"""What a cell is known by in the whole slide, and what the cells of a slide are sorted by."""


@dataclass(frozen=True)
class BlockCells:
    """The cells that have pixels in one block.

    Attributes
    ----------
    runs : Runs
        Of the block's pixels; labels 1..n are the rows of `keys`.
    keys : ndarray (n,) of KEY
    reach : int
        How far those of its cells whose centre it holds extend beyond it, in pixels.
    unfinished : int
        Cells that depend on pixels beyond the largest margin: these alone may be others than in the whole
        slide.
    """

    runs: Runs
    keys: np.ndarray
    reach: int
    unfinished: int

    @property
    def labels(self) -> np.ndarray:
        """The label image (h, w) of uint32 of the block; 0 is background."""
        return self.runs.image()


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
    grid = BlockGrid(maps.shape)
    core, margin = grid[index], MARGIN
    while True:
        window = grown(core, maps.shape, margin)
        inner, seen = within(core, window), maps[window]
        depth = EdgeDepth.of_window(window, maps.shape)
        separation = separate_window(seen, decoding, (window[0].start, window[1].start), depth)
        unfinished = separation.count_uncertain(inner)
        if not unfinished or margin >= LARGEST_MARGIN:
            numbers = final_numbers(separation, seen["foreground"], decoding, inner)
            runs = separation.runs.of(numbers)
            return BlockCells(runs.inside(inner), *_keys_and_reach(runs, window, grid, index), unfinished)
        margin *= 2


def _keys_and_reach(runs: Runs, window: Region, grid: BlockGrid, index: int) -> tuple[np.ndarray, int]:
    """Return the keys of all cells of a window, and how far those of one block extend beyond it."""
    cells = runs.labels.astype(np.intp) - 1
    rows, starts = runs.rows + window[0].start, runs.starts + window[1].start
    stops = starts + runs.lengths
    area = runs.areas(int(cells.max(initial=-1)) + 2)[1:]
    keys = np.empty(len(area), KEY)
    # Sums of whole numbers stay exact in float64 up to 2^53; dividing them as integers keeps the floor exact.
    keys["row"], keys["column"] = (
        np.bincount(cells, sums, len(area)).astype(np.int64) // area
        for sums in (rows * runs.lengths, (starts + stops - 1) * runs.lengths // 2)
    )
    keys["block"] = keys["row"] // grid.side * grid.across + keys["column"] // grid.side
    # Runs come in raster order, and of what is written to one place the last stays.
    keys["first"][cells[::-1]] = (rows * grid.shape[-1] + starts)[::-1]
    own = (keys["block"] == index)[cells]
    beyond = [
        max(part.start - first[own].min(initial=part.start), end[own].max(initial=part.stop) - part.stop)
        for first, end, part in zip((rows, starts), (rows + 1, stops), grid[index], strict=True)
    ]
    return keys, max(map(int, beyond))


def keys_of_block(keys_seen: Sequence[np.ndarray], index: int) -> np.ndarray:
    """Return the keys of the cells whose centre lies in a block, in the order of their ids.

    Parameters
    ----------
    keys_seen : sequence of ndarray (n,) of KEY
        Of the block and all its neighbours.
    """
    seen = np.concatenate(keys_seen)
    # np.unique sorts by block, then centre row, centre column and first pixel: the order of the contract.
    return np.unique(seen[seen["block"] == index])


def ids_of_cells(keys: np.ndarray, ordered: Mapping[int, np.ndarray], first_ids: np.ndarray) -> np.ndarray:
    """Return the ids (n,) of the cells with these keys.

    Parameters
    ----------
    keys : ndarray (n,) of KEY
    ordered : mapping
        Number of a block to its `keys_of_block`, for every block that is named in `keys`.
    first_ids : ndarray (blocks,)
        The id of the first cell of each block.
    """
    ids = np.zeros(len(keys), np.int64)
    for block in np.unique(keys["block"]):
        own = keys["block"] == block
        ids[own] = first_ids[block] + np.searchsorted(ordered[int(block)], keys[own])
    return ids
