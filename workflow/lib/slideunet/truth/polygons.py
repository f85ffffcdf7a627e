"""Rasterisation of cell outlines in GeoJSON, as exported by QuPath."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.enums import MergeAlg
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize

from slideunet.geometry.blocks import BlockGrid
from slideunet.truth.geojson_reader import IGNORE, REGION, Geometry
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid, remark_on_ignored
from slideunet.truth.kinds_of_labels import Outline
from slideunet.truth.lazy_labels import Squares
from slideunet.truth.read_outlines import read_outlines

# Cells have no geographic coordinates.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@dataclass(frozen=True)
class PolygonLabels(Squares):
    """Labels rasterised from polygons on request; the last polygon owns an overlap.

    Attributes
    ----------
    geometries : list of (geometry, id)
        Coordinates in pixels of the full resolution.
    boxes : numpy.ndarray
        (polygons, 4) bounding boxes: y0, x0, y1, x1.
    scale : float
        Pixels of the full resolution per pixel of the labels.
    regions, ignored : list of geometry
        Pixels outside of all regions, if there are any, and inside of ignored areas become `IGNORE_LABEL`.
    """

    geometries: list[tuple[Geometry, int]]
    boxes: npt.NDArray[np.float64]
    scale: float
    regions: list[Geometry]
    ignored: list[Geometry]

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Rasterise one square."""
        labels = self._rasterise(rows, columns, self._near(rows, columns), "uint32")
        if self.regions:
            labels[~self._mask(rows, columns, self.regions)] = IGNORE_LABEL
        if self.ignored:
            labels[self._mask(rows, columns, self.ignored)] = IGNORE_LABEL
        return labels

    def _mask(self, rows: slice, columns: slice, geometries: list[Geometry]) -> npt.NDArray[np.bool_]:
        return self._rasterise(rows, columns, [(geometry, 1) for geometry in geometries], "uint8") > 0

    def coverage(self, rows: slice, columns: slice) -> npt.NDArray[np.uint16]:
        """Count the polygons that cover each pixel of a square."""
        shapes = [(geometry, 1) for geometry, _ in self._near(rows, columns)]
        return self._rasterise(rows, columns, shapes, "uint16", MergeAlg.add)

    def _near(self, rows: slice, columns: slice) -> list[tuple[Geometry, int]]:
        """Polygons whose bounding box overlaps a square."""
        top, left, bottom, right = self.boxes.T / self.scale
        near = (top < rows.stop) & (bottom > rows.start) & (left < columns.stop) & (right > columns.start)
        return [self.geometries[i] for i in np.flatnonzero(near)]

    def _rasterise(
        self,
        rows: slice,
        columns: slice,
        shapes: list[tuple[Geometry, int]],
        dtype: str,
        merge: MergeAlg = MergeAlg.replace,
    ) -> npt.NDArray[Any]:
        size = rows.stop - rows.start, columns.stop - columns.start
        if not shapes:
            return np.zeros(size, dtype)
        transform = Affine.scale(self.scale) @ Affine.translation(columns.start, rows.start)
        return rasterize(shapes, size, fill=0, transform=transform, dtype=dtype, merge_alg=merge)


def open_polygons(
    path: Path,
    shape: tuple[int, int],
    scale: float = 1.0,
    working_shape: tuple[int, int] | None = None,
    *,
    outline: Outline = "cell",
    mpp: float | None = None,
) -> tuple[PolygonLabels, npt.NDArray[np.int64], list[str]]:
    """Read the polygons of a GeoJSON file.

    Coordinates are (x, y) in pixels of the full resolution: pixel (0, 0) covers [0, 1) x [0, 1), its centre
    is (0.5, 0.5). A pixel belongs to a polygon if its centre is inside (even-odd rule); the last polygon in
    the file owns an overlap. Objects of QuPath's class "Region*" are areas with complete annotation, those of
    "Ignore*" ignored areas: they are no cells, and pixels outside the former or inside the latter become
    `IGNORE_LABEL`.

    Parameters
    ----------
    path : Path
        FeatureCollection, list of features, or one feature; Polygon or MultiPolygon, with holes.
    shape : tuple[int, int]
        (y, x) of the image at full resolution.
    scale : float
        Pixels of the full resolution per pixel of the labels.
    working_shape : tuple[int, int] or None
        (y, x) of the labels; None: `shape`.
    outline : "cell" or "nucleus"
        Of QuPath's cells: the cell's, or its nucleus's.
    mpp : float or None
        Micrometres per pixel of the full resolution, from which coordinates in micrometres are recognised.

    Returns
    -------
    labels : PolygonLabels
        (y, x) uint32; ids are the numbers of the features in the file, from 1.
    present : numpy.ndarray
        Sorted ids that have a pixel.
    warnings : list[str]
        Overlaps, polygons cut by the image border, polygons without a pixel, and doubtful units.

    Raises
    ------
    InputError
        Not GeoJSON; other geometries than polygons; polygons that are invalid, empty or outside the image,
        cells without the nucleus that is wanted (in one message); outlines that contain others or cover the
        image; coordinates that are in other units.
    """
    found = read_outlines(path, shape, outline=outline, mpp=mpp)
    grid = BlockGrid(working_shape or shape)
    labels = PolygonLabels(
        grid, found.cells, found.boxes, scale, regions=found.areas[REGION], ignored=found.areas[IGNORE]
    )
    present, remarks = _survey_labels(labels, found.count)
    crossing = (found.boxes[:, :2] < 0).any(axis=1) | (found.boxes[:, 2:] > shape).any(axis=1)
    if crossing.any():
        remarks.append(f"{crossing.sum()} polygons extend beyond the image and are cut at its border")
    return labels, present, [*remarks, *found.remarks]


def _survey_labels(labels: PolygonLabels, n_features: int) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Rasterise all squares once; return the ids with pixels, and remarks on hidden, shared, ignored ones."""
    visible = np.zeros(n_features + 1, bool)
    shared = ignored = 0
    for rows, columns in labels.grid:
        square = labels.make(rows, columns)
        cells, valid = foreground_and_valid(square)
        visible[square[cells]] = True
        ignored += int((~valid).sum())
        shared += int((labels.coverage(rows, columns) > 1).sum())
    present = np.flatnonzero(visible[1:]) + 1
    remarks = []
    if shared:
        remarks.append(f"{shared} pixels are in more than one polygon; the last polygon owns them")
    if hidden := len(labels.geometries) - len(present):
        remarks.append(
            f"{hidden} of {len(labels.geometries)} polygons have no pixel: smaller than a pixel, hidden by "
            "later polygons, or in an ignored area"
        )
    reason = f"outside of {REGION}, or in {IGNORE}"
    return present, [*remarks, *remark_on_ignored(ignored, labels.shape, reason)]
