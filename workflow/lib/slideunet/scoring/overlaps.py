"""Which true object overlaps which predicted cell, and by how many pixels: a sparse, addable table."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

ID_BITS = np.uint64(32)
ID_MASK = np.uint64(2**32 - 1)


@dataclass(frozen=True)
class Areas:
    """Objects of one label image: ascending ids (n,) int64 and their areas (n,) int64 in pixels."""

    ids: NDArray[np.int64]
    areas: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Pairs:
    """Overlapping objects: indices into the truths and the cells, each (p,) int64, and pixels shared."""

    truth: NDArray[np.int64]
    cell: NDArray[np.int64]
    shared: NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """How often each (truth id, cell id) occurs in a pair of label images, background pairs left out.

    The size grows with the number of objects, never with the number of pixels or with the product of
    the numbers of objects. Tables of disjoint blocks of one slide add up to the table of the slide.

    Attributes
    ----------
    keys : numpy.ndarray of uint64, (n,)
        truth id * 2^32 + cell id, ascending; 0 stands for the background of either image.
    counts : numpy.ndarray of int64, (n,)
        Pixels with that pair of ids.
    """

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]

    def __add__(self, other: "Overlaps") -> "Overlaps":
        return add_overlaps([self, other])

    @cached_property
    def truths(self) -> Areas:
        """The true objects."""
        return self._areas(self.keys >> ID_BITS)

    @cached_property
    def cells(self) -> Areas:
        """The predicted cells."""
        return self._areas(self.keys & ID_MASK)

    @cached_property
    def pairs(self) -> Pairs:
        """The truths and cells that share at least one pixel, ordered by truth id, then cell id."""
        truth, cell = (self.keys >> ID_BITS).astype(np.int64), (self.keys & ID_MASK).astype(np.int64)
        both = (truth > 0) & (cell > 0)
        return Pairs(
            np.searchsorted(self.truths.ids, truth[both]),
            np.searchsorted(self.cells.ids, cell[both]),
            self.counts[both],
        )

    @cached_property
    def unions(self) -> NDArray[np.int64]:
        """Pixels in the union of each pair, (p,)."""
        pairs = self.pairs
        return self.truths.areas[pairs.truth] + self.cells.areas[pairs.cell] - pairs.shared

    def _areas(self, ids: NDArray[np.uint64]) -> Areas:
        found, areas = _sum_by_key(ids, self.counts)
        return Areas(found[found > 0].astype(np.int64), areas[found > 0])


def count_overlaps(truth: ArrayLike, cells: ArrayLike) -> Overlaps:
    """Compare two label images of the same shape; 0 is background, ids below 2^32.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    truth, cells = np.asarray(truth), np.asarray(cells)
    if truth.shape != cells.shape:
        raise ValueError(f"truth has shape {truth.shape}, cells {cells.shape}; they must be equal")
    keys = ((truth.astype(np.uint64) << ID_BITS) | cells.astype(np.uint64)).ravel()
    # Neighbouring pixels mostly carry the same pair: runs are some 20 times fewer to sort than pixels.
    starts = np.flatnonzero(np.concatenate(([keys.size > 0], keys[1:] != keys[:-1])))
    lengths = np.diff(starts, append=keys.size)
    occupied = keys[starts] > 0
    return Overlaps(*_sum_by_key(keys[starts][occupied], lengths[occupied]))


def add_overlaps(tables: Iterable[Overlaps]) -> Overlaps:
    """Add the tables of disjoint blocks of one slide (ids must mean the same object in all of them)."""
    tables = list(tables)
    keys = np.concatenate([np.empty(0, np.uint64), *(table.keys for table in tables)])
    counts = np.concatenate([np.empty(0, np.int64), *(table.counts for table in tables)])
    return Overlaps(*_sum_by_key(keys, counts))


def _sum_by_key(
    keys: NDArray[np.uint64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    unique, inverse = np.unique(keys, return_inverse=True)
    total = np.zeros(len(unique), dtype=np.int64)
    np.add.at(total, inverse, counts)
    return unique, total
