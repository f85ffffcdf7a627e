"""Blocks: the fixed squares of a slide that one task owns, whatever the tiles, workers or parts.

A block is 4096 x 4096 px of the working grid, in raster order; ids of cells are numbered by the same blocks.
It holds whole shards of every level that is made inside it, so no two tasks ever write one file.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np

BLOCK = 4096
LEVELS = 3  # Levels that are made inside a block: below them a block has less than one chunk.

Region = tuple[slice, slice]


def block_count(shape: tuple[int, ...]) -> int:
    """Return how many blocks a plane (..., y, x) has."""
    return math.prod(-(-side // BLOCK) for side in shape[-2:])


def block_at(shape: tuple[int, ...], index: int) -> Region:
    """Return the rows and columns of one block of a plane (..., y, x), in pixels; edge blocks are smaller.

    Raises
    ------
    IndexError
        When the plane has no such block.
    """
    if not 0 <= index < block_count(shape):
        raise IndexError(f"block {index} of {block_count(shape)}")
    height, width = shape[-2:]
    row, column = divmod(index, -(-width // BLOCK))
    top, left = row * BLOCK, column * BLOCK
    return slice(top, min(top + BLOCK, height)), slice(left, min(left + BLOCK, width))


def grown(region: Region, shape: tuple[int, ...], margin: int) -> Region:
    """Return a region of a plane (y, x) with a margin in pixels on every side, cut at the plane's border."""
    rows, columns = (
        slice(max(part.start - margin, 0), min(part.stop + margin, side))
        for part, side in zip(region, shape, strict=True)
    )
    return rows, columns


def blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, Region]]:
    """Yield the number and the region of every block of a plane (..., y, x), in raster order."""
    for index in range(block_count(shape)):
        yield index, block_at(shape, index)


def blocks_inside(shape: tuple[int, ...], rows: tuple[int, int], columns: tuple[int, int]) -> list[int]:
    """Return the blocks of a plane that lie wholly inside a window of half-open rows and columns."""
    across = -(-shape[-1] // BLOCK)
    inside = [_inside(*span, side) for span, side in zip((rows, columns), shape[-2:], strict=True)]
    return [row * across + column for row in inside[0] for column in inside[1]]


def _inside(start: int, stop: int, side: int) -> range:
    last = -(-side // BLOCK) if stop >= side else stop // BLOCK
    return range(-(-start // BLOCK), last)


def digest(pixels: np.ndarray) -> str:
    """Return the sha256 (hex) of the pixels of a block, in C order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
