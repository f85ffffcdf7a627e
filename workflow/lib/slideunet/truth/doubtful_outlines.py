"""Outlines that are probably not what they seem: in other units, exchanged axes, or regions around cells."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from skimage.measure import points_in_poly

from slideunet.errors import InputError
from slideunet.truth.geojson_reader import IGNORE, REGION, Geometry

_DRAWN = ("annotation", "")
"""Kinds of objects that may be a region as well as a cell."""


def guess_of_units(boxes: npt.NDArray[np.float64], shape: tuple[int, int]) -> str:
    """Return what the coordinates of outlines probably are; empty if they seem to be pixels.

    Parameters
    ----------
    boxes : numpy.ndarray
        (n, 4) bounding boxes: y0, x0, y1, x1.
    shape : tuple[int, int]
        (y, x) of the image.
    """
    if not len(boxes):
        return ""
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    outside = _outside(middles, shape)
    # A cell cut by the border may have its middle outside; only one that is wholly outside is evidence.
    if _wholly_outside(boxes, shape).any() and not _outside(middles[:, ::-1], shape).any():
        return f" {outside.sum()} of {len(boxes)} lie outside, none if x and y are exchanged: exchange them."
    if len(boxes) > 1 and outside.mean() > 0.5:
        return (
            f" {outside.sum()} of {len(boxes)} lie outside: they may belong to another image, another "
            "resolution, or the whole slide of which this is a part."
        )
    if np.median(sides) < 1:
        return (
            f" Half of the {len(boxes)} outlines are smaller than a pixel: the coordinates may be in "
            "micrometres or millimetres, or fractions of the image. Multiply them."
        )
    return ""


def _outside(points: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.any((points < 0) | (points >= shape), axis=1)


def _wholly_outside(boxes: npt.NDArray[np.float64], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return np.any((boxes[:, 2:] <= 0) | (boxes[:, :2] >= shape), axis=1)


def check_nested(
    path: Path,
    kinds: Sequence[str],
    geometries: Sequence[tuple[Geometry, int]],
    boxes: npt.NDArray[np.float64],
) -> None:
    """Refuse annotations that contain others: they are regions, and would be drawn as cells.

    Parameters
    ----------
    path : Path
        For the message.
    kinds : sequence of str
        Of each outline, see `geojson_reader.kind_of`; cells and detections are not looked at.
    geometries : sequence of (geometry, number of the feature)
    boxes : numpy.ndarray
        (n, 4) bounding boxes: y0, x0, y1, x1.

    Raises
    ------
    InputError
        All corners of an outline are inside another of at least 1.5 times its bounding box.
    """
    drawn = np.array([kind in _DRAWN for kind in kinds], bool)
    if drawn.sum() < 2:
        return
    middles, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    tree, areas = KDTree(middles), half.prod(axis=1)
    found: list[int] = []
    for i in np.flatnonzero(drawn):
        near = np.array(tree.query_ball_point(middles[i], half[i].max(), p=np.inf))
        within = (boxes[near, :2] >= boxes[i, :2]) & (boxes[near, 2:] <= boxes[i, 2:])
        for j in near[within.all(axis=1) & drawn[near] & (areas[i] > 1.5 * areas[near])]:
            if _contains(geometries[int(i)][0], geometries[int(j)][0]):
                found.append(geometries[int(i)][1])
                break
    if found:
        raise InputError(
            f"{path}: {len(found)} of {len(boxes)} outlines contain another one (the first is feature "
            f"{min(found)}). Regions around cells would be drawn as cells. Give them the class {REGION} "
            f"(completely annotated) or {IGNORE}, delete them, or export cells as detections."
        )


def _contains(outer: Geometry, inner: Geometry) -> bool:
    """Whether all corners of the outlines of `inner` are inside one outline of `outer`."""
    corners = np.array([point for rings in inner["coordinates"] for point in rings[0]])
    return any(points_in_poly(corners, np.array(rings[0])).all() for rings in outer["coordinates"])
