"""One row of measurements per cell.

Positions (`y`, `x` and the bounding box) are in full-resolution pixels of the original image, in the
convention of the polygons: pixel (0, 0) covers [0, 1) x [0, 1), its centre is (0.5, 0.5). Sizes and shapes
are in pixels of the working grid, and in micrometres where the pixel size is known.

Shapes have the names and definitions of `skimage.measure.regionprops`, which loops over cells in Python; here
all cells are measured at once.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from slideunet.cells.measurement.intensities import intensities, stains
from slideunet.cells.measurement.regions import Regions
from slideunet.cells.measurement.shapes import shapes

MEASUREMENT_VERSION = "2"
"""Part of the fingerprint of every table: raise it when a definition changes."""

_POSITIONS = ("y", "x", "y_um", "x_um", "y_min", "x_min", "y_max", "x_max")


def measure_regions(
    regions: Regions,
    image: np.ndarray,
    probability: np.ndarray,
    channels: Sequence[str],
    mpp: float | None,
    scale: float = 1.0,
    origin: tuple[int, int] = (0, 0),
    slide_shape: tuple[int, ...] | None = None,
    white: int | None = None,
) -> pd.DataFrame:
    """Measure all cells of a slide or of a part of it.

    Parameters
    ----------
    regions : Regions
    image : ndarray (c, y, x)
        On the grid of `regions`, like `probability`.
    probability : ndarray (y, x) of uint8
        Foreground probability, 255 = 1.
    channels : sequence of str
        Channel names of the image; repeated names are numbered (`DAPI`, `DAPI_2`).
    mpp : float or None
        Micrometres per pixel of the working grid.
    scale : float
        Original full-resolution pixels per pixel of the working grid.
    origin : tuple of int
        Position (y, x) of the first pixel in the slide.
    slide_shape : (height, width), optional
        Of the whole slide, by default that of the arrays.
    white : int or None
        Value of full transmission of a colour image; None for others.

    Returns
    -------
    DataFrame
        One row per cell, ordered by id: `cell` (uint32); `y`, `x`, `y_um`, `x_um` (centroid); `y_min`,
        `x_min`, `y_max`, `x_max` (bounding box, half-open); `area` (int64, pixels); `area_um2`; `perimeter`,
        `equivalent_diameter`, `major_axis`, `minor_axis` (pixels); `eccentricity`, `orientation` (radians
        between the row axis and the major axis, in [-pi/2, pi/2]), `solidity`; `mean_CHANNEL`, `std_CHANNEL`,
        `min_CHANNEL`, `max_CHANNEL` and the percentiles `p05_CHANNEL` to `p95_CHANNEL`; for colour images
        `od_haematoxylin` and `od_eosin` (mean optical densities); `mean_probability` (0 to 1);
        `touches_border` (bool). Other columns are float64; NaN in micrometres if `mpp` is None.

    Raises
    ------
    ValueError
        If the shapes of the arrays or the number of channel names do not match.
    """
    _check_shapes(regions.shape, image, probability, channels)
    columns: dict[str, np.ndarray] = {"cell": regions.ids.astype(np.uint32)}
    columns |= _positions(regions, mpp, scale, origin)
    columns["area"] = regions.area
    columns["area_um2"] = regions.area * (np.nan if mpp is None else mpp**2)
    columns |= shapes(regions)
    for name, plane in zip(distinct_names(channels), image, strict=True):
        columns |= {f"{kind}_{name}": values for kind, values in intensities(regions, plane).items()}
    columns |= {f"od_{name}": values for name, values in stains(regions, image, channels, white).items()}
    columns["mean_probability"] = regions.mean(regions.values(probability).astype(np.int64)) / 255
    end = slide_shape or regions.shape
    first, last = regions.box[:, :2] + origin, regions.box[:, 2:] + origin
    columns["touches_border"] = (first == 0).any(axis=1) | (last == end).any(axis=1)
    return pd.DataFrame(columns)


def distinct_names(channels: Sequence[str]) -> list[str]:
    """Number repeated channel names; "probability" is reserved for `mean_probability`."""
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


def _check_shapes(
    shape: tuple[int, int], image: np.ndarray, probability: np.ndarray, channels: Sequence[str]
) -> None:
    if image.shape[1:] != shape or probability.shape != shape:
        raise ValueError(
            f"labels {shape}, image {image.shape} and probability {probability.shape} are not on one grid"
        )
    if len(channels) != len(image):
        raise ValueError(f"{len(channels)} channel names were given for {len(image)} channels")


def _positions(
    regions: Regions, mpp: float | None, scale: float, origin: tuple[int, int]
) -> dict[str, np.ndarray]:
    box = regions.box + np.tile(origin, 2)
    # Integer sums: a part of a slide gives exactly the centroid of the whole slide.
    inside = np.stack([regions.total(regions.rows), regions.total(regions.columns)], axis=1)
    area = regions.area[:, None]
    centroid = (inside + area * box[:, :2]) / area + 0.5
    um = np.nan if mpp is None else mpp
    values = np.concatenate([centroid * scale, centroid * um, box * float(scale)], axis=1)
    return dict(zip(_POSITIONS, values.T, strict=True))
