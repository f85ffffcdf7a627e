"""GeoJSON as exported by QuPath: features, their polygons and their faults."""

import gzip
import json
import math
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from slideunet.errors import InputError
from slideunet.truth.kinds_of_labels import Outline

GZIP = b"\x1f\x8b"
UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"\0{", b"\0[")
"""Byte-order marks, or the first character without one."""
MAX_BYTES = 2**30
"""Maximum bytes of JSON: about two million outlines."""

NOT_CELLS = ("tile", "tma_core", "root")
"""Kinds of QuPath objects that are never a cell."""
_KINDS_0_2 = {
    "PathAnnotationObject": "annotation",
    "PathCellObject": "cell",
    "PathDetectionObject": "detection",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
    "PathRootObject": "root",
}

REGION, IGNORE = "Region*", "Ignore*"
"""QuPath's classes of annotated regions and of ignored regions."""

Ring = list[tuple[float, float]]
Geometry = dict[str, Any]


def is_geojson(path: Path) -> bool:
    """Whether the first character of a file, after decompression, is that of GeoJSON."""
    try:
        with _open(path) as file:
            text = file.read(64)
    except (OSError, EOFError):
        return path.name.lower().endswith((".geojson.gz", ".json.gz"))
    if text.startswith(UTF_16):
        return path.name.lower().endswith((".json", ".geojson", ".json.gz", ".geojson.gz"))
    return text.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    return gzip.open(path) if compressed else path.open("rb")


def _load(path: Path) -> object:
    """Parse the file, reading no more than `MAX_BYTES`."""
    try:
        with _open(path) as file:
            text = file.read(MAX_BYTES + 1)
        if text.startswith(UTF_16) or b"\0" in text[:4]:
            raise InputError(
                f"{path}: is UTF-16 text, but GeoJSON must be UTF-8. Save it in UTF-8, or export it again."
            )
        if len(text) <= MAX_BYTES:
            return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (byte {error.start} is {error.object[error.start]:#x}), as GeoJSON "
            "must be; perhaps it is Latin-1 of another program. Save it in UTF-8, or export it again."
        ) from error
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: is not readable GeoJSON ({type(error).__name__}: {error}). "
            "It is truncated or damaged. Export it again."
        ) from error
    raise InputError(
        f"{path}: has more than {MAX_BYTES:,} bytes of JSON. Use a label image (TIFF or OME-Zarr) instead."
    )


def read_features(path: Path) -> list[object]:
    """Return the features of a file; raise `InputError` if they mix regions with cells."""
    features = _features(path, _load(path))
    _check_object_types(path, features)
    return features


def _features(path: Path, document: object) -> list[object]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and isinstance(document.get("features"), list):
        return document["features"]
    if isinstance(document, dict) and document.get("type") in ("Feature", "Polygon", "MultiPolygon"):
        return [document]
    raise InputError(
        f"{path}: is JSON but not GeoJSON with features. A FeatureCollection of polygons is expected. "
        "In QuPath: File > Export objects as GeoJSON."
    )


def kind_of(feature: object) -> str:
    """Return QuPath's kind of an object (annotation, cell, detection, tile, tma_core, root); else empty.

    It is `objectType` since QuPath 0.4, `object_type` in 0.3, and the id of the feature in 0.2.
    """
    properties = _properties(feature)
    kind = properties.get("objectType", properties.get("object_type"))
    if isinstance(kind, str) and kind != "unknown":
        return kind
    name = feature.get("id") if isinstance(feature, dict) else None
    return _KINDS_0_2.get(name, "") if isinstance(name, str) else ""


def is_exported(feature: object) -> bool:
    """Whether an object is a cell as this workflow exports it; QuPath does not keep its number."""
    return kind_of(feature) == "detection" and isinstance(_properties(feature).get("cell"), int)


def has_nucleus(feature: object) -> bool:
    """Whether an object has an outline of its nucleus, as QuPath's cells may."""
    return isinstance(feature, dict) and bool(feature.get("nucleusGeometry"))


def with_outline(feature: object, outline: Outline) -> object:
    """Return an object with the chosen outline as its geometry; `ValueError` for a cell without a nucleus."""
    if outline == "cell" or not isinstance(feature, dict):
        return feature
    if has_nucleus(feature):
        return {**feature, "geometry": feature["nucleusGeometry"]}
    if kind_of(feature) == "cell":
        raise ValueError("is a cell without nucleusGeometry (data.outline: cell takes the cells' outlines)")
    return feature


def _check_object_types(path: Path, features: list[object]) -> None:
    """Refuse QuPath's annotations (regions) mixed with its detections or cells, and files without cells.

    Where a region of the class `REGION` says what was looked at, the other annotations are cells that were
    drawn by hand among predicted ones.
    """
    classes = [class_of(feature) for feature in features]
    kinds = [
        kind_of(feature)
        for feature, name in zip(features, classes, strict=True)
        if name not in (REGION, IGNORE)
    ]
    regions = kinds.count("annotation")
    cells = kinds.count("cell") + kinds.count("detection")
    if regions and cells and REGION not in classes:
        raise InputError(
            f"{path}: holds {regions} annotations beside {cells} cells or detections. Regions would be "
            f"drawn as cells. Export the cells only, or give the regions the class {REGION} or {IGNORE}; if "
            f"the annotations are cells, draw a region of the class {REGION} around what was corrected."
        )
    if kinds and all(kind in NOT_CELLS for kind in kinds):
        raise InputError(
            f"{path}: holds {len(kinds)} objects that are no cells ({', '.join(sorted(set(kinds)))}). Tiles, "
            "TMA cores and the root are never drawn. Export the cells, detections or annotations."
        )


def _properties(feature: object) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return properties if isinstance(properties, dict) else {}


def class_of(feature: object) -> str:
    """Return the QuPath class of an object; empty if it has none."""
    classification = _properties(feature).get("classification")
    name = classification.get("name") if isinstance(classification, dict) else None
    return name if isinstance(name, str) else ""


def read_geometry(feature: object) -> tuple[Geometry, tuple[float, ...]]:
    """Return a feature's geometry with closed rings, and its bounding box (y0, x0, y1, x1) in pixels.

    Raises
    ------
    ValueError
        The geometry is no polygon, empty or without area.
    """
    geometry = feature.get("geometry", feature) if isinstance(feature, dict) else None
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"is {kind or 'without geometry'}, not a Polygon or MultiPolygon")
    parts = [geometry.get("coordinates")] if kind == "Polygon" else geometry.get("coordinates")
    if not isinstance(parts, list) or not parts:
        raise ValueError("is empty")
    polygons = [list(_rings(part)) for part in parts]
    x, y = np.array([point for rings in polygons for point in rings[0]]).T
    box = float(y.min()), float(x.min()), float(y.max()), float(x.max())
    return {"type": "MultiPolygon", "coordinates": polygons}, box


def _rings(polygon: object) -> Iterator[Ring]:
    """Yield the outline and the holes of a polygon, closed."""
    if not isinstance(polygon, list) or not polygon:
        raise ValueError("is empty")
    for ring in polygon:
        points = [_point(point) for point in ring] if isinstance(ring, list) else []
        if not points:
            raise ValueError("has an empty ring")
        if len(set(points)) < 3 or _is_flat(points):
            raise ValueError(f"has a ring without area, near x {points[0][0]:g}, y {points[0][1]:g}")
        yield points if points[0] == points[-1] else [*points, points[0]]


def _point(point: object) -> tuple[float, float]:
    numbers = point[:2] if isinstance(point, list) else []
    if len(numbers) != 2 or not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers):
        raise ValueError(f"has the coordinates {str(point)[:60]}, not two finite numbers")
    return float(numbers[0]), float(numbers[1])


def _is_flat(points: Ring) -> bool:
    """Whether an outline encloses nothing; the signed area of a bowtie may be 0, although it does."""
    x, y = (np.array(points) - points[0]).T
    return not (x * np.roll(y, -1) - np.roll(x, -1) * y).any()
