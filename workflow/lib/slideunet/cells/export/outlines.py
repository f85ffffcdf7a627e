"""The outlines of cells as GeoJSON polygons along pixel edges.

Coordinates are (x, y) in pixels of the original image's full resolution; pixel (0, 0) covers [0, 1) x [0, 1).
"""

from itertools import pairwise
from operator import add

from slideunet.cells.export.tracing import Rings, trace
from slideunet.cells.measurement.regions import Regions

OUTLINES_VERSION = "2"
"""Part of the fingerprint of every export: raise it when what is written changes."""

_DIGITS = 3  # of a coordinate, when the scale is not a whole number: a thousandth of a pixel


def outlines(regions: Regions, scale: float = 1.0, origin: tuple[int, int] = (0, 0)) -> list[str]:
    """Draw every cell exactly, along the edges of its pixels.

    Parameters
    ----------
    regions : Regions
    scale : float
        Original full-resolution pixels per pixel of the array.
    origin : tuple of int
        Position (y, x) of the array's first pixel in the slide, when it is a part of it.

    Returns
    -------
    list of str
        The GeoJSON geometry of each cell, in the order of the ids: a Polygon, or a MultiPolygon of the parts
        that are connected through pixel sides. Rings are closed, the outer one comes first and runs
        counterclockwise in (x, y), holes run the other way (RFC 7946).
    """
    rings = trace(regions)
    texts = _ring_texts(rings, regions.shape, scale, origin)
    cells: list[list[list[str]]] = [[] for _ in regions.ids]
    last = -1
    for cell, part, text in zip(rings.cell.tolist(), rings.part.tolist(), texts, strict=True):
        if part != last:
            cells[cell].append([])
        cells[cell][-1].append(text)
        last = part
    return [_geometry(parts) for parts in cells]


def _ring_texts(rings: Rings, shape: tuple[int, int], scale: float, origin: tuple[int, int]) -> list[str]:
    # A coordinate is one of few: each is turned to text once, and corners are put together from these texts.
    x_texts = [f"[{text}," for text in _coordinates(origin[1], shape[1], scale)]
    y_texts = [f"{text}]" for text in _coordinates(origin[0], shape[0], scale)]
    x, y = map(x_texts.__getitem__, rings.columns.tolist()), map(y_texts.__getitem__, rings.rows.tolist())
    corners = list(map(add, x, y))
    start = rings.start.tolist()
    return [f"[{','.join(corners[first:end])},{corners[first]}]" for first, end in pairwise(start)]


def _coordinates(first: int, count: int, scale: float) -> list[str]:
    """Return the coordinates of all pixel edges along an axis, as short as they are exact."""
    edges = range(first, first + count + 1)
    if float(scale).is_integer():
        return [str(edge * int(scale)) for edge in edges]
    return [repr(round(edge * scale, _DIGITS)) for edge in edges]


def _geometry(parts: list[list[str]]) -> str:
    polygons = [f"[{','.join(rings)}]" for rings in parts]
    if len(polygons) == 1:
        return f'{{"type":"Polygon","coordinates":{polygons[0]}}}'
    return f'{{"type":"MultiPolygon","coordinates":[{",".join(polygons)}]}}'
