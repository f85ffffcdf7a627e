"""Pixels of a labelled image that nobody has judged: neither cell nor background."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slideunet.geometry.pixels import Pixels

UNJUDGED = np.uint32(2**32 - 1)
"""The id of such pixels in `labels/truth`."""


def judged_cells(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return where truth (y, x) is a cell, and where it is judged at all."""
    judged = labels != UNJUDGED
    return (labels > 0) & judged, judged


def cells_alone(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return truth (y, x) with background where nobody has judged."""
    return np.where(labels == UNJUDGED, 0, labels)


@dataclass(frozen=True)
class Replaced:
    """Labels (y, x) with another id wherever an image of the same shape has a certain value.

    Attributes
    ----------
    labels, image : array-like (y, x)
    value : int
        Of `image`.
    by : int
        The id that is put there.
    """

    labels: Pixels
    image: Pixels
    value: int
    by: int

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        height, width = self.labels.shape
        return height, width

    @property
    def dtype(self) -> np.dtype:
        """Type of the labels, as far as it matters: wide enough for any id."""
        return self.labels.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[np.int64]:
        """Return a region."""
        found = np.asarray(self.labels[index]).astype(np.int64)
        found[np.asarray(self.image[index]) == self.value] = self.by
        return found
