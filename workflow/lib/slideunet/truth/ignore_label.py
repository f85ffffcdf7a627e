"""Ignored pixels of the ground truth: neither cell nor background, excluded from training and scoring."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slideunet.geometry.pixels import Pixels

IGNORE_LABEL = np.uint32(2**32 - 1)
"""The id of such pixels in `labels/truth`."""


def foreground_and_valid(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the masks of cells and of valid (not ignored) pixels of truth (y, x)."""
    valid = labels != IGNORE_LABEL
    return (labels > 0) & valid, valid


def cells_alone(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return truth (y, x) with background at ignored pixels."""
    return np.where(labels == IGNORE_LABEL, 0, labels)


def remark_on_ignored(count: int, shape: tuple[int, int], reason: str) -> list[str]:
    """Return a remark on `count` ignored pixels of an image (y, x); none for none.

    Parameters
    ----------
    count : int
    shape : tuple[int, int]
    reason : str
        How they are marked.
    """
    if not count:
        return []
    share = count / (shape[0] * shape[1])
    return [f"{share:.1%} of the pixels are ignored ({reason}): they are excluded from training and scoring"]


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
