"""Connected components of an image of any size, found block by block and joined across block borders.

Components are numbered as in the whole image: in the raster order of their first pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from slideunet.geometry.blocks import BlockGrid, Region
from slideunet.geometry.pixels import Pixels
from slideunet.truth.lazy_labels import Squares

CONNECTIVITY = 2
"""Pixels that touch at a corner are connected; otherwise single pixels of slanted borders become cells."""


@dataclass(frozen=True)
class ConnectedComponents(Squares):
    """Connected components of equal nonzero values, whose pixels are numbered on request.

    Attributes
    ----------
    values : array-like (y, x)
        The image.
    starts : dict
        (row, column) of the first pixel of a square to the number of parts in squares before it.
    numbers : numpy.ndarray
        (parts,) int64, the component of each part of a square, from 1.
    ids : numpy.ndarray
        (components,) the value of each component.
    areas, edges : numpy.ndarray
        (components,) int64, pixels of each component, and those on the border of the image (a corner is on
        two sides and counts twice).
    background : bool
        Whether any pixel is 0.
    """

    values: Pixels
    starts: dict[tuple[int, int], int]
    numbers: npt.NDArray[np.int64]
    ids: npt.NDArray[Any]
    areas: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    background: bool

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Number the pixels of one square."""
        parts = label(np.asarray(self.values[rows, columns]), connectivity=CONNECTIVITY)
        start = self.starts[rows.start, columns.start]
        numbers = np.concatenate([[0], self.numbers[start : start + parts.max(initial=0)]])
        return numbers[parts].astype(np.uint32)


def find_components(values: Pixels) -> ConnectedComponents:
    """Find the 8-connected components of equal nonzero values.

    Parameters
    ----------
    values : array-like (y, x)
        Integers; read block by block, once here and again when the numbers are requested.
    """
    grid, width = BlockGrid(values.shape), values.shape[1]
    starts: dict[tuple[int, int], int] = {}
    ids: list[npt.NDArray[Any]] = []
    firsts: list[npt.NDArray[np.int64]] = []
    areas: list[npt.NDArray[np.int64]] = []
    edges: list[npt.NDArray[np.int64]] = []
    pairs: list[npt.NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    count, background = 0, False
    above = below = left = _Edge.blank(width, np.uint8)
    for rows, columns in grid:
        block = np.asarray(values[rows, columns])
        parts, n_parts = label(block, connectivity=CONNECTIVITY, return_num=True)
        starts[rows.start, columns.start] = count
        places = _first_places(parts, n_parts)
        ids.append(block.ravel()[places])
        y, x = np.divmod(places, block.shape[1])
        firsts.append((rows.start + y) * width + columns.start + x)
        areas.append(np.bincount(parts.ravel(), minlength=n_parts + 1)[1:])
        edges.append(_on_border(parts, n_parts, (rows, columns), values.shape))
        background |= bool((block == 0).any())
        parts = np.where(parts, parts + (count - 1), -1)
        count += n_parts
        if columns.start == 0:
            above, below = below, _Edge.blank(width, block.dtype)
            left = _Edge.blank(len(block), block.dtype)
        pairs.append(left.touching(slice(0, len(block)), block[:, 0], parts[:, 0]))
        pairs.append(above.touching(columns, block[0], parts[0]))
        left = _Edge.blank(len(block), block.dtype)
        left.put(slice(0, len(block)), block[:, -1], parts[:, -1])
        below.put(columns, block[-1], parts[-1])
    numbers, order = _join(count, np.concatenate(pairs), firsts)
    return ConnectedComponents(
        grid=grid, values=values, starts=starts, numbers=numbers, ids=np.concatenate(ids)[order],
        areas=_sums(numbers, areas), edges=_sums(numbers, edges), background=background,
    )  # fmt: skip


@dataclass(frozen=True)
class _Edge:
    """A row or column of pixels, padded by background pixels: values, and parts (-1 = background)."""

    values: npt.NDArray[Any]
    parts: npt.NDArray[np.int64]

    @classmethod
    def blank(cls, length: int, dtype: npt.DTypeLike) -> "_Edge":
        return cls(np.zeros(length + 2, dtype), np.full(length + 2, -1))

    def put(self, place: slice, values: npt.NDArray[Any], parts: npt.NDArray[np.int64]) -> None:
        inner = slice(place.start + 1, place.stop + 1)
        self.values[inner], self.parts[inner] = values, parts

    def touching(
        self, place: slice, values: npt.NDArray[Any], parts: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Pairs (n, 2) of parts of equal value that touch the neighbours at `place`, including at corners."""
        pairs = []
        for shift in range(3):
            near = slice(place.start + shift, place.stop + shift)
            same = (self.values[near] == values) & (parts >= 0)
            pairs.append(np.stack([self.parts[near][same], parts[same]], axis=1))
        return np.unique(np.concatenate(pairs), axis=0)


def _first_places(parts: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Flat index of the first pixel of the parts 1 to `count`."""
    flat = parts.ravel()
    places = np.flatnonzero(flat)[::-1]  # backwards, so that the first pixel is written last
    first = np.zeros(count + 1, np.int64)
    first[flat[places]] = places
    return first[1:]


def _on_border(
    parts: npt.NDArray[Any], count: int, square: Region, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Count the pixels of the parts 1 to `count` of a square that are on each side of the image."""
    (rows, columns), (height, width) = square, shape
    sides = [
        side
        for side, outermost in (
            (parts[0], rows.start == 0),
            (parts[-1], rows.stop == height),
            (parts[:, 0], columns.start == 0),
            (parts[:, -1], columns.stop == width),
        )
        if outermost
    ]
    pixels = np.concatenate(sides) if sides else np.zeros(0, np.int64)
    return np.bincount(pixels, minlength=count + 1)[1:]


def _sums(numbers: npt.NDArray[np.int64], counts: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Add up the counts of the parts of each component."""
    sums = np.zeros(numbers.max(initial=0), np.int64)
    np.add.at(sums, numbers - 1, np.concatenate(counts))
    return sums


def _join(
    count: int, pairs: npt.NDArray[np.int64], firsts: list[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number components by their first pixels; return the component of each part and its first part."""
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    by_place = np.argsort(np.concatenate(firsts), kind="stable")
    _, first_of_group = np.unique(group[by_place], return_index=True)
    leaders = by_place[np.sort(first_of_group)]
    number = np.zeros(group.max() + 1, np.int64)
    number[group[leaders]] = np.arange(1, len(leaders) + 1)
    return number[group], leaders
