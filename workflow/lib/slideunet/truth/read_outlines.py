"""Outlines of cells and annotated areas in a GeoJSON file, with all faults in one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slideunet.errors import InputError
from slideunet.truth.doubtful_outlines import check_covering, check_nested, doubts, guess_of_units
from slideunet.truth.geojson_reader import (
    IGNORE,
    NOT_CELLS,
    REGION,
    Geometry,
    class_of,
    has_nucleus,
    is_exported,
    kind_of,
    read_features,
    read_geometry,
    with_outline,
)
from slideunet.truth.kinds_of_labels import Outline

FAULTS_SHOWN = 3


@dataclass(frozen=True)
class Outlines:
    """What a file draws.

    Attributes
    ----------
    cells : list of (geometry, number)
        Outlines in pixels of the full resolution, and the numbers of their features from 1.
    boxes : numpy.ndarray
        (cells, 4) bounding boxes: y0, x0, y1, x1.
    areas : dict
        Geometries of QuPath's classes `REGION` and `IGNORE`.
    count : int
        Features of the file.
    remarks : list[str]
        On what was left out and what is doubtful.
    """

    cells: list[tuple[Geometry, int]]
    boxes: npt.NDArray[np.float64]
    areas: dict[str, list[Geometry]]
    count: int
    remarks: list[str]


def read_outlines(
    path: Path, shape: tuple[int, int], *, outline: Outline = "cell", mpp: float | None = None
) -> Outlines:
    """Read and check the outlines of a GeoJSON file.

    Parameters
    ----------
    path : Path
    shape : tuple[int, int]
        (y, x) of the image at full resolution.
    outline : "cell" or "nucleus"
        Of QuPath's cells.
    mpp : float or None
        Micrometres per pixel of the full resolution, from which coordinates in micrometres are recognised.

    Raises
    ------
    InputError
        As `polygons.open_polygons`.
    """
    features = read_features(path)
    problems, seen = [], []
    drawn: list[tuple[Geometry, int, str, tuple[float, ...]]] = []
    areas: dict[str, list[Geometry]] = {REGION: [], IGNORE: []}
    left_out = 0
    for number, feature in enumerate(features, start=1):
        kind, group = kind_of(feature), class_of(feature)
        try:
            geometry, box = read_geometry(feature if group in areas else with_outline(feature, outline))
        except ValueError as error:
            problems.append(f"feature {number}: {error}")
            continue
        if kind in NOT_CELLS:
            left_out += 1
            continue
        seen.append(box)
        if outside := _where_outside(box, shape):
            problems.append(f"feature {number}: {outside}")
        elif group in areas:
            areas[group].append(geometry)
        else:
            drawn.append((geometry, number, kind, box))
    # Drawn by hand over a predicted cell, an annotation owns the overlap.
    drawn.sort(key=lambda outline: outline[2] == "annotation")
    cells, kinds = [(geometry, number) for geometry, number, _, _ in drawn], [kind for _, _, kind, _ in drawn]
    _refuse(path, problems, len(features), guess_of_units(_table(seen), shape, mpp))
    table, whole = _table([box for *_, box in drawn]), not areas[REGION]
    if guess := guess_of_units(table, shape, mpp, whole=whole):
        raise InputError(f"{path}: coordinates are x, y in pixels of the full-resolution image.{guess}")
    check_nested(path, kinds, cells, table)
    check_covering(path, kinds, cells, table, shape)
    remarks = [*doubts(table, shape, mpp, whole=whole), *_remark_on_nuclei(features, outline)]
    remarks += _remark_on_kinds(kinds, left_out, exported=whole and all(map(is_exported, features)))
    return Outlines(cells, table, areas, len(features), remarks)


def _table(boxes: Sequence[tuple[float, ...]]) -> npt.NDArray[np.float64]:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _where_outside(box: tuple[float, ...], shape: tuple[int, int]) -> str:
    top, left, bottom, right = box
    if bottom > 0 and right > 0 and top < shape[0] and left < shape[1]:
        return ""
    return f"is outside the image, near x {(left + right) / 2:.1f}, y {(top + bottom) / 2:.1f}"


def _refuse(path: Path, problems: Sequence[str], count: int, guess: str) -> None:
    if problems:
        faults = "; ".join(problems[:FAULTS_SHOWN])
        raise InputError(
            f"{path}: {len(problems)} of {count} outlines cannot be used: {faults}"
            f"{'; ...' if len(problems) > FAULTS_SHOWN else ''}. Cells are never skipped silently. "
            f"Correct or delete them; coordinates are x, y in pixels of the full-resolution image.{guess}"
        )


def _remark_on_kinds(kinds: Sequence[str], left_out: int, *, exported: bool) -> list[str]:
    """Return remarks on the kinds of the cells; `exported`: nothing shows that anybody corrected them."""
    remarks = []
    if 0 < (by_hand := kinds.count("annotation")) < len(kinds):
        remarks.append(f"{by_hand} annotations and {len(kinds) - by_hand} other objects are taken as cells")
    if kinds and exported:
        remarks.append(
            f"all {len(kinds)} outlines are cells as they were predicted. If nobody corrected them, the "
            f"network learns its errors; else draw a region of the class {REGION} around what was corrected"
        )
    if left_out:
        remarks.append(f"{left_out} objects are tiles, TMA cores or the root of QuPath and are left out")
    return remarks


def _remark_on_nuclei(features: Sequence[object], outline: Outline) -> list[str]:
    nuclei = sum(map(has_nucleus, features))
    if outline == "cell":
        if not nuclei:
            return []
        return [
            f"{nuclei} cells have a nucleus (nucleusGeometry), which is not used: the cell's outline is. "
            "Set data.outline: nucleus to use the nuclei"
        ]
    others = sum(kind_of(feature) not in ("cell", *NOT_CELLS) for feature in features) if nuclei else 0
    rest = f"; {others} objects that are no cells are drawn as they are" if others else ""
    if not nuclei:
        text = "data.outline is nucleus, but no object has a nucleusGeometry: all are drawn as they are"
        return [text] if features else []
    return [f"the nuclei (nucleusGeometry) of {nuclei} cells are drawn, as data.outline says{rest}"]
