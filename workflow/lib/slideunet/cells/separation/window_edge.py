"""What a window of a slide leaves open: near an edge behind which the slide goes on, cells may differ."""

from dataclasses import dataclass

import numpy as np

from slideunet.geometry.blocks import Region
from slideunet.geometry.runs import Runs

_FAR = np.iinfo(np.int32).max // 128


@dataclass(frozen=True)
class SeparatedCells:
    """The cells in a window of a slide.

    Attributes
    ----------
    runs : Runs
        Of the cells 1..n.
    uncertain : ndarray (n + 1,) of bool
        Whether a cell may be another one in a larger window.
    """

    runs: Runs
    uncertain: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The label image (y, x): cells 1..n, 0 is background."""
        return self.runs.image()

    def count_uncertain(self, inner: Region) -> int:
        """Count the uncertain cells that have pixels in a part of the window."""
        if not self.uncertain.any():
            return 0
        rows, columns = (
            slice(*part.indices(side)[:2]) for part, side in zip(inner, self.runs.shape, strict=True)
        )
        present = self.runs.present((rows, columns), len(self.uncertain))
        return int(np.count_nonzero(present & self.uncertain))


@dataclass(frozen=True)
class EdgeDepth:
    """How far the pixels of a window lie from the nearest edge behind which the slide goes on.

    Attributes
    ----------
    rows : ndarray (y,) of int32
        Of the upper and lower edges: 0 on such an edge, a large number where there is none.
    columns : ndarray (x,) of int32
        Of the left and right edges.
    """

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of_window(cls, window: Region, shape: tuple[int, ...]) -> "EdgeDepth":
        """Return the depths in a window of a slide of this shape (y, x)."""
        return cls(*(_depths(part, side) for part, side in zip(window, shape, strict=True)))

    @classmethod
    def of_whole(cls, shape: tuple[int, ...]) -> "EdgeDepth":
        """Return the depths in a slide (y, x) that is looked at as a whole: all pixels are far."""
        return cls.of_window((slice(0, shape[0]), slice(0, shape[1])), shape)

    @property
    def closed(self) -> bool:
        """Whether the slide goes on nowhere."""
        return bool(min(self.rows.min(initial=_FAR), self.columns.min(initial=_FAR)) >= _FAR)

    def below(self, width: int) -> np.ndarray:
        """Return a mask (y, x) of the pixels less than `width` from an open edge."""
        mask = np.zeros((len(self.rows), len(self.columns)), bool)
        mask[self.rows < width] = True
        mask[:, self.columns < width] = True
        return mask

    def deepest(self, rows: np.ndarray, columns: np.ndarray) -> int:
        """Return the largest depth among pixels, one at least, given by rows and columns (n,)."""
        return int(np.minimum(self.rows[rows], self.columns[columns]).max())


def _depths(part: slice, side: int) -> np.ndarray:
    places = np.arange(part.stop - part.start, dtype=np.int32)
    before = places if part.start > 0 else np.full_like(places, _FAR)
    return np.minimum(before, places[::-1]) if part.stop < side else before
