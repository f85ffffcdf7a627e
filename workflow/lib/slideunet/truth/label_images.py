"""Label images of any size: ids as they are stored, at another resolution, and renumbered without gaps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.geometry.pixels import Pixels
from slideunet.readers.working_resolution import centres
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid
from slideunet.truth.lazy_labels import Squares


@dataclass(frozen=True)
class StoredIds:
    """The values of a label image, checked to be ids when they are read.

    Attributes
    ----------
    path : Path
        For messages.
    pixels : dask.array.Array
        (y, x) as in the file.
    """

    path: Path
    pixels: da.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        height, width = self.pixels.shape
        return height, width

    @property
    def dtype(self) -> np.dtype:
        """Type of the file's values."""
        return self.pixels.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Read a region as integers from 0, or raise `InputError` with the place of what is none."""
        values = self.pixels[index].compute(scheduler="synchronous")
        return whole_numbers(self.path, values, (index[0].start or 0, index[1].start or 0))


def whole_numbers(path: Path, values: npt.NDArray[Any], corner: tuple[int, int]) -> npt.NDArray[Any]:
    """Return values (y, x) as non-negative integers or refuse them.

    Parameters
    ----------
    path : Path
        For the message.
    values : numpy.ndarray
        (y, x) of any type.
    corner : tuple[int, int]
        (y, x) of the first of them in the image, for the message.

    Raises
    ------
    InputError
        Values that are negative, not whole, not finite, or of a type that has no order.
    """
    if values.dtype.kind not in "buif":
        raise InputError(f"{path}: labels of type {values.dtype} are not ids. Export integers.")
    if values.dtype == bool:
        return values.astype(np.uint8)
    with np.errstate(invalid="ignore"):
        bad = (values < 0) | (values >= 2**63)
        if values.dtype.kind == "f":
            bad |= ~np.isfinite(values) | (values != np.rint(values))
    if bad.any():
        y, x = np.unravel_index(bad.argmax(), bad.shape)
        raise InputError(
            f"{path}: {bad.sum()} values are negative, not whole or not finite, the first is {values[y, x]} "
            f"at y {y + corner[0]}, x {x + corner[1]}. "
            "Ids are whole numbers from 0 (background). Export a label image, not probabilities or distances."
        )
    return values.astype(np.int64) if values.dtype.kind == "f" else values


@dataclass(frozen=True)
class AtCentres(Squares):
    """Labels at the working resolution: those at the centres of its pixels .

    Attributes
    ----------
    labels : array-like (y, x)
        At full resolution.
    scale : float
        Pixels of the full resolution per working pixel.
    """

    labels: Pixels
    scale: float

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Take the labels of one square."""
        down, across = (
            centres(part.start, part.stop, self.scale, length)
            for part, length in zip((rows, columns), self.labels.shape, strict=True)
        )
        region = np.asarray(self.labels[down[0] : down[-1] + 1, across[0] : across[-1] + 1])
        return region[(down - down[0])[:, None], across - across[0]]


@dataclass(frozen=True)
class Renumbered(Squares):
    """Ids 1..n in the order of the original ids, of which `present` (n,) is the sorted list without 0.

    With `ignored`, `IGNORE_LABEL` among the original ids is no cell and stays as it is.
    """

    ids: Pixels
    present: npt.NDArray[Any]
    ignored: bool = False

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Renumber one square."""
        ids = np.asarray(self.ids[rows, columns])
        numbers = np.searchsorted(self.present, ids).astype(np.uint32) + np.uint32(1)
        numbers[ids == 0] = 0
        if self.ignored:
            numbers[ids == IGNORE_LABEL] = IGNORE_LABEL
        return numbers


def present_ids(ids: Pixels) -> npt.NDArray[Any]:
    """Return the sorted ids of cells that an image (y, x) has, block by block."""
    found: npt.NDArray[Any] = np.zeros(0, np.int64)
    for region in BlockGrid(ids.shape):
        block = np.asarray(ids[region])
        found = np.union1d(found, np.unique(block[foreground_and_valid(block)[0]]))
    return found
