"""Connected components in an image of any size: found block by block, joined across the borders of blocks.

The numbers are those that the whole image would give: components in the raster order of their first pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.truth.lazy_labels import Squares

CONNECTIVITY = 2
"""Pixels that touch at a corner belong together; else single pixels at a slanted border become cells."""

Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components(Squares):
    """Components of equal values other than 0, of which the pixels are numbered when they are asked for.

    Attributes
    ----------
    values : array-like (y, x)
        The image.
    starts : dict
        (row, column) of the first pixel of a square to how many parts were found in squares before it.
    numbers : numpy.ndarray
        (parts,) int64, the number of the component that a part of a square belongs to, from 1.
    ids : numpy.ndarray
        (components,) the value of each component, in the order of the numbers.
    background : bool
        Whether any pixel is 0.
    """

    values: Pixels
    starts: dict[tuple[int, int], int]
    numbers: npt.NDArray[np.int64]
    ids: npt.NDArray[Any]
    background: bool

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Number the pixels of one square."""
        parts = label(np.asarray(self.values[rows, columns]), connectivity=CONNECTIVITY)
        start = self.starts[rows.start, columns.start]
        of_part = np.concatenate([[0], self.numbers[start : start + parts.max(initial=0)]])
        return of_part[parts].astype(np.uint32)


def find_components(values: Pixels) -> Components:
    """Find the 8-connected components of equal values other than 0.

    Parameters
    ----------
    values : array-like (y, x)
        Integers; read block by block, once here and once when the numbers are asked for.

    Returns
    -------
    Components
    """
    grid, width = BlockGrid(values.shape), values.shape[1]
    starts: dict[tuple[int, int], int] = {}
    ids: list[npt.NDArray[Any]] = []
    firsts: list[npt.NDArray[np.int64]] = []
    joins: list[Pairs] = []
    count, background = 0, False
    above = top = bottom = _Edge.empty(width)
    left = _Edge.empty(0)
    for rows, columns in grid:
        block = np.asarray(values[rows, columns])
        parts, found = label(block, connectivity=CONNECTIVITY, return_num=True)
        starts[rows.start, columns.start] = count
        places = _first_places(parts, found)
        ids.append(block.ravel()[places])
        y, x = np.divmod(places, block.shape[1])
        firsts.append((rows.start + y) * width + columns.start + x)
        background |= bool((block == 0).any())
        numbered = np.where(parts, parts + (count - 1), -1)
        count += found
        if columns.start == 0:
            above, top, bottom = bottom, _Edge.empty(width, block.dtype), _Edge.empty(width, block.dtype)
        else:
            joins.append(_touching(left, _Edge(block[:, 0], numbered[:, 0])))
        left = _Edge(block[:, -1], numbered[:, -1])
        top.put(columns, block[0], numbered[0])
        bottom.put(columns, block[-1], numbered[-1])
        if columns.stop == width and rows.start > 0:
            joins.append(_touching(above, top))
    numbers, order = _join(count, joins, firsts)
    return Components(
        grid=grid, values=values, starts=starts, numbers=numbers,
        ids=np.concatenate(ids)[order], background=background,
    )  # fmt: skip


@dataclass(frozen=True)
class _Edge:
    """A row or column of pixels: values, and numbers of parts (-1 for background)."""

    values: npt.NDArray[Any]
    parts: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, length: int, dtype: npt.DTypeLike = np.uint8) -> "_Edge":
        return cls(np.zeros(length, dtype), np.full(length, -1))

    def put(self, place: slice, values: npt.NDArray[Any], parts: npt.NDArray[np.int64]) -> None:
        self.values[place], self.parts[place] = values, parts


def _touching(one: _Edge, other: _Edge) -> Pairs:
    """Pairs (n, 2) of parts of the same value that touch across the border of two edges, corners included."""
    pairs = []
    for shift in (-1, 0, 1):
        ours = slice(max(-shift, 0), len(one.parts) - max(shift, 0))
        theirs = slice(max(shift, 0), len(one.parts) - max(-shift, 0))
        same = (one.values[ours] == other.values[theirs]) & (one.parts[ours] >= 0)
        pairs.append(np.stack([one.parts[ours][same], other.parts[theirs][same]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _first_places(parts: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Flat index of the first pixel of the parts 1 to `count`: written from the last to the first pixel."""
    flat = parts.ravel()
    places = np.flatnonzero(flat)[::-1]
    first = np.zeros(count + 1, np.int64)
    first[flat[places]] = places
    return first[1:]


def _join(
    count: int, joins: list[Pairs], firsts: list[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number components by their first pixels; return the number of each part, and the first part of each."""
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    pairs = np.concatenate([*joins, np.zeros((0, 2), np.int64)]).T
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    by_place = np.argsort(np.concatenate(firsts), kind="stable")
    _, first_of_group = np.unique(group[by_place], return_index=True)
    leaders = by_place[np.sort(first_of_group)]
    number = np.zeros(group.max() + 1, np.int64)
    number[group[leaders]] = np.arange(1, len(leaders) + 1)
    return number[group], leaders
