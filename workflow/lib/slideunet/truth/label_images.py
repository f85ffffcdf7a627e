"""Label images of any size: stored ids, ids at the working resolution, and consecutive ids."""

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
    """The values (y, x) of a label image, checked to be ids when read."""

    path: Path
    pixels: da.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        height, width = self.pixels.shape
        return height, width

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return self.pixels.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> npt.NDArray[Any]:
        """Read a region as non-negative integers, or raise `InputError` with the place of another value."""
        values = self.pixels[index].compute(scheduler="synchronous")
        return _check_ids(self.path, values, (index[0].start or 0, index[1].start or 0))


def _check_ids(path: Path, values: npt.NDArray[Any], corner: tuple[int, int]) -> npt.NDArray[Any]:
    """Return values (y, x), the first of them at `corner`, as non-negative integers or refuse them."""
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
            f"at y {y + corner[0]}, x {x + corner[1]}. Ids are whole numbers from 0 (background). "
            "Export a label image, not probabilities or distances."
        )
    return values.astype(np.int64) if values.dtype.kind == "f" else values


@dataclass(frozen=True)
class AtCentres(Squares):
    """Labels at the working resolution: the full-resolution label at the centre of each working pixel.

    `scale` is the number of full-resolution pixels per working pixel.
    """

    labels: Pixels
    scale: float

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Sample the labels of one square."""
        y, x = (
            centres(part.start, part.stop, self.scale, length)
            for part, length in zip((rows, columns), self.labels.shape, strict=True)
        )
        region = np.asarray(self.labels[y[0] : y[-1] + 1, x[0] : x[-1] + 1])
        return region[(y - y[0])[:, None], x - x[0]]


@dataclass(frozen=True)
class Renumbered(Squares):
    """Ids 1..n in the order of the original ids `present` (n,), which are sorted and without 0.

    With `ignored`, pixels of `IGNORE_LABEL` keep this value.
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
    """Return the sorted ids of the cells in an image (y, x), read block by block."""
    present: npt.NDArray[Any] = np.zeros(0, np.int64)
    for region in BlockGrid(ids.shape):
        block = np.asarray(ids[region])
        present = np.union1d(present, block[foreground_and_valid(block)[0]])
    return present
