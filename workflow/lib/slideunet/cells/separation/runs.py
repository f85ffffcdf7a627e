"""The pixels of a label image as runs along rows: sums over cells then visit runs instead of pixels."""

from dataclasses import dataclass

import numpy as np

from slideunet.cells.separation.bands import bands
from slideunet.geometry.blocks import Region


@dataclass(frozen=True)
class Runs:
    """Runs of pixels with the same label, in raster order; background has none.

    Attributes
    ----------
    labels : ndarray (n,) of integers
        Above 0.
    rows, starts, lengths : ndarray (n,) of int64
        Row, first column and number of pixels.
    """

    labels: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def areas(self, count: int) -> np.ndarray:
        """Return the number of pixels (count,) of int64 of each label below `count`."""
        # Sums of integers are exact in float64, here and below, whatever their order.
        return np.bincount(self.labels, self.lengths, count).astype(np.int64)

    def totals(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the sum (count,) of float64 of values (y, x) of uint8 over the pixels of each label."""
        sums = [np.zeros(0, np.uint32)]
        for part in bands(values.shape):
            inside = slice(*np.searchsorted(self.rows, [part.start, part.stop]))
            # A sum from the beginning of the band may exceed 32 bits: the difference does not.
            before = np.concatenate([[0], np.cumsum(values[part], dtype=np.uint32)]).astype(np.uint32)
            first = (self.rows[inside] - part.start) * values.shape[1] + self.starts[inside]
            sums.append(before[first + self.lengths[inside]] - before[first])
        return np.bincount(self.labels, np.concatenate(sums), count)

    def present(self, inner: Region, count: int) -> np.ndarray:
        """Return which labels below `count` have pixels in a part of the image: (count,) of bool."""
        rows, columns = inner
        first, last = np.searchsorted(self.rows, [rows.start, rows.stop])
        starts, lengths = self.starts[first:last], self.lengths[first:last]
        met = np.minimum(starts + lengths, columns.stop) > np.maximum(starts, columns.start)
        found = np.zeros(count, bool)
        found[self.labels[first:last][met]] = True
        return found

    def of(self, table: np.ndarray) -> "Runs":
        """Return the runs with `table[label]` as their label, without those of which it is 0."""
        labels = table[self.labels]
        kept = labels > 0
        return Runs(labels[kept], self.rows[kept], self.starts[kept], self.lengths[kept])

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and columns of all pixels, in raster order."""
        ends = np.cumsum(self.lengths)
        first = self.starts - ends + self.lengths
        return np.repeat(self.rows, self.lengths), np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            first, self.lengths
        )


def runs_of(labels: np.ndarray) -> Runs:
    """Return the runs of a label image (y, x) of integers from 0."""
    width, found = labels.shape[1], [np.zeros((4, 0), np.int64)]
    for part in bands(labels.shape):
        band = labels[part]
        begins = np.ones(band.shape, bool)
        np.not_equal(band[:, 1:], band[:, :-1], out=begins[:, 1:])
        places = np.flatnonzero(begins)
        rows, starts = np.divmod(places, max(width, 1))
        lengths = np.diff(places, append=band.size)
        found.append(np.stack([band[rows, starts], rows + part.start, starts, lengths]))
    every = np.concatenate(found, axis=1)
    return Runs(*every[:, every[0] > 0])
