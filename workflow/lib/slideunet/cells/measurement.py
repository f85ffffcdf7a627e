"""One row of measurements per cell.

Two units of length. Places (`y`, `x` and the bounding box) are in pixels of the original image's full
resolution, in the convention of the polygons: pixel (0, 0) covers [0, 1) x [0, 1), so its centre is at (0.5,
0.5). Sizes and shapes are in pixels of the working grid, and in micrometres where the pixel size is known.

Shapes follow `skimage.measure.regionprops` in definition and name; what it computes cell by cell in Python is
computed here for all cells at once.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import ndimage as ndi
from skimage.measure import regionprops_table

MEASUREMENT_VERSION = "1"
"""Part of the fingerprint of every table: raise it when a definition changes."""

_PLACE = ("y", "x", "y_um", "x_um", "y_min", "x_min", "y_max", "x_max")
_SHAPE = (
    "area_um2",
    "perimeter",
    "equivalent_diameter",
    "major_axis",
    "minor_axis",
    "eccentricity",
    "solidity",
    "orientation",
)
_STATISTICS = ("mean", "std", "min", "max")


def measure(
    labels: np.ndarray,
    image: np.ndarray,
    probability: np.ndarray,
    channels: Sequence[str],
    mpp: float | None,
    scale: float = 1.0,
    origin: tuple[int, int] = (0, 0),
    slide_shape: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """Measure every cell.

    Parameters
    ----------
    labels : ndarray (y, x) of integers
        0 = background.
    image : ndarray (c, y, x)
        On the same grid.
    probability : ndarray (y, x) of uint8
        255 = certainly foreground.
    channels : sequence of str
        Names of the image's channels; equal names are numbered (`DAPI`, `DAPI_2`).
    mpp : float or None
        Micrometres per pixel of the working grid.
    scale : float
        Original full-resolution pixels per pixel of the working grid.
    origin : tuple of int
        Position (y, x) of the first pixel in the slide, when the arrays are a part of it.
    slide_shape : (height, width), optional
        Of the whole slide; that of the arrays when not given.

    Returns
    -------
    DataFrame
        One row per cell, ordered by id: `cell` (uint32); `y`, `x`, `y_um`, `x_um` (the centre); `y_min`,
        `x_min`, `y_max`, `x_max` (bounding box, half-open); `area` (int64, pixels); `area_um2`; `perimeter`,
        `equivalent_diameter`, `major_axis`, `minor_axis` (pixels); `eccentricity`, `solidity`; `orientation`
        (radians between the row axis and the major axis, in [-pi/2, pi/2]); `mean_CHANNEL`, `std_CHANNEL`,
        `min_CHANNEL`, `max_CHANNEL`; `mean_probability` (0 to 1); `touches_border` (bool). The rest is
        float64; what needs an unknown `mpp` is NaN.

    Raises
    ------
    ValueError
        When the arrays or the channel names do not fit each other.
    """
    _check_shapes(labels, image, probability, channels)
    cells = _Cells(labels)
    columns: dict[str, np.ndarray] = {"cell": cells.ids.astype(np.uint32)}
    columns |= _places(cells, mpp, scale, origin)
    columns |= _shapes(cells, mpp)
    for name, pixels in zip(distinct_names(channels), image, strict=True):
        columns |= {f"{kind}_{name}": values for kind, values in _intensities(cells, pixels).items()}
    columns["mean_probability"] = _intensities(cells, probability)["mean"] / 255
    first, last = cells.box[:, :2] + origin, cells.box[:, 2:] + origin
    columns["touches_border"] = (first == 0).any(axis=1) | (last == (slide_shape or labels.shape)).any(axis=1)
    return pd.DataFrame(columns)


def distinct_names(channels: Sequence[str]) -> list[str]:
    """Number the names that are repeated; "probability" is taken from the start, by `mean_probability`."""
    taken = {"probability"}
    names = []
    for channel in channels:
        name, number = channel, 1
        while name in taken:
            number += 1
            name = f"{channel}_{number}"
        taken.add(name)
        names.append(name)
    return names


class _Cells:
    """The cell pixels of a label image: what all measurements start from.

    Attributes
    ----------
    labels : ndarray (y, x) of int32
        The same cells under the numbers 1..n, in the order of their ids.
    ids : ndarray (n,)
    area : ndarray (n,) of int64
    pixels : ndarray (p,)
        Flat indices of all cell pixels.
    index : ndarray (p,)
        To which cell each belongs, from 0.
    box : ndarray (n, 4)
        First row and column, and those after the last.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.pixels = np.flatnonzero(labels)
        self.ids, self.index, self.area = np.unique(
            labels.ravel()[self.pixels], return_inverse=True, return_counts=True
        )
        self.labels = np.zeros(labels.shape, dtype=np.int32)
        self.labels.ravel()[self.pixels] = self.index + 1
        boxes = [
            [s.start for s in slices] + [s.stop for s in slices] for slices in ndi.find_objects(self.labels)
        ]
        self.box = np.array(boxes, dtype=np.int64).reshape(-1, 4)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average over each cell what is given for each of its pixels (p,)."""
        return np.bincount(self.index, weights=values, minlength=len(self.ids)) / self.area

    def centred(self, values: np.ndarray) -> np.ndarray:
        """Subtract from each pixel's value (p,) the mean of its cell."""
        return values - self.mean(values)[self.index]


def _check_shapes(
    labels: np.ndarray, image: np.ndarray, probability: np.ndarray, channels: Sequence[str]
) -> None:
    if image.shape[1:] != labels.shape or probability.shape != labels.shape:
        raise ValueError(
            f"labels {labels.shape}, image {image.shape} and probability {probability.shape} "
            "are not on one grid"
        )
    if len(channels) != len(image):
        raise ValueError(f"{len(channels)} channel names were given for {len(image)} channels")


def _places(cells: _Cells, mpp: float | None, scale: float, origin: tuple[int, int]) -> dict[str, np.ndarray]:
    rows, columns = np.unravel_index(cells.pixels, cells.labels.shape)
    # Whole numbers are summed, so a part of a slide gives the very centre that the whole would.
    centre = np.stack([cells.mean(rows + origin[0]), cells.mean(columns + origin[1])], axis=1) + 0.5
    um = np.nan if mpp is None else mpp
    box = (cells.box + np.tile(origin, 2)) * float(scale)
    values = np.concatenate([centre * scale, centre * um, box], axis=1)
    return dict(zip(_PLACE, values.T, strict=True))


def _shapes(cells: _Cells, mpp: float | None) -> dict[str, np.ndarray]:
    slow = regionprops_table(cells.labels, properties=("perimeter", "solidity"))
    values = {
        "area_um2": cells.area * (np.nan if mpp is None else mpp**2),
        "equivalent_diameter": np.sqrt(4 * cells.area / np.pi),
        **{name: np.asarray(column, dtype=np.float64) for name, column in slow.items()},
        **_ellipses(cells),
    }
    return {"area": cells.area} | {name: values[name] for name in _SHAPE}


def _ellipses(cells: _Cells) -> dict[str, np.ndarray]:
    """Axes, eccentricity and orientation of the ellipse with the cell's second moments, as in regionprops."""
    rows, columns = np.unravel_index(cells.pixels, cells.labels.shape)
    y, x = cells.centred(rows), cells.centred(columns)
    yy, xx, yx = cells.mean(y * y), cells.mean(x * x), cells.mean(y * x)
    middle, radius = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    largest, smallest = middle + radius, np.maximum(middle - radius, 0)
    ratio = np.divide(smallest, largest, out=np.ones_like(largest), where=largest > 0)
    round_cell = np.where(yx > 0, np.pi / 4, -np.pi / 4)
    return {
        "major_axis": 4 * np.sqrt(largest),
        "minor_axis": 4 * np.sqrt(smallest),
        "eccentricity": np.sqrt(1 - ratio),
        "orientation": np.where(yy == xx, round_cell, 0.5 * np.arctan2(2 * yx, yy - xx)),
    }


def _intensities(cells: _Cells, pixels: np.ndarray) -> dict[str, np.ndarray]:
    values = pixels.ravel()[cells.pixels].astype(np.float64)
    low, high = np.full(len(cells.ids), np.inf), np.full(len(cells.ids), -np.inf)
    np.minimum.at(low, cells.index, values)
    np.maximum.at(high, cells.index, values)
    std = np.sqrt(cells.mean(cells.centred(values) ** 2))
    return dict(zip(_STATISTICS, (cells.mean(values), std, low, high), strict=True))
