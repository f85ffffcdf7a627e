"""The outlines of cells as polygons along pixel edges, and their export to GeoJSON for QuPath.

Coordinates are (x, y) in pixels of the original image's full resolution; pixel (0, 0) covers [0, 1) x [0, 1).
"""

import gzip
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rasterio.features import shapes

OUTLINES_VERSION = "1"
"""Part of the fingerprint of every export: raise it when what is written changes."""

Ring = list[tuple[float, float]]
Polygon = list[Ring]

_DIGITS = 3  # of a coordinate, when the scale is not a whole number: a thousandth of a pixel


def outlines(
    labels: np.ndarray, scale: float = 1.0, origin: tuple[int, int] = (0, 0)
) -> dict[int, list[Polygon]]:
    """Trace every cell exactly, along the edges of its pixels.

    Parameters
    ----------
    labels : ndarray (y, x) of integers
        0 = background.
    scale : float
        Original full-resolution pixels per pixel of the array.
    origin : tuple of int
        Position (y, x) of the array's first pixel in the slide, when it is a part of it.

    Returns
    -------
    dict of int to list of polygon
        By ascending id. A cell has one polygon for each of its parts that are connected through pixel sides.
        A polygon is a list of closed rings of (x, y): the outer one, then its holes.

    Raises
    ------
    OverflowError
        When an id is above 2^31 - 1, the largest that GDAL traces.
    """
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise OverflowError(
            f"id {labels.max()} is above 2147483647. Number the cells first (number_by_blocks)."
        )
    traced: dict[int, list[Polygon]] = {}
    for geometry, cell in shapes(labels.astype(np.int32), mask=labels != 0, connectivity=4):
        rings = [_scaled(ring, scale, origin) for ring in geometry["coordinates"]]
        traced.setdefault(int(cell), []).append(rings)
    return dict(sorted(traced.items()))


def feature_lines(slide: str, polygons: dict[int, list[Polygon]], table: pd.DataFrame) -> Iterator[str]:
    """Yield each cell as the text of a GeoJSON feature, a QuPath detection, in the order of the ids.

    Parameters
    ----------
    slide : str
        Id of the slide; with the cell's id it makes the feature's UUID, the same in every run.
    polygons : dict of int to list of polygon
        From `outlines`.
    table : DataFrame
        From `slideunet.cells.measurement.measure`: a row for each cell. NaN and infinities, which JSON does
        not have, are left out.

    Raises
    ------
    ValueError
        When the cells of the table are not those of the polygons.
    """
    if list(table["cell"]) != list(polygons):
        raise ValueError(
            f"slide {slide}: {len(table)} measured cells and {len(polygons)} outlines do not correspond"
        )
    for feature in _features(slide, polygons, table):
        yield json.dumps(feature, separators=(",", ":"), allow_nan=False)


def write_geojson(path: Path, lines: Iterable[str]) -> None:
    """Write features, each the text of one, as a gzipped GeoJSON FeatureCollection.

    They are streamed one by one. The bytes depend on the cells alone, and the file is whole or absent.

    Parameters
    ----------
    path : Path
        Ends in `.geojson.gz`.
    lines : iterable of str
        From `feature_lines`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        # Neither name nor time goes into the header: equal cells give equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
            packed.write(b'{"type":"FeatureCollection","features":[\n')
            for position, line in enumerate(lines):
                packed.write((",\n" if position else "").encode() + line.encode())
            packed.write(b"\n]}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _scaled(ring: Ring, scale: float, origin: tuple[int, int]) -> Ring:
    ring = [(x + origin[1], y + origin[0]) for x, y in ring]
    if float(scale).is_integer():
        return [(int(x * scale), int(y * scale)) for x, y in ring]
    return [(round(x * scale, _DIGITS), round(y * scale, _DIGITS)) for x, y in ring]


def _features(
    slide: str, polygons: dict[int, list[Polygon]], table: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    names = [name for name in table.columns if name != "cell"]
    rows = zip(*(table[name].tolist() for name in names), strict=True)
    for (cell, parts), row in zip(polygons.items(), rows, strict=True):
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"slideunet/{slide}/{cell}")),
            "geometry": _geometry(parts),
            "properties": {
                "objectType": "detection",
                "name": f"cell {cell}",
                "cell": cell,
                "measurements": {
                    name: _number(value)
                    for name, value in zip(names, row, strict=True)
                    if math.isfinite(value)
                },
            },
        }


def _geometry(parts: list[Polygon]) -> dict[str, Any]:
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _number(value: float) -> float:
    """Shorten a measurement to 7 significant digits, more than any has, to keep the file small; true is 1."""
    return int(value) if isinstance(value, bool | int) else float(f"{value:.7g}")
