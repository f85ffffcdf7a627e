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
MANY = 20
"""Fewer outlines are no evidence of units."""
LEAST_CELL = 3.0
PLAUSIBLE = (1.0, 300.0)
"""Micrometres: half of the outlines of a file are longer than the first, and usually within the range."""
CORNER = 0.6
"""Share of height and width."""
COVERING = 0.5
GRID = 5


def guess_of_units(
    boxes: npt.NDArray[np.float64], shape: tuple[int, int], mpp: float | None = None, *, whole: bool = True
) -> str:
    """Return what the coordinates of outlines must be; empty if they may be pixels.

    Parameters
    ----------
    boxes : numpy.ndarray
        (n, 4) bounding boxes: y0, x0, y1, x1.
    shape : tuple[int, int]
        (y, x) of the image.
    mpp : float or None
        Micrometres per pixel.
    whole : bool
        Whether no part of the image is named as the annotated one.
    """
    if not len(boxes):
        return ""
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    # A cell cut by the border may have its middle outside; only one that is wholly outside is evidence.
    outside = _wholly_outside(boxes, shape)
    if outside.any() and not _outside(middles[:, ::-1], shape).any():
        return f" {outside.sum()} of {len(boxes)} lie outside, none if x and y are exchanged: exchange them."
    if len(boxes) > 1 and outside.mean() > 0.5:
        if mpp and not _outside(middles / mpp, shape).any():
            return (
                f" {outside.sum()} of {len(boxes)} lie outside, none if the coordinates are in micrometres: "
                f"divide them by {mpp:g}."
            )
        return (
            f" {outside.sum()} of {len(boxes)} lie outside: they may belong to another image, another "
            "resolution, or the whole slide of which this is a part."
        )
    if np.median(sides) < 1:
        return (
            f" Half of the {len(boxes)} outlines are smaller than a pixel: the coordinates may be in "
            "micrometres or millimetres, or fractions of the image. Multiply them."
        )
    if whole and mpp and _fill_in_micrometres(boxes, shape, mpp) and np.median(sides) * mpp < LEAST_CELL:
        return (
            f" The {len(boxes)} outlines reach {_reach(boxes, shape)} of the image, and half of them are "
            f"smaller than {LEAST_CELL:g} micrometres: the coordinates are probably in micrometres. Divide "
            f"them by {mpp:g}. If they are pixels, draw a region of the class {REGION} around what is "
            "annotated."
        )
    return ""


def doubts(
    boxes: npt.NDArray[np.float64], shape: tuple[int, int], mpp: float | None, *, whole: bool
) -> list[str]:
    """Return remarks on outlines that may be right, or in other units; parameters as `guess_of_units`."""
    remarks = []
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    if large := int(((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) > COVERING * shape[0] * shape[1]).sum()):
        remarks.append(f"the bounding boxes of {large} outlines have more than half of the image each")
    if len(boxes) >= MANY and mpp and not PLAUSIBLE[0] <= np.median(sides) * mpp <= PLAUSIBLE[1]:
        remarks.append(
            f"the median outline is {np.median(sides) * mpp:.2g} micrometres long at {mpp:g} micrometres per "
            "pixel: the pixel size or the coordinates may be wrong"
        )
    if whole and len(boxes) >= MANY and (boxes[:, 2:].max(axis=0) < CORNER * np.array(shape)).all():
        units = (
            "as coordinates in micrometres would"
            if mpp and _fill_in_micrometres(boxes, shape, mpp)
            else "as coordinates in micrometres or of a smaller copy would"
        )
        remarks.append(
            f"all {len(boxes)} outlines lie in the upper left corner, up to {_reach(boxes, shape)} of the "
            f"image, {units}; the rest counts as background. If it is not annotated, draw a region of the "
            f"class {REGION} around what is"
        )
    return remarks


def _fill_in_micrometres(boxes: npt.NDArray[np.float64], shape: tuple[int, int], mpp: float) -> bool:
    """Whether many outlines spread over just that corner that the image has in micrometres."""
    if len(boxes) < MANY or mpp > CORNER:
        return False
    first, last = boxes[:, :2].min(axis=0) / shape / mpp, boxes[:, 2:].max(axis=0) / shape / mpp
    return bool((first < 0.2).all() and (last > 0.8).all() and (last <= 1.02).all())


def _reach(boxes: npt.NDArray[np.float64], shape: tuple[int, int]) -> str:
    y, x = boxes[:, 2:].max(axis=0) / shape
    return f"{y:.0%} of the height and {x:.0%} of the width"


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
    """Refuse annotations that contain other outlines: they are regions, and would be drawn as cells.

    Parameters
    ----------
    path : Path
        For the message.
    kinds : sequence of str
        Of each outline, see `geojson_reader.kind_of`; cells and detections may contain others.
    geometries : sequence of (geometry, number of the feature)
    boxes : numpy.ndarray
        (n, 4) bounding boxes: y0, x0, y1, x1.

    Raises
    ------
    InputError
        All corners of an outline are inside another of at least 1.5 times its bounding box.
    """
    drawn = np.array([kind in _DRAWN for kind in kinds], bool)
    if not drawn.any():
        return
    middles, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    tree, areas = KDTree(middles), half.prod(axis=1)
    found: list[int] = []
    for i in np.flatnonzero(drawn):
        near = np.array(tree.query_ball_point(middles[i], half[i].max(), p=np.inf))
        within = (boxes[near, :2] >= boxes[i, :2]) & (boxes[near, 2:] <= boxes[i, 2:])
        for j in near[within.all(axis=1) & (areas[i] > 1.5 * areas[near])]:
            if _contains(geometries[int(i)][0], geometries[int(j)][0]):
                found.append(geometries[int(i)][1])
                break
    if found:
        raise InputError(
            f"{path}: {len(found)} of {len(boxes)} outlines contain another one (the first is feature "
            f"{min(found)}). Regions around cells would be drawn as cells. Give them the class {REGION} "
            f"(completely annotated) or {IGNORE}, delete them, or export cells as detections; of a cell that "
            "was drawn again, delete the older outlines."
        )


def check_covering(
    path: Path,
    kinds: Sequence[str],
    geometries: Sequence[tuple[Geometry, int]],
    boxes: npt.NDArray[np.float64],
    shape: tuple[int, int],
) -> None:
    """Refuse an annotation or plain outline that covers the whole image; parameters as `check_nested`.

    Raises
    ------
    InputError
        Pixels of a grid over the image (y, x) of `shape` are all inside of one outline.
    """
    y, x = (np.linspace(0.5, side - 0.5, GRID) for side in shape)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    # Nearly all outlines are small: their points need not be looked at.
    large = (boxes[:, :2] <= 0.5).all(axis=1) & (boxes[:, 2:] >= np.array(shape) - 0.5).all(axis=1)
    for i in np.flatnonzero(large):
        geometry, number = geometries[int(i)]
        if kinds[int(i)] in _DRAWN and _covers(geometry, points):
            raise InputError(
                f"{path}: the outline of feature {number} covers the whole image. It is probably a region, "
                f"or in other units than pixels. Give it the class {REGION}, delete it, or correct the "
                "coordinates; a cell that fills the image can be exported as a detection."
            )


def _covers(geometry: Geometry, points: npt.NDArray[np.float64]) -> bool:
    """Whether all points (x, y) are inside of one polygon of a geometry (even-odd rule)."""
    crossings = (
        sum(points_in_poly(points, np.array(ring)).astype(int) for ring in rings)
        for rings in geometry["coordinates"]
    )
    return any(bool(np.all(crossed % 2 == 1)) for crossed in crossings)


def _contains(outer: Geometry, inner: Geometry) -> bool:
    """Whether all corners of the outlines of `inner` are inside one outline of `outer`."""
    corners = np.array([point for rings in inner["coordinates"] for point in rings[0]])
    return any(points_in_poly(corners, np.array(rings[0])).all() for rings in outer["coordinates"])
