"""Outlines of cells in GeoJSON, as QuPath exports them, drawn into a label image."""

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

from slideunet.errors import InputError
from slideunet.geometry.blocks import BlockGrid
from slideunet.truth.geojson_reader import IGNORE, REGION, Geometry, class_of, read_features, read_geometry
from slideunet.truth.ignore_label import IGNORE_LABEL, foreground_and_valid
from slideunet.truth.lazy_labels import Squares

PLACES_SHOWN = 3

# Cells have no place on Earth.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@dataclass(frozen=True)
class DrawnPolygons(Squares):
    """Polygons that are drawn when they are asked for; where they overlap, the later one is on top.

    Attributes
    ----------
    geometries : list of (geometry, number)
        Coordinates in pixels of the full resolution.
    boxes : numpy.ndarray
        (polygons, 4) smallest y and x and largest y and x of each.
    scale : float
        Pixels of the full resolution per pixel that is drawn.
    regions, ignored : list of geometry
        Pixels outside of the regions, where there are any, and in these are ignored.
    """

    geometries: list[tuple[Geometry, int]]
    boxes: npt.NDArray[np.float64]
    scale: float
    regions: list[Geometry]
    ignored: list[Geometry]

    def make(self, rows: slice, columns: slice) -> npt.NDArray[np.uint32]:
        """Draw one square."""
        drawn = self._draw(rows, columns, self._inside(rows, columns), "uint32", MergeAlg.replace)
        if self.regions:
            drawn[~self._mask(rows, columns, self.regions)] = IGNORE_LABEL
        if self.ignored:
            drawn[self._mask(rows, columns, self.ignored)] = IGNORE_LABEL
        return drawn

    def _mask(self, rows: slice, columns: slice, shapes: list[Geometry]) -> npt.NDArray[np.bool_]:
        ones = [(geometry, 1) for geometry in shapes]
        return self._draw(rows, columns, ones, "uint8", MergeAlg.replace) > 0

    def cover(self, rows: slice, columns: slice) -> npt.NDArray[np.uint16]:
        """Count the polygons that every pixel of a square lies in."""
        ones = [(geometry, 1) for geometry, _ in self._inside(rows, columns)]
        return self._draw(rows, columns, ones, "uint16", MergeAlg.add)

    def _inside(self, rows: slice, columns: slice) -> list[tuple[Geometry, int]]:
        """Polygons of which the box touches a square."""
        top, left, bottom, right = self.boxes.T / self.scale
        near = (top < rows.stop) & (bottom > rows.start) & (left < columns.stop) & (right > columns.start)
        return [self.geometries[i] for i in np.flatnonzero(near)]

    def _draw(
        self, rows: slice, columns: slice, shapes: list[tuple[Geometry, int]], dtype: str, merge: MergeAlg
    ) -> npt.NDArray[Any]:
        size = rows.stop - rows.start, columns.stop - columns.start
        if not shapes:
            return np.zeros(size, dtype)
        place = Affine.scale(self.scale) @ Affine.translation(columns.start, rows.start)
        return rasterize(shapes, size, fill=0, transform=place, dtype=dtype, merge_alg=merge)


def open_polygons(
    path: Path, shape: tuple[int, int], scale: float = 1.0, working_shape: tuple[int, int] | None = None
) -> tuple[DrawnPolygons, npt.NDArray[np.int64], list[str]]:
    """Read the polygons of a GeoJSON file.

    Coordinates are (x, y) in pixels of the full-resolution image, its top left corner being (0, 0): pixel (0,
    0) covers [0, 1) x [0, 1) and its centre is (0.5, 0.5). A pixel belongs to a polygon when its centre lies
    inside (outlines that cross themselves: even-odd rule). Where polygons overlap, the later one in the file
    wins. Objects of QuPath's classes "Region*" and "Ignore*" are no cells: pixels outside of the regions, if
    there are any, and inside of "Ignore*" are `IGNORE_LABEL`.

    Parameters
    ----------
    path : Path
        FeatureCollection, list of features, or one feature; Polygon and MultiPolygon, with holes.
    shape : tuple[int, int]
        (y, x) of the image at full resolution.
    scale : float
        Pixels of the full resolution per pixel that is drawn.
    working_shape : tuple[int, int] or None
        (y, x) that are drawn; None: `shape`.

    Returns
    -------
    labels : DrawnPolygons
        (y, x) uint32; id = place of the feature in the file, from 1.
    present : numpy.ndarray
        The ids that have a pixel, sorted.
    warnings : list[str]
        Overlaps, polygons that end outside the image, and polygons of which no pixel is left.

    Raises
    ------
    InputError
        Not GeoJSON; geometries other than polygons; polygons that are invalid, empty or outside the image
        (all in one message).
    """
    features = read_features(path)
    geometries, boxes, problems = [], [], []
    areas: dict[str, list[Geometry]] = {REGION: [], IGNORE: []}
    for number, feature in enumerate(features, start=1):
        try:
            geometry, box = read_geometry(feature, shape)
        except ValueError as error:
            problems.append(f"feature {number}: {error}")
            continue
        if (kind := class_of(feature)) in areas:
            areas[kind].append(geometry)
            continue
        geometries.append((geometry, number))
        boxes.append(box)
    if problems:
        shown = "; ".join(problems[:PLACES_SHOWN])
        raise InputError(
            f"{path}: {len(problems)} of {len(features)} outlines cannot be used: {shown}"
            f"{'; ...' if len(problems) > PLACES_SHOWN else ''}. No cell is left out silently. "
            "Correct or delete them; coordinates are x, y in pixels of the full-resolution image."
        )
    table = np.array(boxes, np.float64).reshape(-1, 4)
    grid = BlockGrid(working_shape or shape)
    drawing = DrawnPolygons(grid, geometries, table, scale, areas[REGION], areas[IGNORE])
    present, remarks = _look(drawing, len(features))
    crossing = (table[:, :2] < 0).any(axis=1) | (table[:, 2:] > shape).any(axis=1)
    if crossing.any():
        remarks.append(f"{crossing.sum()} polygons reach beyond the image and are cut at its border")
    return drawing, present, remarks


def _look(drawing: DrawnPolygons, n_features: int) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Draw everything once, square by square, and find what is hidden, shared or not judged."""
    seen = np.zeros(n_features + 1, bool)
    shared = ignored = 0
    for rows, columns in drawing.grid:
        drawn = drawing.make(rows, columns)
        cells, valid = foreground_and_valid(drawn)
        seen[np.unique(drawn[cells])] = True
        ignored += int((~valid).sum())
        shared += int((drawing.cover(rows, columns) > 1).sum())
    present = np.flatnonzero(seen[1:]) + 1
    remarks = []
    if shared:
        remarks.append(f"{shared} pixels lie in more than one polygon; the later polygon has them")
    if len(present) < len(drawing.geometries):
        remarks.append(
            f"{len(drawing.geometries) - len(present)} of {len(drawing.geometries)} polygons have no pixel: "
            "too small to hold the centre of one, hidden by later polygons, or ignored"
        )
    if ignored:
        share = ignored / (drawing.shape[0] * drawing.shape[1])
        remarks.append(
            f"{share:.1%} of the pixels are ignored (outside of {REGION}, or in {IGNORE}): nothing is "
            "learned or scored there"
        )
    return present, remarks
