"""The pixels of a label image as runs along rows: sums over cells then visit runs instead of pixels.

Cells are kept as runs until their ids are known: an image of 4096 x 4096 labels has 67 MB, its runs 1 to 10.
"""

from dataclasses import dataclass, replace

import numpy as np

from slideunet.geometry.bands import bands
from slideunet.geometry.blocks import Region


@dataclass(frozen=True)
class Runs:
    """Runs of pixels with the same label, in raster order; background has none.

    Two runs of one label may lie side by side.

    Attributes
    ----------
    shape : tuple of int
        (y, x) of the image.
    labels : ndarray (n,) of integers
        Above 0.
    rows, starts, lengths : ndarray (n,) of int64
        Row, first column and number of pixels.
    """

    shape: tuple[int, int]
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
        return replace(self, labels=labels).chosen(labels > 0)

    def chosen(self, kept: np.ndarray) -> "Runs":
        """Return those runs for which a mask (n,) is true."""
        return Runs(self.shape, self.labels[kept], self.rows[kept], self.starts[kept], self.lengths[kept])

    def inside(self, inner: Region) -> "Runs":
        """Return the runs of a part of the image."""
        rows, columns = inner
        part = slice(*np.searchsorted(self.rows, [rows.start, rows.stop]))
        starts = np.maximum(self.starts[part], columns.start)
        lengths = np.minimum(self.starts[part] + self.lengths[part], columns.stop) - starts
        shape = rows.stop - rows.start, columns.stop - columns.start
        places = self.rows[part] - rows.start, starts - columns.start, lengths
        return Runs(shape, self.labels[part], *places).chosen(lengths > 0)

    def box(self) -> Region:
        """Return the rows and columns of all runs, one at least."""
        rows = slice(int(self.rows[0]), int(self.rows[-1]) + 1)
        return rows, slice(int(self.starts.min()), int((self.starts + self.lengths).max()))

    def image(self) -> np.ndarray:
        """Return the label image (y, x), in the type of the labels."""
        ends = self.rows * self.shape[1] + self.starts + self.lengths
        # Background and runs in turns, and the background after the last run.
        bounds = np.stack([ends - self.lengths, ends], axis=1).ravel()
        values = np.zeros(len(bounds) + 1, self.labels.dtype)
        values[1::2] = self.labels
        counts = np.diff(bounds, prepend=0, append=self.shape[0] * self.shape[1])
        return np.repeat(values, counts).reshape(self.shape)

    def packed(self) -> np.ndarray:
        """Return labels, rows, starts and lengths (4, n) of uint32; `unpacked` is the way back."""
        return np.stack([self.labels, self.rows, self.starts, self.lengths]).astype(np.uint32)

    @classmethod
    def unpacked(cls, packed: np.ndarray, region: Region) -> "Runs":
        """Return the runs of an image that is as large as a region."""
        rows, columns = region
        labels, *places = packed
        return cls(
            (rows.stop - rows.start, columns.stop - columns.start),
            labels,
            *(place.astype(np.int64) for place in places),
        )

    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and columns of all pixels, in raster order."""
        ends = np.cumsum(self.lengths)
        first = self.starts - ends + self.lengths
        return np.repeat(self.rows, self.lengths), np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            first, self.lengths
        )


def runs_of(labels: np.ndarray) -> Runs:
    """Return the runs of a label image (y, x) of integers from 0."""
    (height, width), found = labels.shape, [np.zeros((4, 0), np.int64)]
    for part in bands(labels.shape):
        band = labels[part]
        begins = np.ones(band.shape, bool)
        np.not_equal(band[:, 1:], band[:, :-1], out=begins[:, 1:])
        places = np.flatnonzero(begins)
        rows, starts = np.divmod(places, max(width, 1))
        lengths = np.diff(places, append=band.size)
        found.append(np.stack([band[rows, starts], rows + part.start, starts, lengths]))
    every = np.concatenate(found, axis=1)
    return Runs((height, width), *every[:, every[0] > 0])
